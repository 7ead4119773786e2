"""What a disruption budget allows, from its pods and from how many of them their owners want. Pure.

Rules: https://kubernetes.io/docs/tasks/run-application/configure-pdb/ and https://kubernetes.io/docs/concepts/workloads/pods/disruptions/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wherry.kube.objects import IntOrString, Pod, PodDisruptionBudget
from wherry.kube.selectors import Selector, from_object
from wherry.kube.times import format_time, parse_time
from wherry.workloads.podstate import condition

CONDITION = "DisruptionAllowed"
SUFFICIENT, INSUFFICIENT, SYNC_FAILED = "SufficientPods", "InsufficientPods", "SyncFailed"

DELETION_TIMEOUT = 120.0
"""Seconds that an evicted pod may take until its deletion is seen; after them it counts as healthy again."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How many pods there should be and how many of them must stay healthy."""

    pods: int
    healthy: int


@dataclass(frozen=True, slots=True)
class Evicted:
    """Pods whose granted evictions are not seen yet (name → time), those that never went, and when to look again."""

    pending: Mapping[str, str]
    overdue: tuple[Pod, ...]
    recheck: float | None


def selector_of(budget: PodDisruptionBudget) -> Selector:
    """Which pods the budget is about: none without a selector, all of the namespace with an empty one."""
    return from_object(budget.spec.selector)


def needs_scale(budget: PodDisruptionBudget) -> bool:
    """Whether the owners' numbers of replicas count, rather than the pods there are."""
    return budget.spec.max_unavailable is not None or isinstance(budget.spec.min_available, str)


def share(value: IntOrString, total: int) -> int:
    """A count, or a percentage of ``total`` rounded up."""
    return value if isinstance(value, int) else -(-int(value.removesuffix("%")) * total // 100)


def expected(budget: PodDisruptionBudget, pods: int, scale: int) -> Expected:
    """What the budget asks for, given the pods it selects and the sum of what their owners want."""
    spec = budget.spec
    if spec.max_unavailable is not None:
        return Expected(scale, max(0, scale - share(spec.max_unavailable, scale)))
    if isinstance(spec.min_available, str):
        return Expected(scale, share(spec.min_available, scale))
    if spec.min_available is not None:
        return Expected(pods, spec.min_available)
    return Expected(0, 0)


def evicted(budget: PodDisruptionBudget, pods: Iterable[Pod], now: float) -> Evicted:
    """What became of the evictions that the budget has granted."""
    pending: dict[str, str] = {}
    overdue: list[Pod] = []
    recheck: float | None = None
    for pod in pods:
        granted = budget.status.disrupted_pods.get(pod.name)
        if granted is None or pod.deleting:
            continue
        left = parse_time(granted) + DELETION_TIMEOUT - now
        if left < 0:
            overdue.append(pod)
        else:
            pending[pod.name] = granted
            recheck = left if recheck is None else min(recheck, left)
    return Evicted(pending, tuple(overdue), recheck)


def healthy(pods: Iterable[Pod], pending: Mapping[str, str]) -> int:
    """How many pods are ready and stay."""
    return sum(1 for pod in pods if pod.ready and not pod.deleting and pod.name not in pending)


def status(
    budget: PodDisruptionBudget, wanted: Expected, current: int, pending: Mapping[str, str], now: float
) -> dict[str, Any]:
    """The status, for a merge patch."""
    allowed = max(0, current - wanted.healthy) if wanted.pods > 0 else 0
    return {
        "currentHealthy": current,
        "desiredHealthy": wanted.healthy,
        "expectedPods": wanted.pods,
        "disruptionsAllowed": allowed,
        "disruptedPods": _replaced(budget.status.disrupted_pods, pending),
        "observedGeneration": budget.metadata.generation,
        "conditions": _conditions(budget, SUFFICIENT if allowed > 0 else INSUFFICIENT, "", now),
    }


def failed(budget: PodDisruptionBudget, message: str, now: float) -> dict[str, Any]:
    """The status of a budget that cannot be worked out: nothing is allowed."""
    return {"disruptionsAllowed": 0, "conditions": _conditions(budget, SYNC_FAILED, message, now)}


def _replaced(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """The changes of a map as a merge patch has them."""
    return {**dict.fromkeys(before.keys() - after.keys()), **after}


def _conditions(budget: PodDisruptionBudget, reason: str, message: str, now: float) -> list[dict[str, Any]]:
    value = "True" if reason == SUFFICIENT else "False"
    before = condition(budget.status.conditions, CONDITION)
    since = before.last_transition_time if before is not None and before.status == value else None
    return [
        {
            "type": CONDITION,
            "status": value,
            "observedGeneration": budget.metadata.generation,
            "lastTransitionTime": since or format_time(now),
            "reason": reason,
            "message": message,
        }
    ]


def says_already(budget: PodDisruptionBudget, wanted: Mapping[str, Any]) -> bool:
    """Whether the budget's status is what a patch would make it."""
    have = budget.status
    plain: dict[str, Any] = {
        "currentHealthy": have.current_healthy,
        "desiredHealthy": have.desired_healthy,
        "expectedPods": have.expected_pods,
        "disruptionsAllowed": have.disruptions_allowed,
        "disruptedPods": have.disrupted_pods,
        "observedGeneration": have.observed_generation,
        "conditions": [
            {
                "type": each.type,
                "status": each.status,
                "observedGeneration": each.observed_generation or 0,
                "lastTransitionTime": each.last_transition_time,
                "reason": each.reason,
                "message": each.message,
            }
            for each in have.conditions
        ],
    }
    return all(plain[key] == value for key, value in wanted.items()) and _observed(budget)


def _observed(budget: PodDisruptionBudget) -> bool:
    """Whether a status was ever written: that of a new budget is empty, which zeros do not tell."""
    return bool(budget.status.conditions)
