"""One pod against one state of the cluster: a node, or Kubernetes' words for why there is none. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from wherry.workloads import placement
from wherry.workloads.scheduler import filters, preemption, score
from wherry.workloads.scheduler.affinity import PodAffinity
from wherry.workloads.scheduler.filters import Filter, Rejection
from wherry.workloads.scheduler.model import Cluster, NodeInfo, PodInfo
from wherry.workloads.scheduler.preemption import Budget, Candidate
from wherry.workloads.scheduler.spread import Spread
from wherry.workloads.scheduler.volumes import Claims, Storage, Unresolved

NO_NODES = "no nodes available to schedule pods"

_NO_CLAIMS = "no new claims to deallocate, preemption: "
"""What Kubernetes' plugin for dynamic resources says of every pod, before the preemption plugin speaks."""

_ELSEWHERE = Rejection(Filter.AFFINITY, (f"node(s) didn't satisfy plugin(s) [{Filter.AFFINITY.value}]",))
_CONTRADICTION = "pod affinity terms conflict"

NO_STORAGE = Storage()


@dataclass(frozen=True, slots=True)
class Placed:
    """The pod goes to this node; its claims ``waiting`` for a first consumer have to be told so first."""

    node: str
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node can take the pod; ``filters`` are those that said no, ``message`` is for the condition and the event.

    ``room`` is what would make one fit; ``keeps`` tells that the node nominated before stays so.
    """

    message: str
    filters: frozenset[Filter]
    room: Candidate | None = None
    keeps: bool = False


def schedule(
    pod: PodInfo, cluster: Cluster, budgets: Iterable[Budget] = (), storage: Storage = NO_STORAGE
) -> Placed | Unschedulable:
    """Choose a node for a pod."""
    nodes = list(cluster.nodes())
    if not nodes:
        return Unschedulable(NO_NODES, frozenset(Filter))
    try:
        claims = Claims(pod, storage, cluster.claimed) if pod.claims else None
    except Unresolved as error:
        # Kubernetes' plugin for dynamic resources then fails in PostFilter, and says no more than this.
        message = f"0/{len(nodes)} nodes are available: {error}. not found"
        return Unschedulable(message, frozenset({Filter.VOLUMES}))
    pinned = placement.pinned_nodes(pod.spec)
    if pinned is not None and not pinned:
        return _contradiction(pod, len(nodes))

    def check(wanted: PodInfo, view: Cluster, name: str) -> Rejection | None:
        info = view.node(name)
        assert info is not None, "only existing nodes are looked at"
        return _reject(wanted, info, PodAffinity(wanted, view), Spread(wanted, view.nodes()), claims)

    near, spread = PodAffinity(pod, cluster), Spread(pod, nodes)
    rejections: dict[str, Rejection] = {}
    candidates: list[NodeInfo] = []
    for info in nodes:
        if pinned is not None and info.name not in pinned:
            rejections[info.name] = _ELSEWHERE
            continue
        rejection = _reject(pod, info, near, spread, claims)
        if rejection is None and cluster.nominated and (ahead := cluster.nominated_to(info.name, pod)):
            rejection = check(pod, cluster.what_if(info.name, adding=ahead), info.name)
        if rejection is None:
            candidates.append(info)
        else:
            rejections[info.name] = rejection
    if candidates:
        return _place(pod, cluster, candidates, near, claims)
    return _explain(pod, cluster, rejections, budgets, check)


def _reject(pod: PodInfo, info: NodeInfo, near: PodAffinity, spread: Spread, claims: Claims | None) -> Rejection | None:
    """The first filter that says no, in Kubernetes' order."""
    rejection = filters.reject(pod, info)
    if rejection is None and claims is not None and info.node is not None:
        rejection = claims.reject(info.node)
    return rejection or spread.reject(info) or near.reject(info)


def _place(
    pod: PodInfo, cluster: Cluster, candidates: list[NodeInfo], near: PodAffinity, claims: Claims | None
) -> Placed:
    waiting = tuple(claim.name for claim in claims.waiting) if claims is not None else ()
    if any(info.name == pod.nominated for info in candidates):
        return Placed(pod.nominated, waiting)
    wishes = Spread(pod, cluster.nodes(), when="ScheduleAnyway")
    services = cluster.services.get(pod.key.namespace, {}).values()
    return Placed(score.best(pod, candidates, near=near, wishes=wishes, services=services).name, waiting)


def _contradiction(pod: PodInfo, total: int) -> Unschedulable:
    why = preemption.NEVER if not pod.preempts else f"0/{total} nodes are available: {total} {preemption.NOT_HELPFUL}."
    message = f"0/{total} nodes are available: {_CONTRADICTION}. {_NO_CLAIMS}{why}"
    return Unschedulable(message, frozenset({Filter.AFFINITY}))


def _explain(
    pod: PodInfo,
    cluster: Cluster,
    rejections: dict[str, Rejection],
    budgets: Iterable[Budget],
    check: preemption.Check,
) -> Unschedulable:
    total = len(rejections)
    blocked = frozenset(rejection.filter for rejection in rejections.values())
    lead = f"0/{total} nodes are available: "
    reasons = _histogram(reason for rejection in rejections.values() for reason in rejection.reasons)
    message = f"{lead}{reasons}."
    if refused := preemption.ineligible(pod, cluster, rejections):
        keeps = refused == preemption.TERMINATING
        return Unschedulable(f"{message} {_NO_CLAIMS}{refused}", blocked, keeps=keeps)
    room, hopeless = preemption.find(pod, cluster, rejections, budgets, check)
    if room is not None:
        return Unschedulable(message, blocked, room)
    return Unschedulable(f"{message} {_NO_CLAIMS}{lead}{_histogram(hopeless)}.", blocked)


def _histogram(reasons: Iterable[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in Counter(reasons).items()))
