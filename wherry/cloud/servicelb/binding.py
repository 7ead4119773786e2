"""`wherry.dev/lb-bind`: the address or the interface of the nodes that a Service's ports listen on. Pure.

An address is a host port's `hostIP`. An interface has other addresses on each node, and Kubernetes has no word for it:
the DaemonSet's pods carry its name in an annotation that wherry's kubelet follows, and a `hostIP` of 127.0.0.0/8,
one for each name, so that on other nodes the port is not open to everybody. Which interfaces a node has is in an
annotation that its agent writes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address
from typing import NamedTuple

import msgspec

from wherry.cloud.servicelb.model import BIND, Unusable
from wherry.kube.objects import Node, Service

INTERFACES = "wherry.dev/interfaces"
"""Annotation of a node: JSON, its interfaces with the addresses of each."""
ON_INTERFACE = "wherry.dev/host-interface"
"""Annotation of a pod: the interface whose addresses its host ports are of."""

_INTERFACE = re.compile(r"[^\s/:]{1,15}")
"""What Linux allows (`dev_valid_name`)."""


class Bind(NamedTuple):
    """Where to listen; one of the two is empty."""

    address: str = ""
    interface: str = ""

    @property
    def host_ip(self) -> str:
        """The `hostIP` of the host ports."""
        return self.address or str(IPv4Address("127.128.0.0") + zlib.crc32(self.interface.encode()) % (1 << 23))


def parse(service: Service) -> Bind | None:
    """Read the annotation; None where the ports listen on all addresses. Raises `Unusable`."""
    text = service.metadata.annotations.get(BIND, "").strip()
    if not text:
        return None
    try:
        address = ip_address(text)
    except ValueError as error:
        if _INTERFACE.fullmatch(text) and text not in (".", ".."):
            return Bind(interface=text)
        raise Unusable(f"annotation {BIND}: {text!r} is neither an address nor the name of an interface") from error
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        raise Unusable(f"annotation {BIND}: {text} is an address that nobody reaches a node by")
    families = service.spec.ip_families
    if families and f"IPv{address.version}" not in families:
        raise Unusable(f"annotation {BIND}: {text} is IPv{address.version}, the Service has {', '.join(families)} only")
    return Bind(address=str(address))


def addresses(bind: Bind, node: Node, families: Sequence[str]) -> list[str]:
    """What a Service's ports listen on at a node.

    A node whose agent does not tell its interfaces is believed to have an address, and no interface.
    """
    known = _interfaces(node)
    if bind.interface:
        return [one for one in known.get(bind.interface, ()) if _family(one) in families] if known else []
    if known is None or bind.address in (*node.addresses(), *node.addresses("ExternalIP")):
        return [bind.address]
    return [bind.address] if any(bind.address in listed for listed in known.values()) else []


def told(node: Node) -> str:
    """The annotation about interfaces as it is, to notice changes."""
    return node.metadata.annotations.get(INTERFACES, "")


class Unbound(NamedTuple):
    """A node at which a Service's ports listen on nothing."""

    node: str
    why: str

    def __str__(self) -> str:
        return f"node {self.node} {self.why}" if self.node else self.why


def unbound(
    bind: Bind | None, nodes: Sequence[Node], families: Sequence[str], *, eligible: Sequence[Node]
) -> list[Unbound]:
    """Where a Service's forwarders, which are on ``nodes``, listen on nothing.

    An address is one node's: it is missed if none has it of those that may get a forwarder, as not all may have it yet.
    """
    if bind is None or not nodes:
        return []
    if bind.address:
        has = any(addresses(bind, node, families) for node in (*nodes, *eligible))
        return [] if has else [Unbound("", f"no node has the address {bind.address} ({BIND})")]
    without = [node for node in nodes if not addresses(bind, node, families)]
    return sorted(Unbound(node.name, _why(bind.interface, node, families)) for node in without)


def _why(interface: str, node: Node, families: Sequence[str]) -> str:
    known = _interfaces(node)
    if known is None:
        return f"does not tell which interfaces it has, so that {BIND}: {interface} means nothing there"
    if interface not in known:
        return f"has no interface {interface} with an address ({BIND})"
    return f"has no {' or '.join(families)} address on its interface {interface} ({BIND})"


def _interfaces(node: Node) -> dict[str, tuple[str, ...]] | None:
    try:
        return msgspec.json.decode(told(node), type=dict[str, tuple[str, ...]])
    except msgspec.MsgspecError:
        return None


def _family(text: str) -> str:
    try:
        return f"IPv{ip_address(text).version}"
    except ValueError:
        return ""
