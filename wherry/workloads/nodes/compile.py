"""Conditions and taints of nodes, and when a taint costs a pod its place. Pure.

Rules: https://kubernetes.io/docs/reference/node/node-status/ and
https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wherry.kube.objects import Condition, Node, Pod, Taint
from wherry.kube.times import format_time, parse_time
from wherry.workloads import placement

READY = "Ready"
_POSTED = (READY, "MemoryPressure", "DiskPressure", "PIDPressure")

_PRESSURE = {
    "MemoryPressure": placement.TAINT_MEMORY_PRESSURE,
    "DiskPressure": placement.TAINT_DISK_PRESSURE,
    "PIDPressure": placement.TAINT_PID_PRESSURE,
    "NetworkUnavailable": placement.TAINT_NETWORK_UNAVAILABLE,
}

_READINESS = (placement.TAINT_NOT_READY, placement.TAINT_UNREACHABLE)

_EVICTING = frozenset((key, placement.NO_EXECUTE) for key in _READINESS)
_MANAGED = _EVICTING | {
    (key, placement.NO_SCHEDULE) for key in (*_PRESSURE.values(), *_READINESS, placement.TAINT_UNSCHEDULABLE)
}
"""Key and effect of the taints that belong to this controller."""


def silent_conditions(node: Node, now: float) -> tuple[Condition, ...]:
    """The conditions to write when a node has not been heard of for too long: those that are not Unknown yet."""
    changed = []
    for type_ in _POSTED:
        known = node.status.condition(type_)
        if known is not None and known.status == "Unknown":
            continue
        stamp = format_time(now)
        never = known is None
        changed.append(
            Condition(
                type=type_,
                status="Unknown",
                reason="NodeStatusNeverUpdated" if never else "NodeStatusUnknown",
                message="Kubelet never posted node status." if never else "Kubelet stopped posting node status.",
                last_heartbeat_time=known.last_heartbeat_time if known else node.metadata.creation_timestamp,
                last_transition_time=stamp,
            )
        )
    return tuple(changed)


def ready_status(node: Node) -> str | None:
    """``True``, ``False`` or ``Unknown``; None when nothing was ever said."""
    condition = node.status.condition(READY)
    return condition.status if condition else None


def wanted_taints(node: Node, ready: str | None, now: float, *, evict: bool = True) -> tuple[Taint, ...]:
    """All taints of a node: those of others as they are, and ours as its conditions demand.

    Without ``evict`` there is no NoExecute taint among them.
    """
    demanded: list[tuple[str, str]] = []
    for type_, key in _PRESSURE.items():
        condition = node.status.condition(type_)
        if condition is not None and condition.status == "True":
            demanded.append((key, placement.NO_SCHEDULE))
    if node.spec.unschedulable:
        demanded.append((placement.TAINT_UNSCHEDULABLE, placement.NO_SCHEDULE))
    if ready != "True":
        trouble = placement.TAINT_UNREACHABLE if ready == "Unknown" else placement.TAINT_NOT_READY
        demanded.append((trouble, placement.NO_SCHEDULE))
        # A node that never said anything has no pods to evict.
        if ready is not None and evict:
            demanded.append((trouble, placement.NO_EXECUTE))
    kept = [
        taint
        for taint in node.spec.taints
        if (taint.key, taint.effect) not in _MANAGED or (taint.key, taint.effect) in demanded
    ]
    have = {(taint.key, taint.effect) for taint in kept}
    stamp = format_time(now)
    added = [
        Taint(key=key, effect=effect, time_added=stamp if effect == placement.NO_EXECUTE else None)
        for key, effect in demanded
        if (key, effect) not in have
    ]
    return (*kept, *added)


def evicting(node: Node) -> bool:
    """Whether one of our NoExecute taints is on a node: its turn to be cleared has come."""
    return any((taint.key, taint.effect) in _EVICTING for taint in node.spec.taints)


@dataclass(frozen=True, slots=True)
class Stay:
    """The pod may stay; for ever when ``seconds`` is None."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Evict:
    """The pod's time is up."""


def verdict(pod: Pod, taints: Sequence[Taint], since: float, now: float) -> Stay | Evict:
    """What the NoExecute taints of its node mean for a pod.

    Time runs from when the taint was added, or from ``since`` (seconds since 1970: when the pod came to the node),
    whichever is later; the shortest toleration of any taint counts.
    """
    shortest: float | None = None
    for taint in taints:
        if taint.effect != placement.NO_EXECUTE:
            continue
        fitting = [each for each in pod.spec.tolerations if placement.tolerates(each, taint)]
        if not fitting:
            return Evict()
        limited = [each.toleration_seconds for each in fitting if each.toleration_seconds is not None]
        if limited:
            start = max(since, parse_time(taint.time_added) if taint.time_added else since)
            left = start + max(0, min(limited)) - now
            shortest = left if shortest is None else min(shortest, left)
    if shortest is None:
        return Stay()
    return Stay(shortest) if shortest > 0 else Evict()


@dataclass(slots=True)
class _Heard:
    mark: tuple[str | None, str | None]
    at: float


class Heartbeats:
    """When each node was last heard of, by our own clock: a node's clock may be wrong, a change of its lease is not."""

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}

    def saw(self, node: str, *, lease: str | None = None, status: str | None = None, now: float) -> None:
        """The lease's renew time, or the heartbeat of the Ready condition, as last seen; news counts as a sign."""
        known = self._heard.get(node)
        if known is None:
            self._heard[node] = _Heard((lease, status), now)
            return
        mark = (lease if lease is not None else known.mark[0], status if status is not None else known.mark[1])
        if mark != known.mark:
            known.mark, known.at = mark, now

    def forget(self, node: str) -> None:
        """The node is gone."""
        self._heard.pop(node, None)

    def excuse_all(self, now: float) -> None:
        """We were asleep ourselves: start counting anew for every node."""
        for heard in self._heard.values():
            heard.at = now

    def last(self, node: str, now: float) -> float:
        """When the node was last heard of; now for one never seen before."""
        return self._heard.setdefault(node, _Heard((None, None), now)).at
