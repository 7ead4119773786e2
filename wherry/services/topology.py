"""Which of a service's endpoints this node uses. Pure.

The order of choices is that of kube-proxy (``CategorizeEndpoints``; KEP-1669 terminating endpoints, KEP-2433 and
KEP-3015 hints):

* Under policy ``Cluster`` the ready endpoints hinted at this node, where every ready endpoint has hints of nodes and
  one of them names this node; else those hinted at its zone in the same way; else all ready ones.
* Under policy ``Local`` the ready endpoints of this node, whatever the hints say.
* Where that leaves none, those that still serve while they terminate, so that the last pods of a service do not
  refuse connections during a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from wherry.services.model import Target


class Place(NamedTuple):
    """Where a node is."""

    node: str
    zone: str = ""


class Condition(NamedTuple):
    """What the slices say of one target."""

    ready: bool
    draining: bool
    """Serves while it terminates."""
    serving: bool
    local: bool
    nodes: frozenset[str] = frozenset()
    """Nodes that should use it."""
    zones: frozenset[str] = frozenset()
    """Zones that should use it."""

    def better(self, other: Condition | None) -> Condition:
        """What is known of a target that is in two slices: the better of its conditions, and local if either is."""
        if other is None:
            return self
        best = max(other, self, key=lambda one: (one.ready, one.draining, one.serving))
        return best._replace(local=self.local or other.local)


Conditions = Mapping[Target, Condition]


def cluster_targets(conditions: Conditions, place: Place) -> tuple[Target, ...]:
    """The targets under policy ``Cluster``, in ascending order."""
    ready = _sorted(conditions, lambda one: one.ready)
    return _hinted(conditions, ready, place) if ready else _sorted(conditions, lambda one: one.draining)


def local_targets(conditions: Conditions) -> tuple[Target, ...]:
    """The targets under policy ``Local``, in ascending order."""
    ready = _sorted(conditions, lambda one: one.local and one.ready)
    return ready or _sorted(conditions, lambda one: one.local and one.draining)


def _sorted(conditions: Conditions, fits: Callable[[Condition], bool]) -> tuple[Target, ...]:
    return tuple(sorted(target for target, condition in conditions.items() if fits(condition)))


def _hinted(conditions: Conditions, ready: tuple[Target, ...], place: Place) -> tuple[Target, ...]:
    """The ready targets that are for this node or zone, all of them where hints are missing or name neither."""
    nodes = [conditions[target].nodes for target in ready]
    zones = [conditions[target].zones for target in ready]
    for hints, own in ((nodes, place.node), (zones, place.zone)):
        if all(hints) and any(own in each for each in hints):
            return tuple(target for target, each in zip(ready, hints, strict=True) if own in each)
    return ready
