"""Filters over one node: names, taints, affinity, host ports and resources. Pure.

Each filter that says no names itself, so that the queue knows which changes may help, and gives Kubernetes' reason,
which ends up in the pod's condition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from wherry.kube.objects import Node, Taint
from wherry.workloads import placement
from wherry.workloads.scheduler.model import NodeInfo, PodInfo, free


class Filter(Enum):
    """The filters by their Kubernetes names."""

    UNSCHEDULABLE = "NodeUnschedulable"
    NAME = "NodeName"
    TAINTS = "TaintToleration"
    AFFINITY = "NodeAffinity"
    PORTS = "NodePorts"
    FIT = "NodeResourcesFit"
    SPREAD = "PodTopologySpread"
    PODS = "InterPodAffinity"
    VOLUMES = "VolumeBinding"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a node cannot take a pod; ``removable`` when removing pods from that node could change it."""

    filter: Filter
    reasons: tuple[str, ...]
    removable: bool = False


_CORDON = Taint(key=placement.TAINT_UNSCHEDULABLE, effect=placement.NO_SCHEDULE)

_UNSCHEDULABLE = Rejection(Filter.UNSCHEDULABLE, ("node(s) were unschedulable",))
_NAME = Rejection(Filter.NAME, ("node(s) didn't match the requested node name",))
_TAINTS = Rejection(Filter.TAINTS, ("node(s) had untolerated taint(s)",))
_AFFINITY = Rejection(Filter.AFFINITY, ("node(s) didn't match Pod's node affinity/selector",))
_PORTS = Rejection(Filter.PORTS, ("node(s) didn't have free ports for the requested pod ports",), removable=True)


def unschedulable(pod: PodInfo, node: Node) -> Rejection | None:
    """A cordoned node takes only pods that tolerate it."""
    cordoned = node.spec.unschedulable and placement.untolerated_taint((_CORDON,), pod.spec.tolerations)
    return _UNSCHEDULABLE if cordoned else None


def name(pod: PodInfo, node: Node) -> Rejection | None:
    """``spec.nodeName`` names another node."""
    return _NAME if pod.spec.node_name not in ("", node.name) else None


def taints(pod: PodInfo, node: Node) -> Rejection | None:
    """A NoSchedule or NoExecute taint is not tolerated."""
    return _TAINTS if placement.untolerated_taint(node.spec.taints, pod.spec.tolerations) else None


def affinity(pod: PodInfo, node: Node) -> Rejection | None:
    """``nodeSelector`` or the required node affinity excludes the node."""
    return None if placement.affinity_matches(pod.spec, node) else _AFFINITY


def ports(pod: PodInfo, info: NodeInfo) -> Rejection | None:
    """A host port is taken."""
    return _PORTS if pod.ports and info.conflicts(pod.ports) else None


def fit(pod: PodInfo, info: NodeInfo) -> Rejection | None:
    """The node has no room: pods, cpu, memory or anything else asked for."""
    reasons = []
    removable = True
    if len(info.pods) + 1 > info.max_pods:
        reasons.append("Too many pods")
        removable = info.max_pods > 0
    for resource, asked in pod.requests.items():
        if asked > 0 and asked > free(info, resource):
            reasons.append(f"Insufficient {resource}")
            removable = removable and asked <= info.allocatable.get(resource, 0)
    return Rejection(Filter.FIT, tuple(reasons), removable=removable) if reasons else None


STATIC: tuple[Callable[[PodInfo, Node], Rejection | None], ...] = (unschedulable, name, taints, affinity)
"""Filters that look at the node object alone, in Kubernetes' order."""

DYNAMIC: tuple[Callable[[PodInfo, NodeInfo], Rejection | None], ...] = (ports, fit)
"""Filters that look at what else runs on the node."""


def reject(pod: PodInfo, info: NodeInfo) -> Rejection | None:
    """The first filter over this node alone that says no."""
    assert info.node is not None, "only existing nodes are candidates"
    for static in STATIC:
        if rejection := static(pod, info.node):
            return rejection
    for dynamic in DYNAMIC:
        if rejection := dynamic(pod, info):
            return rejection
    return None
