"""Nodes, namespaces, service accounts, config maps, secrets, leases and events."""

from __future__ import annotations

import msgspec

from wherry.kube.objects.base import Condition, KubeObject, LocalObjectReference, Model, ObjectReference, Quantity


class NamespaceSpec(Model):
    """Finalizers that hold a namespace that is being deleted."""

    finalizers: tuple[str, ...] = ()


class NamespaceStatus(Model):
    """Phase ``Active`` or ``Terminating``."""

    phase: str = ""
    conditions: tuple[Condition, ...] = ()


class Namespace(KubeObject):
    """A namespace."""

    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class Taint(Model):
    """Keeps pods that do not tolerate it away: NoSchedule, PreferNoSchedule or NoExecute."""

    key: str
    effect: str
    value: str = ""
    time_added: str | None = None


class NodeSpec(Model):
    """Pod ranges, taints and whether new pods may come."""

    pod_cidr: str = ""
    pod_cidrs: tuple[str, ...] = ()
    provider_id: str = ""
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeAddress(Model):
    """An address of a node: Hostname, InternalIP, ExternalIP, InternalDNS or ExternalDNS."""

    type: str
    address: str


class DaemonEndpoint(Model):
    """A port (spelled ``Port`` in JSON)."""

    port: int = msgspec.field(default=0, name="Port")


class NodeDaemonEndpoints(Model):
    """Where the kubelet listens."""

    kubelet_endpoint: DaemonEndpoint = DaemonEndpoint()


class NodeSystemInfo(Model):
    """What the node runs."""

    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    kernel_version: str = ""
    os_image: str = ""
    container_runtime_version: str = ""
    kubelet_version: str = ""
    kube_proxy_version: str = ""
    operating_system: str = ""
    architecture: str = ""


class NodeStatus(Model):
    """What the kubelet reports of its node."""

    capacity: dict[str, Quantity] = msgspec.field(default_factory=dict)
    allocatable: dict[str, Quantity] = msgspec.field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    addresses: tuple[NodeAddress, ...] = ()
    daemon_endpoints: NodeDaemonEndpoints = NodeDaemonEndpoints()
    node_info: NodeSystemInfo = NodeSystemInfo()

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type, if reported."""
        return next((condition for condition in self.conditions if condition.type == type_), None)


class Node(KubeObject):
    """A node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def ready(self) -> bool:
        """Whether condition ``Ready`` is true."""
        condition = self.status.condition("Ready")
        return condition is not None and condition.status == "True"

    def addresses(self, type_: str = "InternalIP") -> tuple[str, ...]:
        """The node's addresses of one type, in the order reported."""
        return tuple(address.address for address in self.status.addresses if address.type == type_)


class ConfigMap(KubeObject):
    """Configuration by key; ``binary_data`` is already decoded from base64."""

    data: dict[str, str] = msgspec.field(default_factory=dict)
    binary_data: dict[str, bytes] = msgspec.field(default_factory=dict)
    immutable: bool = False


class Secret(KubeObject):
    """Secret values by key; ``data`` is already decoded from base64."""

    data: dict[str, bytes] = msgspec.field(default_factory=dict)
    string_data: dict[str, str] = msgspec.field(default_factory=dict)
    type: str = "Opaque"
    immutable: bool = False


class ServiceAccount(KubeObject):
    """An identity of pods."""

    secrets: tuple[ObjectReference, ...] = ()
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    automount_service_account_token: bool | None = None


class LeaseSpec(Model):
    """Who holds a lease; times carry microseconds."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(KubeObject):
    """A lease: heartbeat of a node, or leadership (coordination.k8s.io/v1)."""

    spec: LeaseSpec = LeaseSpec()


class EventSource(Model):
    """Component and node that reported an event."""

    component: str = ""
    host: str = ""


class Event(KubeObject):
    """Something that happened to an object (core/v1)."""

    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    source: EventSource = EventSource()
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None
    count: int = 0
    type: str = ""
    reporting_component: str = ""
    reporting_instance: str = ""
