"""The metrics of `cache`, under CoreDNS' names."""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import Counter, Gauge

from wherry.dns import names
from wherry.dns.corefile.model import Block

SUCCESS = "success"
DENIAL = "denial"
_KINDS = (SUCCESS, DENIAL)


class Counters(NamedTuple):
    """The metrics of one server."""

    requests: Counter
    misses: Counter
    hits: dict[str, Counter]
    evictions: dict[str, Counter]
    entries: dict[str, Gauge]
    prefetches: Counter
    drops: Counter
    stale: Counter


def count_for(server: str, zones: tuple[bytes, ...], block: Block) -> Counters:
    """The metrics of one server whose cache covers ``zones``."""
    metrics = block.config.metrics
    covered, view = ",".join(map(names.to_text, zones)), block.view
    plain, typed = ("server", "zones", "view"), ("server", "type", "zones", "view")

    def counter(name: str, text: str) -> Counter:
        return metrics.counter(f"coredns_cache_{name}", text, plain).labels(server, covered, view)

    hits = metrics.counter("coredns_cache_hits", "The count of cache hits.", typed)
    evictions = metrics.counter("coredns_cache_evictions", "The count of cache evictions.", typed)
    entries = metrics.gauge("coredns_cache_entries", "The number of elements in the cache.", typed)
    return Counters(
        requests=counter("requests", "The count of cache requests."),
        misses=counter("misses", "The count of cache misses: requests less hits."),
        hits={kind: hits.labels(server, kind, covered, view) for kind in _KINDS},
        evictions={kind: evictions.labels(server, kind, covered, view) for kind in _KINDS},
        entries={kind: entries.labels(server, kind, covered, view) for kind in _KINDS},
        prefetches=counter("prefetch", "The number of times the cache has prefetched a cached item."),
        drops=counter("drops", "The number of replies not cached, as they answer another question."),
        stale=counter("served_stale", "The number of requests served from stale cache entries."),
    )
