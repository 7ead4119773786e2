"""What the scheduler knows: pods reduced to what placement depends on, and nodes with the pods they hold.

:class:`Cluster` is the scheduler's own state. It runs ahead of the watch: a pod counts on its node from the moment it
is assumed there, so the next pod sees it without waiting for the API server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from wherry.kube.keys import Key
from wherry.kube.objects import LabelSelector, LabelSelectorRequirement, Node, Pod, PodAffinityTerm, PodSpec
from wherry.kube.selectors import NOTHING, Selector, from_object
from wherry.kube.times import parse_time
from wherry.workloads.scheduler.requests import ASSUMED, CPU, MEMORY, PODS, Amounts, amounts, pod_requests

ANY_ADDRESS = "0.0.0.0"

DISRUPTION_TARGET, PREEMPTED = "DisruptionTarget", "PreemptionByScheduler"
"""Type and reason of the condition of a pod that makes room for another."""

PREEMPTION = "wherry.dev/preemption"
"""Annotation of pods; ``Never`` means what ``preemptionPolicy: Never`` does, for pods whose class says otherwise."""

HostPort = tuple[str, str, int]
"""Address, protocol and port a pod occupies on its node."""


@dataclass(frozen=True, slots=True)
class AffinityTerm:
    """A (anti-)affinity term ready to be matched: which pods, and over which topology."""

    topology_key: str
    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector
    weight: int = 0

    def matches(self, pod: PodInfo, namespace_labels: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether the term is about that pod."""
        namespace = pod.key.namespace
        if namespace not in self.namespaces:
            labels = namespace_labels.get(namespace)
            if labels is None or not self.namespace_selector.matches(labels):
                return False
        return self.selector.matches(pod.labels)


@dataclass(frozen=True, slots=True, eq=False)
class PodInfo:
    """A pod as placement sees it."""

    key: Key
    uid: str
    labels: dict[str, str]
    spec: PodSpec
    owner: str
    priority: int
    deleting: bool
    requests: Amounts
    score_requests: Amounts
    ports: tuple[HostPort, ...]
    affinity: tuple[AffinityTerm, ...] = ()
    anti_affinity: tuple[AffinityTerm, ...] = ()
    preferred_affinity: tuple[AffinityTerm, ...] = ()
    preferred_anti_affinity: tuple[AffinityTerm, ...] = ()
    claims: tuple[str, ...] = ()
    nominated: str = ""
    started: float = 0.0
    preempted: bool = False
    patient: bool = False

    @property
    def preempts(self) -> bool:
        """Whether the pod may have others deleted to make room."""
        return self.spec.preemption_policy != "Never" and not self.patient

    @property
    def scores_others(self) -> bool:
        """Whether the pod attracts or repels pods that come later."""
        return bool(self.affinity or self.preferred_affinity or self.preferred_anti_affinity)


def with_label_keys(
    selector: LabelSelector | None, labels: Mapping[str, str], same: tuple[str, ...] = (), other: tuple[str, ...] = ()
) -> Selector:
    """A label selector narrowed to pods whose labels ``same`` equal, and labels ``other`` differ from, the given ones.

    Keys that the pod lacks are ignored (KEP-3243, KEP-3633).
    """
    if selector is None:
        return NOTHING
    extra = tuple(
        LabelSelectorRequirement(key=key, operator=operator, values=(labels[key],))
        for keys, operator in ((same, "In"), (other, "NotIn"))
        for key in keys
        if key in labels
    )
    return from_object(
        LabelSelector(match_labels=selector.match_labels, match_expressions=selector.match_expressions + extra)
    )


def _term(term: PodAffinityTerm, pod: Pod, weight: int = 0) -> AffinityTerm:
    own = () if term.namespaces or term.namespace_selector is not None else (pod.namespace,)
    return AffinityTerm(
        topology_key=term.topology_key,
        selector=with_label_keys(term.label_selector, pod.labels, term.match_label_keys, term.mismatch_label_keys),
        namespaces=frozenset(term.namespaces or own),
        namespace_selector=from_object(term.namespace_selector),
        weight=weight,
    )


def host_ports(spec: PodSpec) -> tuple[HostPort, ...]:
    """The ports a pod occupies on its node: those of containers and sidecars."""
    sidecars = (container for container in spec.init_containers if container.restart_policy == "Always")
    return tuple(
        (port.host_ip or ANY_ADDRESS, port.protocol or "TCP", port.host_port)
        for container in (*(spec.containers or ()), *sidecars)
        for port in container.ports
        if port.host_port > 0
    )


