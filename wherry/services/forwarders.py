"""Where a load balancer's pods listen on this node, so that clients from outside are seen as who they are. Pure.

ServiceLB (as K3s) has a pod on each node whose host ports lead to the Service. What goes through it comes from the pod
then. Under ``externalTrafficPolicy: Local`` the node sends such packets to its endpoints by itself instead; the pod is
what says that the port is the Service's here. That matters for addresses which the Service's status does not show, as
behind a router that translates external addresses to internal ones, or those of further interfaces: a port without
``hostIP`` is that of every address of the node, as a node port is, but those of loopback and of pods; what a program of
the node sends to 127.0.0.1 still goes through the pod. The node's chosen addresses come on their own as well, as
``nodeport-addresses`` may leave them out of those where node ports answer. A port bound to one address or interface is
that of the addresses which this node has. A container that writes PROXY headers tells of its clients itself, and
nothing goes past it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Final, cast

import msgspec

from wherry.kube.keys import Key
from wherry.kube.objects import Node, Pod
from wherry.net.types import IPAddress
from wherry.services.model import ANY, Frontend, Protocol

SERVICE_NAME: Final = "svccontroller.k3s.cattle.io/svcname"
SERVICE_NAMESPACE: Final = "svccontroller.k3s.cattle.io/svcnamespace"
PROXY_PROTOCOL: Final = "PROXY_PROTOCOL"
"""The variable that makes a container write PROXY headers."""
INTERFACES: Final = "wherry.dev/interfaces"
"""Annotation of a node: JSON, its interfaces with the addresses of each."""
ON_INTERFACE: Final = "wherry.dev/host-interface"
"""Annotation of a pod: the interface whose addresses its host ports are of."""

_VERSIONS: Final = {"": (4, 6), "0.0.0.0": (4,), "::": (6,)}
"""``hostIP`` values that stand for every address of the node, and the versions they stand for."""
_NO_INTERFACES: Final[Mapping[str, tuple[IPAddress, ...]]] = {}


def service_of(pod: Pod) -> Key | None:
    """The Service that a pod forwards for; None for every other pod."""
    name, namespace = pod.labels.get(SERVICE_NAME), pod.labels.get(SERVICE_NAMESPACE)
    return Key(namespace, name) if name and namespace else None


def interfaces_of(node: Node | None) -> dict[str, tuple[IPAddress, ...]]:
    """The interfaces that a node's agent tells, with the addresses of each; none where it tells nothing sensible."""
    text = node.metadata.annotations.get(INTERFACES, "") if node is not None else ""
    try:
        told = msgspec.json.decode(text, type=dict[str, tuple[str, ...]])
        return {name: tuple(map(ip_address, addresses)) for name, addresses in told.items()}
    except ValueError:
        return {}


def listening(
    pods: Iterable[Pod],
    node_ips: Iterable[IPAddress],
    interfaces: Mapping[str, tuple[IPAddress, ...]] = _NO_INTERFACES,
) -> frozenset[Frontend]:
    """What these pods listen on; only pods that are ready count.

    ``node_ips`` are the node's chosen addresses, ``interfaces`` all of its addresses by interface.
    """
    own = tuple(node_ips)
    return frozenset(
        frontend for pod in pods if pod.ready and not pod.deleting for frontend in _of(pod, own, interfaces)
    )


def _of(pod: Pod, own: tuple[IPAddress, ...], interfaces: Mapping[str, tuple[IPAddress, ...]]) -> Iterator[Frontend]:
    interface = pod.metadata.annotations.get(ON_INTERFACE, "")
    for container in pod.spec.containers or ():
        if any(one.name == PROXY_PROTOCOL for one in container.env):
            continue
        for port in container.ports:
            if not port.host_port:
                continue
            protocol = cast("Protocol", port.protocol.lower())
            versions = () if interface else _VERSIONS.get(port.host_ip, ())
            for version in versions:
                yield Frontend(ANY[version], protocol, port.host_port)
            if interface:
                bound = interfaces.get(interface, ())
            elif versions:
                bound = tuple(address for address in own if address.version in versions)
            else:
                address = ip_address(port.host_ip)
                bound = (address,) if any(address in each for each in (own, *interfaces.values())) else ()
            for address in bound:
                yield Frontend(address, protocol, port.host_port)
