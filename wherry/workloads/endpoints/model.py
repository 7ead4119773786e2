"""The endpoints a service should have: pods and ports resolved, before they are cut into slices. Pure.

Rules: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/ and KEP-1672 (terminating endpoints).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wherry.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    Node,
    ObjectReference,
    Pod,
    Service,
    ServicePort,
)

ZONE = "topology.kubernetes.io/zone"

Ports = tuple[EndpointPort, ...]


@dataclass(slots=True)
class Group:
    """Endpoints of one address family whose ports have the same numbers."""

    family: str
    ports: Ports
    endpoints: list[Endpoint] = field(default_factory=list)


def family_of(address: str) -> str:
    """``IPv4`` or ``IPv6``."""
    return f"IPv{ipaddress.ip_address(address).version}"


def families(service: Service, pods: Iterable[Pod]) -> tuple[str, ...]:
    """The address types a service has slices for; without its own word those of its pods."""
    if service.spec.type == "ExternalName":
        return ()
    if service.spec.ip_families:
        return service.spec.ip_families
    return tuple(sorted({family_of(each.ip) for pod in pods for each in pod.status.pod_ips})) or ("IPv4",)


def resolve_port(port: ServicePort, pod: Pod) -> int | None:
    """The number of a service port in a pod; None when the pod has no container port of the name asked for."""
    if isinstance(port.target_port, int):
        return port.target_port or port.port
    if not port.target_port:
        return port.port
    sidecars = (each for each in pod.spec.init_containers if each.restart_policy == "Always")
    for container in (*(pod.spec.containers or ()), *sidecars):
        for declared in container.ports:
            if declared.name == port.target_port and declared.protocol == port.protocol:
                return declared.container_port
    return None


def ports_of(service: Service, pod: Pod) -> Ports:
    """The ports of a service as one pod has them; those it lacks are left out."""
    return tuple(
        EndpointPort(name=port.name, protocol=port.protocol, port=number, app_protocol=port.app_protocol)
        for port in service.spec.ports
        if (number := resolve_port(port, pod)) is not None
    )


def counts(pod: Pod) -> bool:
    """Whether a pod can be an endpoint at all: it has an address and has not ended."""
    return bool(pod.status.pod_ips) and not pod.finished


def endpoint(service: Service, pod: Pod, address: str, node: Node | None) -> Endpoint:
    """A pod as endpoint of a service."""
    serving = pod.ready
    ready = service.spec.publish_not_ready_addresses or (serving and not pod.deleting)
    named = pod.spec.hostname and pod.spec.subdomain == service.name
    return Endpoint(
        addresses=(address,),
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=pod.deleting),
        hostname=pod.spec.hostname if named else None,
        target_ref=ObjectReference(kind="Pod", namespace=pod.namespace, name=pod.name, uid=pod.uid),
        node_name=pod.spec.node_name or None,
        zone=node.labels.get(ZONE) if node else None,
    )


def groups(service: Service, pods: Iterable[Pod], nodes: Mapping[str, Node]) -> list[Group]:
    """All endpoints of a service, by family and by what its ports come to; sorted by pod name."""
    usable = sorted((pod for pod in pods if counts(pod)), key=lambda pod: pod.name)
    wanted = families(service, usable)
    found: dict[tuple[str, Ports], Group] = {}
    for pod in usable:
        node = nodes.get(pod.spec.node_name)
        if node is None and not service.spec.publish_not_ready_addresses:
            # The node is gone, or not known yet: when it appears the service is looked at again.
            continue
        ports = ports_of(service, pod)
        for family in wanted:
            address = next((each.ip for each in pod.status.pod_ips if family_of(each.ip) == family), None)
            if address is not None:
                group = found.setdefault((family, ports), Group(family, ports))
                group.endpoints.append(endpoint(service, pod, address, node))
    return [*found.values()]
