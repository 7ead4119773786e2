"""What controllers ask about a pod: does it count, is it ready, which one goes first. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from wherry.kube.objects import Condition, Model, Pod
from wherry.kube.times import parse_time

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Annotation: among pods otherwise alike the one with the lower whole number is deleted first."""

_PHASE_RANK = {"Pending": 0, "Unknown": 1, "": 1, "Running": 2}


def is_active(pod: Pod) -> bool:
    """Whether a pod counts as a replica: it has not finished and is not being deleted."""
    return not pod.finished and not pod.deleting


def ready_since(pod: Pod) -> float | None:
    """When the pod became ready, in seconds since 1970; None when it is not."""
    condition = pod.status.condition("Ready")
    if condition is None or condition.status != "True":
        return None
    return parse_time(condition.last_transition_time) if condition.last_transition_time else 0.0


def available_in(pod: Pod, min_ready_seconds: int, now: float) -> float | None:
    """Seconds until a ready pod counts as available (0 when it does already); None when it is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    return max(0.0, since + min_ready_seconds - now) if min_ready_seconds > 0 else 0.0


def is_available(pod: Pod, min_ready_seconds: int, now: float) -> bool:
    """Whether the pod has been ready for long enough."""
    return available_in(pod, min_ready_seconds, now) == 0.0


def next_available(pods: Iterable[Pod], min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the next ready pod becomes available; None when none is on its way."""
    waits = [wait for pod in pods if (wait := available_in(pod, min_ready_seconds, now))]
    return min(waits, default=None)


def restarts(pod: Pod) -> int:
    """The most restarts any container of the pod has seen."""
    statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    return max((status.restart_count for status in statuses), default=0)


def created_at(pod: Pod) -> float:
    """Creation time in seconds since 1970."""
    return parse_time(pod.metadata.creation_timestamp) if pod.metadata.creation_timestamp else 0.0


def _cost(pod: Pod) -> int:
    text = pod.metadata.annotations.get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def _age_class(since: float, now: float) -> int:
    """Ages that differ by less than a factor of two are alike, so that chance spreads deletions among them."""
    return int(math.log2(max(1.0, now - since)))


def deletion_order(now: float, neighbours: Mapping[str, int]) -> Callable[[Pod], tuple[object, ...]]:
    """A sort key that puts the pod to delete first at the front.

    Kubernetes' order: not yet assigned, pending, not ready, cheaper, more of its kind on the same node
    (``neighbours`` counts per node), ready for a shorter time, more restarts, younger; then by name.
    """

    def key(pod: Pod) -> tuple[object, ...]:
        since = ready_since(pod)
        return (
            bool(pod.spec.node_name),
            _PHASE_RANK.get(pod.status.phase, 2),
            since is not None,
            _cost(pod),
            -neighbours.get(pod.spec.node_name, 0),
            _age_class(since, now) if since is not None else 0,
            -restarts(pod),
            _age_class(created_at(pod), now),
            pod.name,
        )

    return key


def condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of a type, if there is one."""
    return next((each for each in conditions if each.type == type_), None)


def says_already(status: Model, wanted: Mapping[str, Any]) -> bool:
    """Whether a status holds everything ``wanted`` (plain data) says; absent, null and zero are the same."""
    have = msgspec.to_builtins(status)
    return {key: value for key, value in wanted.items() if value} == {
        key: value for key, value in have.items() if value and key in wanted
    }
