"""Where a load balancer's pods listen on this node, so that clients from outside are seen as who they are. Pure.

ServiceLB (as K3s) has a pod on each node whose host ports lead to the Service. What goes through it comes from the pod
then. Under ``externalTrafficPolicy: Local`` the node sends such packets to its endpoints by itself instead; the pod is
what says that the port is the Service's here. That matters for addresses which the Service's status does not show, as
behind a router that translates external addresses to internal ones. A container that writes PROXY headers tells of its
clients itself, and nothing goes past it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final, cast

from wherry.kube.keys import Key
from wherry.kube.objects import Pod
from wherry.net.types import IPAddress
from wherry.services.model import Frontend, Protocol

SERVICE_NAME: Final = "svccontroller.k3s.cattle.io/svcname"
SERVICE_NAMESPACE: Final = "svccontroller.k3s.cattle.io/svcnamespace"
PROXY_PROTOCOL: Final = "PROXY_PROTOCOL"
"""The variable that makes a container write PROXY headers."""


def service_of(pod: Pod) -> Key | None:
    """The Service that a pod forwards for; None for every other pod."""
    name, namespace = pod.labels.get(SERVICE_NAME), pod.labels.get(SERVICE_NAMESPACE)
    return Key(namespace, name) if name and namespace else None


def listening(pods: Iterable[Pod], node_ips: Iterable[IPAddress]) -> frozenset[Frontend]:
    """What these pods listen on, of the node's own addresses; only those that are ready count."""
    own = tuple(node_ips)
    return frozenset(frontend for pod in pods if pod.ready and not pod.deleting for frontend in _of(pod, own))


def _of(pod: Pod, own: tuple[IPAddress, ...]) -> Iterator[Frontend]:
    for container in pod.spec.containers or ():
        if any(one.name == PROXY_PROTOCOL for one in container.env):
            continue
        for port in container.ports:
            protocol = cast("Protocol", port.protocol.lower())
            for address in own if port.host_port else ():
                if port.host_ip in ("", "0.0.0.0", "::") or ip_address(port.host_ip) == address:
                    yield Frontend(address, protocol, port.host_port)
