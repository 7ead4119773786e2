"""Making room: which pods of lower priority leave which node so that a pod of higher priority fits. Pure.

Rules: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/ . Of each node first all pods of
lower priority are thought away; if the pod fits then, as many of them as possible are put back, the most important and
those that a disruption budget guards first. What is left are that node's victims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from wherry.kube.objects import PodDisruptionBudget
from wherry.kube.selectors import Selector, from_object
from wherry.workloads.scheduler.filters import Rejection
from wherry.workloads.scheduler.model import Cluster, PodInfo

NEVER = "not eligible due to preemptionPolicy=Never."
TERMINATING = "not eligible due to a terminating pod on the nominated node."
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"

_OFFSET = 1 << 31
"""Added to each priority before victims' priorities are summed, so that a victim of negative priority costs as well."""

Check = Callable[[PodInfo, Cluster, str], Rejection | None]
"""All filters on one node of a cluster."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A disruption budget: how many more of its pods may go, and which are going already."""

    namespace: str
    selector: Selector
    allowed: int
    disrupted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node, who would have to leave it, and how many of these a budget would rather keep."""

    node: str
    victims: tuple[PodInfo, ...]
    violations: int

    @property
    def cost(self) -> tuple[float, ...]:
        """What Kubernetes compares, in this order; the least is best."""
        highest = max(victim.priority for victim in self.victims)
        earliest = min(victim.started for victim in self.victims if victim.priority == highest)
        total = sum(victim.priority + _OFFSET for victim in self.victims)
        return (self.violations, highest, total, len(self.victims), -earliest)


def budget_of(obj: PodDisruptionBudget) -> Budget | None:
    """A budget as preemption sees it; None for one without a selector, or with an empty one, which guards nothing."""
    selector = obj.spec.selector
    if selector is None or not (selector.match_labels or selector.match_expressions):
        return None
    disrupted = frozenset(obj.status.disrupted_pods)
    return Budget(obj.namespace, from_object(selector), obj.status.disruptions_allowed, disrupted)


def ineligible(pod: PodInfo, cluster: Cluster, rejections: Mapping[str, Rejection]) -> str | None:
    """Why a pod may not have others deleted now; None when it may."""
    if not pod.preempts:
        return NEVER
    info = cluster.node(pod.nominated) if pod.nominated else None
    rejection = rejections.get(pod.nominated)
    if info is None or (rejection is not None and not rejection.removable):
        return None
    if any(each.deleting and each.preempted and each.priority < pod.priority for each in info.pods.values()):
        return TERMINATING
    return None


def find(
    pod: PodInfo, cluster: Cluster, rejections: Mapping[str, Rejection], budgets: Iterable[Budget], check: Check
) -> tuple[Candidate | None, list[str]]:
    """The best way to make room; without one the reasons, one or more for each node that was rejected."""
    budgets = tuple(budgets)
    candidates: list[Candidate] = []
    reasons: list[str] = []
    for node, rejection in rejections.items():
        if not rejection.removable:
            reasons.append(NOT_HELPFUL)
            continue
        found = _clear(pod, cluster, node, budgets, check)
        if isinstance(found, Candidate):
            candidates.append(found)
        else:
            reasons += found
    return min(candidates, key=lambda each: each.cost, default=None), reasons


def _clear(
    pod: PodInfo, cluster: Cluster, node: str, budgets: tuple[Budget, ...], check: Check
) -> Candidate | tuple[str, ...]:
    info = cluster.node(node)
    lower = [each for each in info.pods.values() if each.priority < pod.priority] if info is not None else []
    if not lower:
        return (NO_VICTIMS,)
    view = cluster.what_if(node, without=lower, adding=cluster.nominated_to(node, pod))
    if rejection := check(pod, view, node):
        return rejection.reasons
    lower.sort(key=lambda each: (-each.priority, each.started))
    guarded, others = _split(lower, budgets)
    victims: list[PodInfo] = []
    violations = 0
    for each in (*guarded, *others):
        view.place(each, node)
        if check(pod, view, node) is None:
            continue
        view.remove(each.uid)
        victims.append(each)
        violations += each in guarded
    return Candidate(node, tuple(victims), violations) if victims else (NO_VICTIMS,)


def _split(pods: Iterable[PodInfo], budgets: tuple[Budget, ...]) -> tuple[list[PodInfo], list[PodInfo]]:
    """Pods whose deletion, after that of those before them, a budget forbids; and the others."""
    left = [budget.allowed for budget in budgets]
    guarded: list[PodInfo] = []
    others: list[PodInfo] = []
    for pod in pods:
        violates = False
        for index, budget in enumerate(budgets):
            if budget.namespace != pod.key.namespace or not pod.labels or not budget.selector.matches(pod.labels):
                continue
            if pod.key.name in budget.disrupted:
                continue
            left[index] -= 1
            violates = violates or left[index] < 0
        (guarded if violates else others).append(pod)
    return guarded, others
