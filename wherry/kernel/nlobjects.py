"""What rtnetlink speaks about, as plain values, and their bytes. Pure.

Numbers are those of include/uapi/linux/{if_link,if_addr,rtnetlink,neighbour,fib_rules}.h; see rtnetlink(7).
"""

import struct
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final, Literal

import msgspec

from wherry.kernel import nlwire as wire
from wherry.net.types import IPAddress, IPNetwork

LINK: Final = struct.Struct("=BxHiII")
ADDRESS: Final = struct.Struct("=BBBBI")
ROUTE: Final = struct.Struct("=BBBBBBBBI")
NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")
RULE: Final = struct.Struct("=BBBBBxxBI")

IFF_UP: Final = 0x1
IFF_LOWER_UP: Final = 0x10000

TABLE_MAIN: Final = 254
PROTOCOL_STATIC: Final = 4
RTNH_F_ONLINK: Final = 4

NUD_PERMANENT: Final = 0x80
NTF_SELF: Final = 0x2
NTF_MASTER: Final = 0x4
NTF_PROXY: Final = 0x8

RouteKind = Literal["unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit"]
ROUTE_KINDS: Final[dict[RouteKind, int]] = {
    "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5,
    "blackhole": 6, "unreachable": 7, "prohibit": 8,
}  # fmt: skip
_ROUTE_KIND_NAMES: Final = {number: name for name, number in ROUTE_KINDS.items()}


class Vxlan(msgspec.Struct, frozen=True):
    """The settings of a VXLAN device; `parent` is the index of the device it sends through, 0 for none."""

    vni: int
    port: int
    local: IPAddress | None
    parent: int
    learning: bool


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A network device.

    `peer` is the index of a veth's other end or of the parent, `kind` is "" for hardware, and `alias` is free text.
    """

    index: int
    name: str
    kind: str
    up: bool
    carrier: bool
    mtu: int
    mac: str
    master: int
    peer: int
    alias: str = ""
    vxlan: Vxlan | None = None


class Address(msgspec.Struct, frozen=True):
    """An address on a device, with the prefix length it was given."""

    address: IPAddress
    prefix: int
    dev: int


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A route. `dev` is a device index (0: none, as for blackhole), `metric` 0 where the kernel shows none."""

    dst: IPNetwork
    kind: RouteKind = "unicast"
    via: IPAddress | None = None
    dev: int = 0
    src: IPAddress | None = None
    table: int = TABLE_MAIN
    protocol: int = PROTOCOL_STATIC
    metric: int = 0
    mtu: int = 0
    onlink: bool = False


class Neighbour(msgspec.Struct, frozen=True):
    """An entry that maps an address on a device's link to a MAC address."""

    dst: IPAddress
    mac: str
    dev: int
    permanent: bool


