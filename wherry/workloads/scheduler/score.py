"""Which of the nodes that can take a pod is best. Pure.

Each wish gives every node 0 to 100 points, weighted as in Kubernetes' default profile; equal sums are decided by the
number of pods and then by name, so the same cluster state always gives the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wherry.kube.objects import Node
from wherry.workloads import placement
from wherry.workloads.scheduler.affinity import PodAffinity
from wherry.workloads.scheduler.model import SCORED, NodeInfo, PodInfo
from wherry.workloads.scheduler.spread import Spread

MAX = 100.0
"""The most points one wish gives."""

WEIGHT_TAINTS = 3
WEIGHT_AFFINITY = 2
WEIGHT_SPREAD = 2
WEIGHT_PODS = 2
WEIGHT_FREE = 1
WEIGHT_BALANCE = 1

ZONE = "topology.kubernetes.io/zone"

_ZONE_SHARE = 0.5
"""Pods of one owner are spread over hosts and, half as strongly, over zones."""


def more_is_better(values: Sequence[float]) -> list[float]:
    """Values mapped so that the smallest becomes 0 and the largest 100; all 0 when they are equal."""
    low, high = min(values), max(values)
    return [0.0] * len(values) if high <= low else [MAX * (value - low) / (high - low) for value in values]


def less_is_better(values: Sequence[float]) -> list[float]:
    """Values mapped so that the largest becomes 0; infinite ones get nothing and do not count otherwise."""
    finite = [value for value in values if value != float("inf")]
    if not finite:
        return [0.0] * len(values)
    low, high = min(finite), max(finite)
    if high <= low:
        return [0.0 if value == float("inf") else MAX for value in values]
    return [0.0 if value == float("inf") else MAX * (high - value) / (high - low) for value in values]


def unwanted_taints(pod: PodInfo, node: Node) -> int:
    """How many PreferNoSchedule taints of the node the pod does not tolerate."""
    return sum(
        1
        for taint in node.spec.taints
        if placement.untolerated_taint((taint,), pod.spec.tolerations, (placement.PREFER_NO_SCHEDULE,))
    )


def preferred_affinity(pod: PodInfo, node: Node) -> int:
    """Sum of the weights of the preferred node affinity terms that hold."""
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    terms = affinity.preferred if affinity else ()
    return sum(each.weight for each in terms if each.weight and placement.term_matches(each.preference, node))


def free_share(pod: PodInfo, info: NodeInfo) -> float:
    """How much of cpu and memory would be left on the node, 0 to 100, each counting the same."""
    shares = []
    for resource in SCORED:
        capacity = info.allocatable.get(resource, 0)
        if capacity > 0:
            taken = info.score_used.get(resource, 0) + pod.score_requests.get(resource, 0)
            shares.append(max(0.0, MAX * (capacity - taken) / capacity))
    return sum(shares) / len(shares) if shares else 0.0


def balance(pod: PodInfo, info: NodeInfo) -> float:
    """How evenly cpu and memory of the node would be used, 0 to 100; of no account for a pod that asks for neither."""
    if not any(pod.requests.get(resource) for resource in SCORED):
        return 0.0
    shares = []
    for resource in SCORED:
        capacity = info.allocatable.get(resource, 0)
        if capacity > 0:
            shares.append(min(1.0, (info.used.get(resource, 0) + pod.requests.get(resource, 0)) / capacity))
    return MAX * (1 - (max(shares) - min(shares)) / 2) if shares else 0.0


def _kin(pod: PodInfo, candidates: Sequence[NodeInfo], services: Iterable[Mapping[str, str]]) -> list[int] | None:
    """How many pods of the same owner, or else of the same services, each node has; None for a pod on its own."""
    if pod.owner:
        return [info.owners.get(pod.owner, 0) for info in candidates]
    wanted: set[tuple[str, str]] = set()
    for selector in services:
        if selector and selector.items() <= pod.labels.items():
            wanted |= selector.items()
    if not wanted:
        return None
    return [
        sum(
            1
            for each in info.pods.values()
            if each.key.namespace == pod.key.namespace and not each.deleting and wanted <= each.labels.items()
        )
        for info in candidates
    ]


def _crowding(
    pod: PodInfo, candidates: Sequence[NodeInfo], wishes: Spread, services: Iterable[Mapping[str, str]]
) -> list[float]:
    """What spreading costs: by the pod's own constraints, else by those that hold for the whole cluster."""
    if wishes:
        return [wishes.cost(info) for info in candidates]
    if pod.spec.topology_spread_constraints or (kin := _kin(pod, candidates, services)) is None:
        return [0.0] * len(candidates)
    zones: dict[str, int] = {}
    for info, count in zip(candidates, kin, strict=True):
        if zone := info.label(ZONE):
            zones[zone] = zones.get(zone, 0) + count
    return [
        count + _ZONE_SHARE * zones.get(info.label(ZONE) or "", 0) for info, count in zip(candidates, kin, strict=True)
    ]


def best(
    pod: PodInfo,
    candidates: Sequence[NodeInfo],
    *,
    near: PodAffinity,
    wishes: Spread,
    services: Iterable[Mapping[str, str]] = (),
) -> NodeInfo:
    """The node with the most points; ``candidates`` is not empty, ``services`` are selectors of the pod's namespace."""
    if len(candidates) == 1:
        return candidates[0]
    nodes = [info.node for info in candidates if info.node is not None]
    totals = [WEIGHT_FREE * free_share(pod, info) + WEIGHT_BALANCE * balance(pod, info) for info in candidates]
    columns: list[tuple[int, list[float]]] = [
        (WEIGHT_SPREAD, less_is_better(_crowding(pod, candidates, wishes, services))),
        (WEIGHT_TAINTS, less_is_better([float(unwanted_taints(pod, node)) for node in nodes])),
    ]
    if pod.spec.affinity:
        columns.append((WEIGHT_AFFINITY, more_is_better([float(preferred_affinity(pod, node)) for node in nodes])))
    if near.scores:
        columns.append((WEIGHT_PODS, more_is_better([float(near.score(info)) for info in candidates])))
    for weight, points in columns:
        for index, value in enumerate(points):
            totals[index] += weight * value
    ranked = zip(totals, candidates, strict=True)
    return min(ranked, key=lambda each: (-round(each[0], 6), len(each[1].pods), each[1].name))[1]
