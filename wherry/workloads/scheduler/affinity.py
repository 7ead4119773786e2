"""Affinity and anti-affinity between pods, required and preferred, and as existing pods ask for it. Pure.

Rules: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
"""

from __future__ import annotations

from collections.abc import Iterator

from wherry.workloads.scheduler.filters import Filter, Rejection
from wherry.workloads.scheduler.model import AffinityTerm, Cluster, NodeInfo, PodInfo

_NOT_NEAR = Rejection(Filter.PODS, ("node(s) didn't match pod affinity rules",))
_TOO_NEAR = Rejection(Filter.PODS, ("node(s) didn't match pod anti-affinity rules",), removable=True)
_UNWELCOME = Rejection(Filter.PODS, ("node(s) didn't satisfy existing pods anti-affinity rules",), removable=True)

HARD_WEIGHT = 1
"""What an existing pod's required affinity weighs when it attracts a pod that did not ask for it."""

Domain = tuple[str, str]
"""Topology key and value."""


class PodAffinity:
    """What the pods of the cluster mean for one pod, gathered once per attempt.

    Costs nothing for a pod without terms in a cluster whose pods have none.
    """

    def __init__(self, pod: PodInfo, cluster: Cluster) -> None:
        self._pod = pod
        self._near: list[tuple[AffinityTerm, set[Domain]]] = [(term, set()) for term in pod.affinity]
        self._away: set[Domain] = set()
        self._unwelcome: set[Domain] = set()
        self.scores: dict[Domain, int] = {}
        namespaces = cluster.namespaces
        if pod.affinity or pod.anti_affinity or pod.preferred_affinity or pod.preferred_anti_affinity:
            for info, other in _placed(cluster):
                # Only a pod that satisfies every term counts as a neighbour, as in Kubernetes.
                if all(term.matches(other, namespaces) for term in pod.affinity):
                    for term, domains in self._near:
                        domains |= _domain(info, term)
                for term in pod.anti_affinity:
                    if term.matches(other, namespaces):
                        self._away |= _domain(info, term)
                self._score(info, pod.preferred_affinity, other, cluster, 1)
                self._score(info, pod.preferred_anti_affinity, other, cluster, -1)
        for other in cluster.repelling.values():
            there = cluster.node(cluster.node_of(other.uid) or "")
            for term in other.anti_affinity if there else ():
                if there and term.matches(pod, namespaces):
                    self._unwelcome |= _domain(there, term)
        for other in cluster.attracting.values():
            if there := cluster.node(cluster.node_of(other.uid) or ""):
                self._score(there, other.affinity, pod, cluster, HARD_WEIGHT)
                self._score(there, other.preferred_affinity, pod, cluster, 1)
                self._score(there, other.preferred_anti_affinity, pod, cluster, -1)
        # The first pod of a group that wants to be near its own kind has nobody to be near to.
        self._first = not any(domains for _, domains in self._near) and all(
            term.matches(pod, namespaces) for term in pod.affinity
        )

    def _score(
        self, info: NodeInfo, terms: tuple[AffinityTerm, ...], pod: PodInfo, cluster: Cluster, sign: int
    ) -> None:
        for term in terms:
            if term.matches(pod, cluster.namespaces):
                for domain in _domain(info, term):
                    self.scores[domain] = self.scores.get(domain, 0) + sign * (term.weight or 1)

    def reject(self, info: NodeInfo) -> Rejection | None:
        """Whether required terms, the pod's or those of pods already placed, exclude this node."""
        for term, domains in self._near:
            domain = _domain(info, term)
            if not domain or not (domain & domains or self._first):
                return _NOT_NEAR
        for term in self._pod.anti_affinity:
            if _domain(info, term) & self._away:
                return _TOO_NEAR
        if self._unwelcome and any(info.label(key) == value for key, value in self._unwelcome):
            return _UNWELCOME
        return None

    def score(self, info: NodeInfo) -> int:
        """Sum of the weights of all wishes that this node fulfils, minus those it violates."""
        return sum(weight for (key, value), weight in self.scores.items() if info.label(key) == value)


def _placed(cluster: Cluster) -> Iterator[tuple[NodeInfo, PodInfo]]:
    for info in cluster.nodes():
        for pod in info.pods.values():
            yield info, pod


def _domain(info: NodeInfo, term: AffinityTerm) -> set[Domain]:
    value = info.label(term.topology_key)
    return set() if value is None else {(term.topology_key, value)}