class FdbEntry(msgspec.Struct, frozen=True):
    """A forwarding entry of a VXLAN device or bridge: frames for `mac` go to the tunnel end `dst`."""

    mac: str
    dst: IPAddress | None
    dev: int
    permanent: bool


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A routing policy rule that sends what matches to a table. `mark` 0 matches any."""

    family: int
    priority: int
    table: int
    src: IPNetwork | None = None
    dst: IPNetwork | None = None
    mark: int = 0


def mac_bytes(mac: str) -> bytes:
    """Turn "aa:bb:cc:dd:ee:ff" into six bytes. Raises ValueError."""
    packed = bytes.fromhex(mac.replace(":", ""))
    if len(packed) != 6:
        raise ValueError(f"not a MAC address: {mac!r}")
    return packed


def ip_bytes(value: str | IPAddress) -> tuple[int, bytes]:
    """Return the address family and the packed form of an address. Raises ValueError."""
    if isinstance(value, str):
        family = AF_INET6 if ":" in value else AF_INET
        try:
            return family, inet_pton(family, value)
        except OSError:
            raise ValueError(f"not an IP address: {value!r}") from None
    return (AF_INET if value.version == 4 else AF_INET6), value.packed


def net_bytes(value: str | IPNetwork) -> tuple[int, bytes, int]:
    """Return family, packed address and prefix length of a network; "default" is no network. Raises ValueError."""
    network = ip_network(value) if isinstance(value, str) else value
    return (AF_INET if network.version == 4 else AF_INET6), network.network_address.packed, network.prefixlen


def _network(family: int, packed: bytes, prefix: int) -> IPNetwork:
    return ip_network((packed or bytes(4 if family == AF_INET else 16), prefix))


def parse_link(body: bytes) -> Link:
    """Read an RTM_NEWLINK body."""
    _family, _type, index, flags, _change = LINK.unpack_from(body)
    found = wire.attributes(body, LINK.size)
    info = wire.attributes(found.get(18, b""))
    kind = wire.text(info.get(1, b""))
    return Link(
        index=index,
        name=wire.text(found.get(3, b"")),
        kind=kind,
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP),
        mtu=wire.u32(found.get(4, b"")),
        mac=found.get(1, b"").hex(":"),
        master=wire.u32(found.get(10, b"")),
        peer=wire.u32(found.get(5, b"")),
        alias=wire.text(found.get(20, b"")),
        vxlan=_parse_vxlan(info.get(2, b"")) if kind == "vxlan" else None,
    )


def _parse_vxlan(data: bytes) -> Vxlan:
    found = wire.attributes(data)
    local = found.get(4) or found.get(17)
    return Vxlan(
        vni=wire.u32(found.get(1, b"")),
        port=int.from_bytes(found.get(15, b""), "big"),
        local=ip_address(local) if local and any(local) else None,
        parent=wire.u32(found.get(3, b"")),
        learning=bool(found.get(7, b"\0")[0]),
    )


def parse_address(body: bytes) -> Address:
    """Read an RTM_NEWADDR body."""
    _family, prefix, _flags, _scope, index = ADDRESS.unpack_from(body)
    found = wire.attributes(body, ADDRESS.size)
    # On a point-to-point device IFA_ADDRESS is the far end; IFA_LOCAL, where present, is always ours.
    return Address(ip_address(found.get(2) or found[1]), prefix, index)


def parse_route(body: bytes) -> Route:
    """Read an RTM_NEWROUTE body; of a multipath route only what all paths share."""
    family, dst_len, _src_len, _tos, table, protocol, _scope, kind, flags = ROUTE.unpack_from(body)
    found = wire.attributes(body, ROUTE.size)
    via, src = found.get(5), found.get(7)
    return Route(
        dst=_network(family, found.get(1, b""), dst_len),
        kind=_ROUTE_KIND_NAMES.get(kind, "unicast"),
        via=ip_address(via) if via else None,
        dev=wire.u32(found.get(4, b"")),
        src=ip_address(src) if src else None,
        table=wire.u32(found[15]) if 15 in found else table,
        protocol=protocol,
        metric=wire.u32(found.get(6, b"")),
        mtu=wire.u32(wire.attributes(found.get(8, b"")).get(2, b"")),
        onlink=bool(flags & RTNH_F_ONLINK),
    )


def parse_neighbour(body: bytes) -> Neighbour:
    """Read an RTM_NEWNEIGH body of the families inet and inet6."""
    _family, index, state, _flags, _type = NEIGHBOUR.unpack_from(body)
    found = wire.attributes(body, NEIGHBOUR.size)
    return Neighbour(ip_address(found[1]), found.get(2, b"").hex(":"), index, bool(state & NUD_PERMANENT))


def parse_fdb(body: bytes) -> FdbEntry:
    """Read an RTM_NEWNEIGH body of the family bridge."""
    _family, index, state, _flags, _type = NEIGHBOUR.unpack_from(body)
    found = wire.attributes(body, NEIGHBOUR.size)
    dst = found.get(1)
    return FdbEntry(found.get(2, b"").hex(":"), ip_address(dst) if dst else None, index, bool(state & NUD_PERMANENT))


def parse_rule(body: bytes) -> Rule:
    """Read an RTM_NEWRULE body."""
    family, dst_len, src_len, _tos, table, _action, _flags = RULE.unpack_from(body)
    found = wire.attributes(body, RULE.size)
    return Rule(
        family=family,
        priority=wire.u32(found.get(6, b"")),
        table=wire.u32(found[15]) if 15 in found else table,
        src=_network(family, found[2], src_len) if 2 in found else None,
        dst=_network(family, found[1], dst_len) if 1 in found else None,
        mark=wire.u32(found.get(10, b"")),
    )
