"""Metrics under CoreDNS' names, shared by all blocks and kept over reloads (https://coredns.io/plugins/metrics/)."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import CollectorRegistry

from wherry.dns.traffic import Traffic

_Family = TypeVar("_Family", Counter, Gauge, Histogram)


class Metrics:
    """The families of one process: asking for a name that exists gives the same family again."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # CoreDNS has no *_created series
        self.registry = CollectorRegistry(auto_describe=False)
        self.traffic = Traffic()
        """Queries and answers; exposed where a block has the plugin `prometheus`."""
        self.registry.register(self.traffic)
        self._families: dict[str, MetricWrapperBase] = {}

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """A counter; `_total` is appended where the name lacks it."""
        return self._family(Counter, name, lambda: Counter(name, text, labels, registry=self.registry))

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """A gauge."""
        return self._family(Gauge, name, lambda: Gauge(name, text, labels, registry=self.registry))

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = Histogram.DEFAULT_BUCKETS
    ) -> Histogram:
        """A histogram; `buckets` are upper bounds without the infinite one."""
        return self._family(
            Histogram, name, lambda: Histogram(name, text, labels, registry=self.registry, buckets=buckets)
        )

    def _family(self, kind: type[_Family], name: str, make: Callable[[], _Family]) -> _Family:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = make()
        if not isinstance(family, kind):
            raise TypeError(f"{name} is no {kind.__name__}")
        return family

    def expose(self) -> bytes:
        """All families in Prometheus' text format 0.0.4."""
        return prometheus_client.generate_latest(self.registry)
