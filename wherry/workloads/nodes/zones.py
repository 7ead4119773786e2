"""How fast nodes in trouble may be cleared of their pods, zone by zone. Pure, apart from the buckets' memory.

A zone where most nodes fail at once has more likely lost its network than its machines: moving all its pods would
only load what is left. With no zone left that works, nothing is evicted at all
(https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from wherry.kube.objects import Node

_ZONE, _REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"

_MOST = 0.55
"""The part of a zone's nodes whose failure makes it a disrupted one, if there are at least _MANY of them."""
_MANY = 3


class State(Enum):
    """How a zone is."""

    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Nodes a second that may be cleared in each zone: usually, and in a zone in trouble of more than ``large`` nodes.

    In a smaller one in trouble no node is.
    """

    usual: float = 0.1
    reduced: float = 0.01
    large: int = 50


@dataclass(frozen=True, slots=True)
class Zone:
    """What is known of one zone."""

    nodes: int
    state: State

    def rate(self, rates: Rates) -> float:
        """Nodes a second that may be cleared here."""
        if self.state is not State.PARTIAL:
            return rates.usual
        return rates.reduced if self.nodes > rates.large else 0.0


def zone_of(node: Node) -> tuple[str, str]:
    """Region and zone of a node; nodes without either are in one zone of their own."""
    return node.labels.get(_REGION, ""), node.labels.get(_ZONE, "")


def survey(nodes: Iterable[Node]) -> dict[tuple[str, str], Zone]:
    """The zones of a cluster."""
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for node in nodes:
        ready, failed = counts.get(zone_of(node), (0, 0))
        counts[zone_of(node)] = (ready + node.ready, failed + (not node.ready))
    return {zone: Zone(ready + failed, _state(ready, failed)) for zone, (ready, failed) in counts.items()}


def _state(ready: int, failed: int) -> State:
    if failed and not ready:
        return State.FULL
    if failed >= _MANY and failed >= _MOST * (failed + ready):
        return State.PARTIAL
    return State.NORMAL


def nothing_works(zones: dict[tuple[str, str], Zone]) -> bool:
    """Whether there is no zone with a ready node: then it is more likely we who are cut off."""
    return all(zone.state is State.FULL for zone in zones.values())


DEFAULT_RATES = Rates()


class Buckets:
    """One token bucket a zone, with room for one token: it says when the next node may be cleared."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, str], float] = {}

    def left(self, zone: tuple[str, str], now: float) -> float:
        """Seconds until a node may be cleared; 0: now."""
        return max(0.0, self._next.get(zone, now) - now)

    def spend(self, zone: tuple[str, str], rate: float, now: float) -> None:
        """A node is being cleared; ``rate`` is above 0."""
        self._next[zone] = now + 1 / rate
