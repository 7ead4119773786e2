"""One pod against one state of the cluster: a node, or Kubernetes' words for why there is none. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from wherry.workloads import placement
from wherry.workloads.scheduler import filters, score
from wherry.workloads.scheduler.affinity import PodAffinity
from wherry.workloads.scheduler.filters import Filter, Rejection
from wherry.workloads.scheduler.model import Cluster, NodeInfo, PodInfo
from wherry.workloads.scheduler.spread import Spread

NO_NODES = "no nodes available to schedule pods"

_NOT_HELPFUL = "Preemption is not helpful for scheduling"
_NO_VICTIMS = "No preemption victims found for incoming pod"
_NEVER = "not eligible due to preemptionPolicy=Never."


@dataclass(frozen=True, slots=True)
class Placed:
    """The pod goes to this node."""

    node: str


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node can take the pod; ``filters`` are those that said no, ``message`` is for the condition and the event."""

    message: str
    filters: frozenset[Filter]


def schedule(pod: PodInfo, cluster: Cluster) -> Placed | Unschedulable:
    """Choose a node for a pod."""
    nodes = list(cluster.nodes())
    if not nodes:
        return Unschedulable(NO_NODES, frozenset(Filter))
    pinned = placement.pinned_nodes(pod.spec)
    eligible = nodes if pinned is None else [info for info in nodes if info.name in pinned]
    near = PodAffinity(pod, cluster)
    spread = Spread(pod, nodes)
    rejections: list[Rejection] = []
    candidates: list[NodeInfo] = []
    for info in eligible:
        rejection = filters.reject(pod, info) or spread.reject(info) or near.reject(info)
        if rejection is None:
            candidates.append(info)
        else:
            rejections.append(rejection)
    if candidates:
        wishes = Spread(pod, nodes, when="ScheduleAnyway")
        return Placed(score.best(pod, candidates, near=near, wishes=wishes).name)
    unpinned = len(nodes) - len(eligible)
    blocked = {rejection.filter for rejection in rejections} | ({Filter.AFFINITY} if unpinned else set())
    return Unschedulable(_explain(pod, len(nodes), unpinned, rejections), frozenset(blocked))


def _explain(pod: PodInfo, total: int, unpinned: int, rejections: list[Rejection]) -> str:
    reasons = Counter(reason for rejection in rejections for reason in rejection.reasons)
    if unpinned:
        reasons[f"node(s) didn't satisfy plugin(s) [{Filter.AFFINITY.value}]"] = unpinned
    return f"0/{total} nodes are available: {_histogram(reasons)}. preemption: {_preemption(pod, total, rejections)}"


def _preemption(pod: PodInfo, total: int, rejections: list[Rejection]) -> str:
    if pod.spec.preemption_policy == "Never":
        return _NEVER
    removable = sum(rejection.removable for rejection in rejections)
    outcomes = Counter({_NO_VICTIMS: removable, _NOT_HELPFUL: total - removable})
    return f"0/{total} nodes are available: {_histogram(+outcomes)}."


def _histogram(reasons: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
