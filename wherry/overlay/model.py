"""What the overlay decides upon and what it decides: plain values."""

from typing import Final, Literal

import msgspec

from wherry.net.types import IPAddress, IPNetwork

Backend = Literal["vxlan", "host-gw", "none"]

VNI: Final = 1
PORT: Final = 8472
"""Linux's old VXLAN port, which flannel uses everywhere; IANA's is 4789."""

DEVICES: Final = {4: "flannel.1", 6: "flannel-v6.1"}
"""The VXLAN devices by IP version of what they carry and of the tunnel, named as flannel's, which they replace."""

OVERHEAD: Final = {4: 50, 6: 70}
"""Bytes that a tunnel of an IP version adds to a packet: Ethernet 14, VXLAN 8, UDP 8, IP 20 or 40."""

ROUTE_PROTOCOL: Final = 119
"""Marks routes as ours in the kernel (rtm_protocol); not one of the numbers that routing daemons registered."""

ALIAS: Final = "wherry-overlay"
"""Marks devices as ours (ip link's alias): a flannel.1 without it belongs to somebody else, and is not removed."""

TABLE: Final = "wherry-overlay"


class OverlaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator chose for the whole cluster, and who this node is."""

    node: str
    backend: Backend
    cluster_cidrs: tuple[IPNetwork, ...]
    masquerade: tuple[int, ...] = (4,)
    """IP versions of pod traffic that is masqueraded where it leaves the cluster; flannel's default leaves IPv6 out."""


class Underlay(msgspec.Struct, frozen=True):
    """Where the node meets the others: one of its addresses, the device that has it, and what is next to it."""

    address: IPAddress
    dev: str
    index: int
    mtu: int
    neighbours: IPNetwork
    """The network that is reached through the device without a router."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A VXLAN device with the one address that traffic of the node itself has when it goes to pods elsewhere."""

    name: str
    local: IPAddress
    parent: int
    mac: str
    mtu: int
    address: IPAddress


class RouteTo(msgspec.Struct, frozen=True):
    """A route to a pod range; without a device an unreachable one."""

    dst: IPNetwork
    dev: str = ""
    via: IPAddress | None = None


class NextHop(msgspec.Struct, frozen=True):
    """The link address of a peer's end of the tunnel: a neighbour entry."""

    dev: str
    dst: IPAddress
    mac: str


class Tunnel(msgspec.Struct, frozen=True):
    """Where frames for a peer's link address go: a forwarding entry."""

    dev: str
    mac: str
    dst: IPAddress


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """The kernel state of one node's overlay, as a value: equal means nothing to do."""

    devices: frozenset[Device] = frozenset()
    routes: frozenset[RouteTo] = frozenset()
    next_hops: frozenset[NextHop] = frozenset()
    tunnels: frozenset[Tunnel] = frozenset()
    rules: tuple[str, ...] = ()
    """The nft statements that fill our table; none for no table."""
    sysctls: tuple[tuple[str, str], ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """All that compiling gives: kernel state, the annotations that tell peers about us, and what is wrong."""

    desired: Desired
    annotations: dict[str, str]
    problems: tuple[str, ...] = ()


def pod_mtu(backend: Backend, underlay_mtu: int, versions: tuple[int, ...]) -> int:
    """Return the MTU of pod interfaces: what fits through the tunnel of every IP version that pods use."""
    return underlay_mtu - max((OVERHEAD[version] for version in versions), default=0) * (backend == "vxlan")
