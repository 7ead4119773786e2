"""What a node itself asks of a pod that was bound to it: room, labels, taints and host ports, by the scheduler's rules.

It matters for pods that no scheduler has seen (`spec.nodeName` written by hand) or that two schedulers bound at once.
Reasons and messages: kubelet, lifecycle/predicate.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wherry.kube.objects import Node, Pod
from wherry.pods.admission import Rejection
from wherry.workloads import placement
from wherry.workloads.scheduler import filters
from wherry.workloads.scheduler.model import NodeInfo, PodInfo, pod_info
from wherry.workloads.scheduler.requests import PODS, amounts


class NodeAdmission:
    """Judges pods by the node's object as it is now; `node` returns None before it is known, which admits all."""

    def __init__(self, node: Callable[[], Node | None]) -> None:
        self._node = node

    def __call__(self, pod: Pod, others: Sequence[Pod]) -> Rejection | None:
        """Return why the pod may not run beside the others, None when it may."""
        node = self._node()
        return None if node is None else admit(pod, node, others)


def admit(pod: Pod, node: Node, others: Sequence[Pod]) -> Rejection | None:
    """Return the first reason for which the node does not take the pod. Pure."""
    wanted = pod_info(pod)
    info = NodeInfo(node.name, node, amounts(node.status.allocatable))
    for other in others:
        info.add(pod_info(other))
    if rejection := _room(wanted, info):
        return rejection
    for check in (filters.affinity(wanted, node), filters.ports(wanted, info)):
        if check is not None:
            return _failed(check.filter.value, check.reasons[0])
    # Whoever binds a pod by hand may pass NoSchedule taints; NoExecute ones would end it right away.
    if placement.untolerated_taint(node.spec.taints, pod.spec.tolerations, (placement.NO_EXECUTE,)):
        return _failed("TaintToleration", "node(s) had taints that the pod didn't tolerate")
    return None


def _room(pod: PodInfo, info: NodeInfo) -> Rejection | None:
    if len(info.pods) + 1 > info.max_pods:
        return _out_of(PODS, 1, len(info.pods), info.max_pods)
    for resource, asked in pod.requests.items():
        used, most = info.used.get(resource, 0), info.allocatable.get(resource, 0)
        if asked > 0 and asked > most - used:
            return _out_of(resource, asked, used, most)
    return None


def _out_of(resource: str, asked: int, used: int, most: int) -> Rejection:
    text = f"Node didn't have enough resource: {resource}, requested: {asked}, used: {used}, capacity: {most}"
    return Rejection(f"OutOf{resource}", text)


def _failed(predicate: str, why: str) -> Rejection:
    return Rejection(predicate, f"Predicate {predicate} failed: {why}")