def claim_names(pod: Pod) -> tuple[str, ...]:
    """The claims a pod uses, those of its generic ephemeral volumes included."""
    names = []
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            names.append(volume.persistent_volume_claim.claim_name)
        elif volume.ephemeral is not None:
            names.append(f"{pod.name}-{volume.name}")
    return tuple(names)


def _started(pod: Pod) -> float:
    """When the pod began to run, in seconds since 1970; one that has not is younger than all others."""
    return parse_time(pod.status.start_time) if pod.status.start_time else float("inf")


def _preempted(pod: Pod) -> bool:
    """Whether a scheduler is having the pod deleted to make room."""
    condition = pod.status.condition(DISRUPTION_TARGET)
    return condition is not None and condition.status == "True" and condition.reason == PREEMPTED


def pod_info(pod: Pod) -> PodInfo:
    """Reduce a pod to what placement depends on."""
    spec = pod.spec
    affinity = spec.affinity
    near = affinity.pod_affinity if affinity else None
    away = affinity.pod_anti_affinity if affinity else None
    owner = pod.metadata.controller
    return PodInfo(
        key=pod.key,
        uid=pod.uid,
        labels=pod.labels,
        spec=spec,
        owner=owner.uid if owner else "",
        priority=spec.priority or 0,
        deleting=pod.deleting,
        requests=pod_requests(spec),
        score_requests=pod_requests(spec, assumed=ASSUMED),
        ports=host_ports(spec),
        affinity=tuple(_term(term, pod) for term in near.required) if near else (),
        anti_affinity=tuple(_term(term, pod) for term in away.required) if away else (),
        preferred_affinity=tuple(_term(each.pod_affinity_term, pod, each.weight) for each in near.preferred)
        if near
        else (),
        preferred_anti_affinity=tuple(_term(each.pod_affinity_term, pod, each.weight) for each in away.preferred)
        if away
        else (),
        claims=claim_names(pod),
        nominated=pod.status.nominated_node_name,
        started=_started(pod),
        preempted=_preempted(pod),
        patient=pod.metadata.annotations.get(PREEMPTION) == "Never",
    )


@dataclass(slots=True)
class NodeInfo:
    """A node, what it can give and what the pods on it take."""

    name: str
    node: Node | None = None
    allocatable: Amounts = field(default_factory=dict)
    used: Amounts = field(default_factory=dict)
    score_used: Amounts = field(default_factory=dict)
    ports: dict[HostPort, int] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)

    @property
    def max_pods(self) -> int:
        """How many pods the node takes; a node that reports no ``pods`` takes none."""
        return self.allocatable.get(PODS, 0)

    def label(self, key: str) -> str | None:
        """The node's value of a label."""
        return self.node.labels.get(key) if self.node else None

    def _count(self, pod: PodInfo, sign: int) -> None:
        for total, asked in ((self.used, pod.requests), (self.score_used, pod.score_requests)):
            for resource, value in asked.items():
                total[resource] = total.get(resource, 0) + sign * value
        if pod.owner:
            self.owners[pod.owner] = self.owners.get(pod.owner, 0) + sign
            if not self.owners[pod.owner]:
                del self.owners[pod.owner]
        for port in pod.ports:
            self.ports[port] = self.ports.get(port, 0) + sign
            if not self.ports[port]:
                del self.ports[port]

    def add(self, pod: PodInfo) -> None:
        """Count a pod in; one with the same uid is replaced."""
        self.remove(pod.uid)
        self.pods[pod.uid] = pod
        self._count(pod, 1)

    def remove(self, uid: str) -> PodInfo | None:
        """Count a pod out."""
        pod = self.pods.pop(uid, None)
        if pod is not None:
            self._count(pod, -1)
        return pod

    def copy(self) -> NodeInfo:
        """The same node for trying things out."""
        return NodeInfo(
            self.name,
            self.node,
            self.allocatable,
            {**self.used},
            {**self.score_used},
            {**self.ports},
            {**self.owners},
            {**self.pods},
        )

    def conflicts(self, ports: Iterable[HostPort]) -> bool:
        """Whether one of the ports is taken; an address and ``0.0.0.0`` exclude each other on the same port."""
        for address, protocol, port in ports:
            if address == ANY_ADDRESS:
                if any(taken[1] == protocol and taken[2] == port for taken in self.ports):
                    return True
            elif (address, protocol, port) in self.ports or (ANY_ADDRESS, protocol, port) in self.ports:
                return True
        return False


