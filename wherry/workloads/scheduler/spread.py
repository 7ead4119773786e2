"""Topology spread constraints: how uneven a pod's kind may become over zones, hosts or any other label. Pure.

Rules: https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/ with KEP-895 (minDomains),
KEP-3022 (node inclusion policies) and KEP-3243 (matchLabelKeys).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from wherry.kube.objects import Node, TopologySpreadConstraint
from wherry.kube.selectors import Selector
from wherry.workloads import placement
from wherry.workloads.scheduler.filters import Filter, Rejection
from wherry.workloads.scheduler.model import NodeInfo, PodInfo, with_label_keys

_UNEVEN = Rejection(Filter.SPREAD, ("node(s) didn't match pod topology spread constraints",), removable=True)
_NO_LABEL = Rejection(Filter.SPREAD, ("node(s) didn't match pod topology spread constraints (missing required label)",))


@dataclass(slots=True)
class _Count:
    constraint: TopologySpreadConstraint
    selector: Selector
    domains: dict[str, int] = field(default_factory=dict)
    own: int = 0

    @property
    def minimum(self) -> int:
        wanted = self.constraint.min_domains or 1
        return min(self.domains.values(), default=0) if len(self.domains) >= wanted else 0


def _counts_here(constraint: TopologySpreadConstraint, pod: PodInfo, node: Node) -> bool:
    if (constraint.node_affinity_policy or "Honor") == "Honor" and not placement.affinity_matches(pod.spec, node):
        return False
    return constraint.node_taints_policy != "Honor" or not placement.untolerated_taint(
        node.spec.taints, pod.spec.tolerations
    )


class Spread:
    """The constraints of one kind of a pod, counted over the cluster: ``DoNotSchedule`` or ``ScheduleAnyway``."""

    def __init__(self, pod: PodInfo, nodes: Iterable[NodeInfo], *, when: str = "DoNotSchedule") -> None:
        self._counts: list[_Count] = []
        for constraint in pod.spec.topology_spread_constraints:
            if constraint.when_unsatisfiable == when:
                selector = with_label_keys(constraint.label_selector, pod.labels, constraint.match_label_keys)
                self._counts.append(_Count(constraint, selector, own=int(selector.matches(pod.labels))))
        if self._counts:
            self._keys = tuple(count.constraint.topology_key for count in self._counts)
            for info in nodes:
                self._count_node(pod, info)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def _count_node(self, pod: PodInfo, info: NodeInfo) -> None:
        node = info.node
        if node is None or any(key not in node.labels for key in self._keys):
            return
        for count in self._counts:
            if not _counts_here(count.constraint, pod, node):
                continue
            domain = node.labels[count.constraint.topology_key]
            found = sum(
                1
                for other in info.pods.values()
                if other.key.namespace == pod.key.namespace
                and not other.deleting
                and count.selector.matches(other.labels)
            )
            count.domains[domain] = count.domains.get(domain, 0) + found

    def reject(self, info: NodeInfo) -> Rejection | None:
        """Whether the pod on this node would break a constraint."""
        for count in self._counts:
            domain = info.label(count.constraint.topology_key)
            if domain is None:
                return _NO_LABEL
            there = count.domains.get(domain, 0)
            if there + count.own - count.minimum > count.constraint.max_skew:
                return _UNEVEN
        return None

    def cost(self, info: NodeInfo) -> float:
        """How crowded this node's domains are; nodes without the labels are worse than all others."""
        total = 0.0
        for count in self._counts:
            domain = info.label(count.constraint.topology_key)
            if domain is None:
                return float("inf")
            total += count.domains.get(domain, 0) + count.constraint.max_skew - 1
        return total
