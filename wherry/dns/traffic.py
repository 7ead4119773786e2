"""What was asked and answered, as Prometheus families under CoreDNS' names (https://coredns.io/plugins/metrics/).

The back counts what went through its plugins; fronts send sums of what they answered by themselves.
"""

from __future__ import annotations

import bisect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from wherry.dns import message as m
from wherry.dns import records
from wherry.dns.front.protocol import SIZES, Row

DURATIONS = tuple(0.00025 * 2**power for power in range(16))
"""Upper bounds in seconds of the buckets of durations."""
SLIM_DURATIONS = tuple(0.00025 * 10**power for power in range(5))
"""The same for what is measured less finely."""
DROPPED = "dropped"
"""The zone of queries that no server block answers; not a name, as it has no dot at its end."""

_TYPES = frozenset(
    (
        *("A", "AAAA", "MX", "SOA", "CNAME", "PTR", "TXT", "NS", "SRV", "DS", "DNSKEY", "RRSIG", "NSEC", "NSEC3"),
        *("HTTPS", "SVCB", "IXFR", "AXFR", "ANY"),
    )
)

_SERVED = ["server", "zone", "view"]


class _Histogram:
    """Counts in buckets, not accumulated, and the sum of what was observed."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, counts: Iterable[int], total: float) -> None:
        for place, count in enumerate(counts):
            self.counts[place] += count
        self.total += total

    def accumulated(self) -> list[tuple[str, float]]:
        sums, total = [], 0
        for bound, count in zip((*map(str, map(float, self.bounds)), "+Inf"), self.counts, strict=True):
            total += count
            sums.append((bound, float(total)))
        return sums


class Traffic(Collector):
    """Counts of queries and answers; `refresh`, awaited before each scrape, brings in what fronts have not sent yet."""

    def __init__(self) -> None:
        self.refresh: Callable[[], Awaitable[None]] = _nothing
        self._requests: dict[tuple[str, ...], int] = {}
        self._dnssec_ok: dict[tuple[str, ...], int] = {}
        self._responses: dict[tuple[str, ...], int] = {}
        self._durations: dict[tuple[str, ...], _Histogram] = {}
        self._request_sizes: dict[tuple[str, ...], _Histogram] = {}
        self._response_sizes: dict[tuple[str, ...], _Histogram] = {}

    def count(
        self, *, server: str, zone: str, view: str, transport: str, client: str, type: int, dnssec_ok: bool,
        rcode: int, plugin: str, seconds: float, request_size: int, response_size: int,
    ) -> None:  # fmt: skip
        """Count one query that the back answered; `plugin` is "" where the server itself did, sizes are octets."""
        served, proto, kind = (server, zone, view), _proto(transport), _kind(type)
        _more(self._requests, (*served, proto, "2" if ":" in client else "1", kind), 1)
        if dnssec_ok:
            _more(self._dnssec_ok, served, 1)
        _more(self._responses, (*served, m.rcode_name(rcode), plugin), 1)
        _histogram(self._durations, (*served, kind), DURATIONS).observe(seconds)
        _histogram(self._request_sizes, (*served, proto), SIZES).observe(request_size)
        _histogram(self._response_sizes, (*served, proto), SIZES).observe(response_size)

    def add(self, rows: Iterable[Row], servers: Sequence[str]) -> None:
        """Count what a front answered; `servers` are the labels that rows mean by number."""
        for row in rows:
            served = (servers[row.server], row.zone, row.view)
            proto, kind = _proto(row.transport), _kind(row.type)
            _more(self._requests, (*served, proto, str(row.family), kind), row.queries)
            if row.dnssec_ok:
                _more(self._dnssec_ok, served, row.queries)
            _more(self._responses, (*served, m.rcode_name(row.rcode), row.plugin), row.queries)
            _histogram(self._durations, (*served, kind), DURATIONS).add((row.queries,), row.seconds)
            sizes = _histogram(self._request_sizes, (*served, proto), SIZES)
            sizes.add(row.request_sizes, row.request_bytes)
            sizes = _histogram(self._response_sizes, (*served, proto), SIZES)
            sizes.add(row.response_sizes, row.response_bytes)

    def collect(self) -> Iterator[Metric]:
        """The families that have something, for a scrape."""
        for metric in (
            _counters(
                "requests", "Counter of DNS requests made per zone, protocol and family.",
                [*_SERVED, "proto", "family", "type"], self._requests,
            ),
            _histograms(
                "request_duration_seconds", "Histogram of the time (in seconds) each request took per zone.",
                [*_SERVED, "type"], self._durations,
            ),
            _histograms(
                "request_size_bytes", "Size of the requests in bytes per zone and protocol.",
                [*_SERVED, "proto"], self._request_sizes,
            ),
            _counters(
                "do_requests", "Counter of DNS requests with DO bit set per zone.", _SERVED, self._dnssec_ok
            ),
            _histograms(
                "response_size_bytes", "Size of the responses in bytes per zone and protocol.",
                [*_SERVED, "proto"], self._response_sizes,
            ),
            _counters(
                "responses", "Counter of response status codes.", [*_SERVED, "rcode", "plugin"], self._responses
            ),
        ):  # fmt: skip
            if metric.samples:
                yield metric


async def _nothing() -> None:
    """Until fronts run there is nothing to bring in."""


def _proto(transport: str) -> str:
    return "udp" if transport == "udp" else "tcp"


def _kind(type: int) -> str:
    name = records.type_name(type)
    return name if name in _TYPES else "other"


def _more(counts: dict[tuple[str, ...], int], labels: tuple[str, ...], number: int) -> None:
    counts[labels] = counts.get(labels, 0) + number


def _histogram(
    histograms: dict[tuple[str, ...], _Histogram], labels: tuple[str, ...], bounds: Sequence[float]
) -> _Histogram:
    histogram = histograms.get(labels)
    if histogram is None:
        histogram = histograms[labels] = _Histogram(bounds)
    return histogram


def _counters(name: str, text: str, labels: list[str], counts: dict[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(f"coredns_dns_{name}", text, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _histograms(name: str, text: str, labels: list[str], histograms: dict[tuple[str, ...], _Histogram]) -> Metric:
    family = HistogramMetricFamily(f"coredns_dns_{name}", text, labels=labels)
    for values, histogram in histograms.items():
        family.add_metric(values, histogram.accumulated(), histogram.total)
    return family
