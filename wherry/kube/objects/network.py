"""Services (core/v1) and endpoint slices (discovery.k8s.io/v1)."""

from __future__ import annotations

import msgspec

from wherry.kube.objects.base import Condition, IntOrString, KubeObject, Model, ObjectReference

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""Label of an endpoint slice that names its service."""


class ServicePort(Model):
    """One port; ``target_port`` is a number or the name of a container port."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    target_port: IntOrString | None = None
    node_port: int = 0


class ClientIPConfig(Model):
    """How long a client sticks to its endpoint."""

    timeout_seconds: int = 10800


class SessionAffinityConfig(Model):
    """Settings of session affinity."""

    client_ip: ClientIPConfig | None = None


class ServiceSpec(Model):
    """Addresses, ports and traffic policies; ``cluster_ip`` is ``None`` (the text) for headless services."""

    type: str = "ClusterIP"
    selector: dict[str, str] = msgspec.field(default_factory=dict)
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = ""
    cluster_ips: tuple[str, ...] = ()
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str | None = None
    external_ips: tuple[str, ...] = ()
    external_name: str = ""
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    publish_not_ready_addresses: bool = False
    internal_traffic_policy: str | None = None
    external_traffic_policy: str = ""
    health_check_node_port: int = 0
    traffic_distribution: str | None = None
    load_balancer_class: str | None = None
    load_balancer_ip: str = ""
    load_balancer_source_ranges: tuple[str, ...] = ()
    allocate_load_balancer_node_ports: bool | None = None


class PortStatus(Model):
    """State of one port of a load balancer."""

    port: int
    protocol: str = ""
    error: str | None = None


class LoadBalancerIngress(Model):
    """An address of a load balancer; ``ip_mode`` is VIP or Proxy."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None
    ports: tuple[PortStatus, ...] = ()


class LoadBalancerStatus(Model):
    """All addresses of a load balancer."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Model):
    """Load balancer state and conditions."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()
    conditions: tuple[Condition, ...] = ()


class Service(KubeObject):
    """A service."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def headless(self) -> bool:
        """Whether the service has no address of its own by choice."""
        return self.spec.cluster_ip == "None"


class EndpointConditions(Model):
    """State of an endpoint; ``None`` is read as ready, serving and not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Model):
    """A zone (or node) a hint is for."""

    name: str


class EndpointHints(Model):
    """Who should use an endpoint."""

    for_zones: tuple[ForZone, ...] = ()
    for_nodes: tuple[ForZone, ...] = ()


class Endpoint(Model):
    """One endpoint; only the first address is used."""

    addresses: tuple[str, ...] | None = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    target_ref: ObjectReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None


class EndpointPort(Model):
    """A port with its number already resolved."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(KubeObject):
    """Some endpoints of a service, of one address type (IPv4, IPv6 or FQDN)."""

    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] | None = ()
    ports: tuple[EndpointPort, ...] | None = ()

    @property
    def service_name(self) -> str:
        """Name of the service in the same namespace, empty when the slice belongs to none."""
        return self.metadata.labels.get(SERVICE_NAME_LABEL, "")
