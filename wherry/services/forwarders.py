"""Where a load balancer's pods listen on this node, so that clients from outside are seen as who they are. Pure.

ServiceLB (as K3s) has a pod on each node whose host ports lead to the Service. What goes through it comes from the pod
then. Under ``externalTrafficPolicy: Local`` the node sends such packets to its endpoints by itself instead; the pod is
what says that the port is the Service's here. That matters for addresses which the Service's status does not show, as
behind a router that translates external addresses to internal ones, or those of further interfaces: a port without
``hostIP`` is that of every address of the node, as a node port is, but those of loopback and of pods; what a program of
the node sends to 127.0.0.1 still goes through the pod. The node's chosen addresses come on their own as well, as
``nodeport-addresses`` may leave them out of those where node ports answer. A container that writes PROXY headers tells
of its clients itself, and nothing goes past it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final, cast

from wherry.kube.keys import Key
from wherry.kube.objects import Pod
from wherry.net.types import IPAddress
from wherry.services.model import ANY, Frontend, Protocol

SERVICE_NAME: Final = "svccontroller.k3s.cattle.io/svcname"
SERVICE_NAMESPACE: Final = "svccontroller.k3s.cattle.io/svcnamespace"
PROXY_PROTOCOL: Final = "PROXY_PROTOCOL"
"""The variable that makes a container write PROXY headers."""

_VERSIONS: Final = {"": (4, 6), "0.0.0.0": (4,), "::": (6,)}
"""``hostIP`` values that stand for every address of the node, and the versions they stand for."""


def service_of(pod: Pod) -> Key | None:
    """The Service that a pod forwards for; None for every other pod."""
    name, namespace = pod.labels.get(SERVICE_NAME), pod.labels.get(SERVICE_NAMESPACE)
    return Key(namespace, name) if name and namespace else None


def listening(pods: Iterable[Pod], node_ips: Iterable[IPAddress]) -> frozenset[Frontend]:
    """What these pods listen on, with ``node_ips`` the node's chosen addresses; only pods that are ready count."""
    own = tuple(node_ips)
    return frozenset(frontend for pod in pods if pod.ready and not pod.deleting for frontend in _of(pod, own))


def _of(pod: Pod, own: tuple[IPAddress, ...]) -> Iterator[Frontend]:
    for container in pod.spec.containers or ():
        if any(one.name == PROXY_PROTOCOL for one in container.env):
            continue
        for port in container.ports:
            if not port.host_port:
                continue
            protocol = cast("Protocol", port.protocol.lower())
            versions = _VERSIONS.get(port.host_ip, ())
            for version in versions:
                yield Frontend(ANY[version], protocol, port.host_port)
            for address in own:
                if address.version in versions or (not versions and ip_address(port.host_ip) == address):
                    yield Frontend(address, protocol, port.host_port)