class Cluster:
    """All nodes with the pods on them, as known or assumed.

    Pods may arrive before their node: they are kept under its name and count once the node is there.
    """

    def __init__(self) -> None:
        self._infos: dict[str, NodeInfo] = {}
        self._where: dict[str, str] = {}
        self.repelling: dict[str, PodInfo] = {}
        self.attracting: dict[str, PodInfo] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self.services: dict[str, dict[str, Mapping[str, str]]] = {}
        self.nominated: dict[str, PodInfo] = {}

    def nodes(self) -> Iterator[NodeInfo]:
        """Every node that exists, in order of arrival."""
        return (info for info in self._infos.values() if info.node is not None)

    def node(self, name: str) -> NodeInfo | None:
        """The node of that name if it exists."""
        info = self._infos.get(name)
        return info if info is not None and info.node is not None else None

    def node_of(self, uid: str) -> str | None:
        """Name of the node a pod counts on."""
        return self._where.get(uid)

    def set_node(self, node: Node) -> None:
        """Add or update a node."""
        info = self._infos.setdefault(node.name, NodeInfo(node.name))
        if info.node is None or info.node.status.allocatable != node.status.allocatable:
            info.allocatable = amounts(node.status.allocatable)
        info.node = node

    def remove_node(self, name: str) -> None:
        """Forget a node; pods still on it are kept in case it comes back."""
        info = self._infos.get(name)
        if info is None:
            return
        info.node = None
        if not info.pods:
            del self._infos[name]

    def place(self, pod: PodInfo, node: str) -> None:
        """Count a pod on a node, moving it when it counted elsewhere."""
        if self._where.get(pod.uid, node) != node:
            self.remove(pod.uid)
        self._where[pod.uid] = node
        self._infos.setdefault(node, NodeInfo(node)).add(pod)
        for index, member in ((self.repelling, bool(pod.anti_affinity)), (self.attracting, pod.scores_others)):
            if member:
                index[pod.uid] = pod
            else:
                index.pop(pod.uid, None)

    def remove(self, uid: str) -> PodInfo | None:
        """Count a pod out; None if it counted nowhere."""
        node = self._where.pop(uid, None)
        if node is None:
            return None
        self.repelling.pop(uid, None)
        self.attracting.pop(uid, None)
        info = self._infos[node]
        pod = info.remove(uid)
        if info.node is None and not info.pods:
            del self._infos[node]
        return pod

    @property
    def claimed(self) -> set[tuple[str, str]]:
        """Namespace and name of the claims that pods on nodes use."""
        pods = (pod for info in self._infos.values() for pod in info.pods.values())
        return {(pod.key.namespace, claim) for pod in pods for claim in pod.claims}

    def nominate(self, pod: PodInfo, node: str) -> None:
        """Keep the room of a node that pods leave for this one; an empty name gives it up."""
        if node:
            self.nominated[pod.uid] = replace(pod, nominated=node)
        else:
            self.nominated.pop(pod.uid, None)

    def nominated_to(self, node: str, pod: PodInfo) -> list[PodInfo]:
        """The pods with at least this pod's priority that a node is being cleared for."""
        return [
            other
            for other in self.nominated.values()
            if other.nominated == node and other.priority >= pod.priority and other.uid != pod.uid
        ]

    def what_if(self, node: str, *, without: Iterable[PodInfo] = (), adding: Iterable[PodInfo] = ()) -> Cluster:
        """The cluster if one node held other pods; placing and removing on that node leaves this one alone."""
        other = Cluster()
        other._infos = {**self._infos, node: self._infos[node].copy()}
        other._where = {**self._where}
        other.repelling = {**self.repelling}
        other.attracting = {**self.attracting}
        other.namespaces = self.namespaces
        for pod in without:
            other.remove(pod.uid)
        for pod in adding:
            other.place(pod, node)
        return other


def free(info: NodeInfo, resource: str) -> int:
    """How much of a resource is left on a node."""
    return info.allocatable.get(resource, 0) - info.used.get(resource, 0)


SCORED = (CPU, MEMORY)
"""Resources whose use the score evens out."""
