"""Links, addresses, routes, neighbours, forwarding entries and rules of one network namespace.

`Netlink` is synchronous on purpose: the kernel answers before sendmsg() returns, a call takes 20 to 100 µs (making
or removing a device up to some milliseconds), and so it may be called on an event loop. Messages are packed here
rather than by a library: the one at hand, pyroute2, runs an event loop of its own inside each call, which cannot be
nested in ours, and costs 11 MB and 0.1 s in every process; the tests use it as the judge of our bytes.

Devices are named by name or index; addresses and networks may be strings or `ipaddress` objects. Methods called
`*_replace` are idempotent; `*_del` raise NotFound when there is nothing to delete, unless told `missing_ok`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_BRIDGE, AF_INET, AF_INET6, AF_UNSPEC
from types import TracebackType
from typing import Final, Self

from wherry.kernel import nlobjects as nlo
from wherry.kernel import nlwire as wire
from wherry.kernel.nlobjects import Address, FdbEntry, Link, Neighbour, Route, RouteKind, Rule, Vxlan
from wherry.kernel.nlsocket import Denied, Exists, InUse, NetlinkError, NetlinkSocket, NotFound
from wherry.net.types import IPAddress, IPNetwork

__all__ = [
    "Address", "Denied", "Exists", "FdbEntry", "InUse", "Link", "Neighbour", "Netlink", "NetlinkError", "NotFound",
    "Route", "Rule", "Vxlan",
]  # fmt: skip

_NETLINK_ROUTE: Final = 0
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34

_NEW: Final = wire.NLM_F_CREATE | wire.NLM_F_EXCL
_REPLACE: Final = wire.NLM_F_CREATE | wire.NLM_F_REPLACE

_SKIP_STATISTICS: Final = wire.attr_u32(29, 1 << 3)
_SCOPE_LINK: Final = 253
_SCOPE_HOST: Final = 254
_TO_TABLE: Final = 1
_ADDRESS_FLAGS: Final = 8
_NO_DUPLICATE_DETECTION: Final = 0x2
_NO_PREFIX_ROUTE: Final = 0x200


class Netlink:
    """An rtnetlink socket in the namespace at `netns_path` (None: the calling thread's). Not thread-safe.

    Raises NetlinkError and its kinds from every method, ValueError for a malformed address.
    """

    def __init__(self, netns_path: str | os.PathLike[str] | None = None) -> None:
        self._socket = NetlinkSocket(_NETLINK_ROUTE, netns_path)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # Links

    def link_add_veth(
        self, name: str, peer: str, peer_ns: str | os.PathLike[str] | int | None = None, *,
        mac: str = "", peer_mac: str = "", mtu: int = 0, up: bool = False,
    ) -> None:  # fmt: skip
        """Make a veth pair, the peer (always down) being born in the namespace `peer_ns`, a path or a process id."""
        with _namespace(peer_ns) as move:
            far = _link_header() + wire.attr_text(3, peer) + _mac_mtu(peer_mac, mtu) + move
            self._link_new(name, "veth", wire.attr(1, far), _mac_mtu(mac, mtu), up=False)
        if up:
            # Not in the same message: the kernel brings devices up before it has joined the two ends.
            self.link_set(name, up=True)

    def link_add_bridge(self, name: str, *, mac: str = "", mtu: int = 0, up: bool = False) -> None:
        """Make a bridge."""
        self._link_new(name, "bridge", b"", _mac_mtu(mac, mtu), up=up)

    def link_add_vxlan(
        self, name: str, vni: int, port: int = 8472, local: str | IPAddress | None = None,
        dev: str | int | None = None, mac: str = "", *, learning: bool = False, mtu: int = 0, up: bool = False,
    ) -> None:  # fmt: skip
        """Make a VXLAN device that sends from `local` through `dev`; peers come from `fdb_replace`."""
        data = wire.attr_u32(1, vni) + wire.attr_be16(15, port) + wire.attr_u8(7, learning)
        if dev is not None:
            data += wire.attr_u32(3, self._index(dev))
        if local is not None:
            family, packed = nlo.ip_bytes(local)
            data += wire.attr(4 if family == AF_INET else 17, packed)
        self._link_new(name, "vxlan", data, _mac_mtu(mac, mtu), up=up)

    def _link_new(self, name: str, kind: str, data: bytes, extra: bytes, *, up: bool) -> None:
        info = wire.nested(18, wire.attr_text(1, kind), wire.nested(2, data))
        body = _link_header(up=up) + wire.attr_text(3, name) + extra + info
        self._socket.request(_NEWLINK, _NEW, body, operation=f"add {kind} {name}")

    def link_set(
        self, dev: str | int, *, up: bool | None = None, master: str | int | None = None, mac: str = "", mtu: int = 0,
        name: str = "", alias: str = "", netns: str | os.PathLike[str] | int | None = None,
    ) -> None:  # fmt: skip
        """Change what is given; `master` "" or 0 takes the device out of its bridge."""
        body = _link_header(self._index(dev), up=up) + _mac_mtu(mac, mtu)
        if master is not None:
            body += wire.attr_u32(10, self._index(master) if master else 0)
        if name:
            body += wire.attr_text(3, name)
        if alias:
            body += wire.attr(20, alias.encode())
        with _namespace(netns) as move:
            self._socket.request(_NEWLINK, 0, body + move, operation=f"change link {dev}")

    def link_del(self, dev: str | int, *, missing_ok: bool = False) -> None:
        """Remove a device; of a veth pair both ends."""
        index, name = (dev, b"") if isinstance(dev, int) else (0, wire.attr_text(3, dev))
        with _absence(missing_ok):
            body = nlo.LINK.pack(AF_UNSPEC, 0, index, 0, 0) + name
            self._socket.request(_DELLINK, 0, body, operation=f"delete link {dev}")

    def link_get(self, dev: str | int) -> Link:
        """Return one device; raises NotFound."""
        index, name = (dev, b"") if isinstance(dev, int) else (0, wire.attr_text(3, dev))
        body = nlo.LINK.pack(AF_UNSPEC, 0, index, 0, 0) + name + _SKIP_STATISTICS
        answers = self._socket.request(_GETLINK, 0, body, operation=f"get link {dev}")
        return nlo.parse_link(answers[0].body)

    def link_list(self) -> list[Link]:
        """Return all devices."""
        body = nlo.LINK.pack(AF_UNSPEC, 0, 0, 0, 0) + _SKIP_STATISTICS
        return [nlo.parse_link(answer.body) for answer in self._socket.dump(_GETLINK, body, operation="list links")]

    def _index(self, dev: str | int) -> int:
        return dev if isinstance(dev, int) else self.link_get(dev).index

    # Addresses

    def addr_add(self, dev: str | int, address: str | IPAddress, prefix: int, *, noprefixroute: bool = False) -> None:
        """Give a device an address, of IPv6 without waiting for duplicate detection. Raises Exists.

        `noprefixroute` keeps the kernel from adding a route for the address's prefix.
        """
        body = self._address(dev, address, prefix)
        flags = _NO_DUPLICATE_DETECTION | (_NO_PREFIX_ROUTE if noprefixroute else 0)
        operation = f"add address {address}/{prefix} to {dev}"
        self._socket.request(_NEWADDR, _NEW, body + wire.attr_u32(_ADDRESS_FLAGS, flags), operation=operation)

    def addr_del(self, dev: str | int, address: str | IPAddress, prefix: int, *, missing_ok: bool = False) -> None:
        """Take an address from a device."""
        with _absence(missing_ok):
            body = self._address(dev, address, prefix)
            self._socket.request(_DELADDR, 0, body, operation=f"delete address {address}/{prefix} from {dev}")

    def addr_list(self, dev: str | int | None = None) -> list[Address]:
        """Return the addresses of one device or of all, both families."""
        body = nlo.ADDRESS.pack(AF_UNSPEC, 0, 0, 0, 0 if dev is None else self._index(dev))
        answers = self._socket.dump(_GETADDR, body, operation="list addresses")
        return [nlo.parse_address(answer.body) for answer in answers]

    def _address(self, dev: str | int, address: str | IPAddress, prefix: int) -> bytes:
        family, packed = nlo.ip_bytes(address)
        return nlo.ADDRESS.pack(family, prefix, 0, 0, self._index(dev)) + wire.attr(1, packed) + wire.attr(2, packed)

    # Routes

    def route_replace(
        self, dst: str | IPNetwork, *, dev: str | int | None = None, via: str | IPAddress | None = None,
        src: str | IPAddress | None = None, kind: RouteKind = "unicast", table: int = nlo.TABLE_MAIN,
        protocol: int = nlo.PROTOCOL_STATIC, metric: int = 0, mtu: int = 0, onlink: bool = False,
    ) -> None:  # fmt: skip
        """Add a route, or change the one for the same destination, table and metric.

        `onlink` lets `via` lie outside the device's own networks; `mtu` bounds packets on this route. The default
        routes are "0.0.0.0/0" and "::/0".
        """
        family, packed, prefix = nlo.net_bytes(dst)
        scope = 0
        if family == AF_INET and via is None:
            scope = {"unicast": _SCOPE_LINK, "local": _SCOPE_HOST}.get(kind, 0)
        body = nlo.ROUTE.pack(
            family, prefix, 0, 0, min(table, 252) if table > 255 else table, protocol, scope, nlo.ROUTE_KINDS[kind],
            nlo.RTNH_F_ONLINK if onlink else 0,
        ) + wire.attr(1, packed) + wire.attr_u32(15, table)  # fmt: skip
        if dev is not None:
            body += wire.attr_u32(4, self._index(dev))
        if via is not None:
            body += wire.attr(5, nlo.ip_bytes(via)[1])
        if src is not None:
            body += wire.attr(7, nlo.ip_bytes(src)[1])
        if metric:
            body += wire.attr_u32(6, metric)
        if mtu:
            body += wire.nested(8, wire.attr_u32(2, mtu))
        self._socket.request(_NEWROUTE, _REPLACE, body, operation=f"replace route {dst}")

    def route_del(
        self, dst: str | IPNetwork, *, dev: str | int | None = None, via: str | IPAddress | None = None,
        table: int = nlo.TABLE_MAIN, metric: int = 0, missing_ok: bool = False,
    ) -> None:  # fmt: skip
        """Delete the route for a destination (the one through `dev` and `via`, where given)."""
        family, packed, prefix = nlo.net_bytes(dst)
        nowhere = 255  # "any scope" in a deletion
        body = nlo.ROUTE.pack(family, prefix, 0, 0, min(table, 252) if table > 255 else table, 0, nowhere, 0, 0)
        body += wire.attr(1, packed) + wire.attr_u32(15, table)
        if via is not None:
            body += wire.attr(5, nlo.ip_bytes(via)[1])
        if metric:
            body += wire.attr_u32(6, metric)
        with _absence(missing_ok):
            if dev is not None:
                body += wire.attr_u32(4, self._index(dev))
            self._socket.request(_DELROUTE, 0, body, operation=f"delete route {dst}")

    def route_list(
        self, *, family: int = AF_UNSPEC, table: int = nlo.TABLE_MAIN, dev: str | int | None = None
    ) -> list[Route]:
        """Return the routes of a table, of one family or both, through one device or all."""
        wanted = wire.attr_u32(15, table)
        if dev is not None:
            wanted += wire.attr_u32(4, self._index(dev))
        routes: list[Route] = []
        for one in (AF_INET, AF_INET6) if family == AF_UNSPEC else (family,):
            body = nlo.ROUTE.pack(one, 0, 0, 0, 0, 0, 0, 0, 0) + wanted
            try:
                answers = self._socket.dump(_GETROUTE, body, operation="list routes")
            except NotFound:  # A table that no route was ever put in does not exist.
                continue
            routes += [nlo.parse_route(answer.body) for answer in answers]
        return routes

    # Neighbours and forwarding entries

    def neigh_replace(self, dev: str | int, dst: str | IPAddress, mac: str) -> None:
        """Set the permanent neighbour entry of an address."""
        family, packed = nlo.ip_bytes(dst)
        body = nlo.NEIGHBOUR.pack(family, self._index(dev), nlo.NUD_PERMANENT, 0, 0)
        body += wire.attr(1, packed) + wire.attr(2, nlo.mac_bytes(mac))
        self._socket.request(_NEWNEIGH, _REPLACE, body, operation=f"replace neighbour {dst} on {dev}")

    def neigh_del(self, dev: str | int, dst: str | IPAddress, *, missing_ok: bool = False) -> None:
        """Delete a neighbour entry."""
        family, packed = nlo.ip_bytes(dst)
        with _absence(missing_ok):
            body = nlo.NEIGHBOUR.pack(family, self._index(dev), 0, 0, 0) + wire.attr(1, packed)
            self._socket.request(_DELNEIGH, 0, body, operation=f"delete neighbour {dst} on {dev}")

    def neigh_list(self, dev: str | int, *, family: int = AF_UNSPEC) -> list[Neighbour]:
        """Return a device's neighbour entries, learned ones too."""
        wanted = wire.attr_u32(8, self._index(dev))
        entries: list[Neighbour] = []
        for one in (AF_INET, AF_INET6) if family == AF_UNSPEC else (family,):
            body = nlo.NEIGHBOUR.pack(one, 0, 0, 0, 0) + wanted
            answers = self._socket.dump(_GETNEIGH, body, operation=f"list neighbours of {dev}")
            entries += [nlo.parse_neighbour(answer.body) for answer in answers]
        return entries

    def fdb_replace(self, dev: str | int, mac: str, dst: str | IPAddress) -> None:
        """Send frames for `mac` that leave a VXLAN device to the tunnel end `dst`."""
        self._socket.request(
            _NEWNEIGH, _REPLACE, self._fdb(dev, mac, dst), operation=f"replace forwarding entry {mac} on {dev}"
        )

    def fdb_del(self, dev: str | int, mac: str, dst: str | IPAddress, *, missing_ok: bool = False) -> None:
        """Delete a VXLAN device's forwarding entry."""
        with _absence(missing_ok):
            body = self._fdb(dev, mac, dst)
            self._socket.request(_DELNEIGH, 0, body, operation=f"delete forwarding entry {mac} on {dev}")

    def fdb_list(self, dev: str | int) -> list[FdbEntry]:
        """Return the forwarding entries of a VXLAN device, or those that a bridge holds for itself."""
        # The kernel reads this request as a link message, or as a neighbour message narrowed by its index field.
        body = nlo.NEIGHBOUR.pack(AF_BRIDGE, self._index(dev), 0, 0, 0)
        answers = self._socket.dump(_GETNEIGH, body, operation=f"list forwarding entries of {dev}")
        return [nlo.parse_fdb(answer.body) for answer in answers]

    def _fdb(self, dev: str | int, mac: str, dst: str | IPAddress) -> bytes:
        header = nlo.NEIGHBOUR.pack(AF_BRIDGE, self._index(dev), nlo.NUD_PERMANENT, nlo.NTF_SELF, 0)
        return header + wire.attr(2, nlo.mac_bytes(mac)) + wire.attr(1, nlo.ip_bytes(dst)[1])

    # Rules

    def rule_add(self, rule: Rule) -> None:
        """Add a routing policy rule; raises Exists for an equal one."""
        operation = f"add rule {rule.priority}"
        self._socket.request(_NEWRULE, _NEW, _rule(rule), operation=operation)

    def rule_del(self, rule: Rule, *, missing_ok: bool = False) -> None:
        """Delete the rule that is equal to this one."""
        with _absence(missing_ok):
            self._socket.request(_DELRULE, 0, _rule(rule), operation=f"delete rule {rule.priority}")

    def rule_list(self, *, family: int) -> list[Rule]:
        """Return the rules of a family."""
        body = nlo.RULE.pack(family, 0, 0, 0, 0, 0, 0)
        return [nlo.parse_rule(answer.body) for answer in self._socket.dump(_GETRULE, body, operation="list rules")]


def _link_header(index: int = 0, *, up: bool | None = None) -> bytes:
    return nlo.LINK.pack(AF_UNSPEC, 0, index, nlo.IFF_UP if up else 0, 0 if up is None else nlo.IFF_UP)


def _mac_mtu(mac: str, mtu: int) -> bytes:
    return (wire.attr(1, nlo.mac_bytes(mac)) if mac else b"") + (wire.attr_u32(4, mtu) if mtu else b"")


def _rule(rule: Rule) -> bytes:
    dst = nlo.net_bytes(rule.dst) if rule.dst else (rule.family, b"", 0)
    src = nlo.net_bytes(rule.src) if rule.src else (rule.family, b"", 0)
    table = rule.table if rule.table < 256 else 0
    body = nlo.RULE.pack(rule.family, dst[2], src[2], 0, table, _TO_TABLE, 0)
    body += wire.attr_u32(6, rule.priority) + wire.attr_u32(15, rule.table)
    if rule.dst:
        body += wire.attr(1, dst[1])
    if rule.src:
        body += wire.attr(2, src[1])
    return body + (wire.attr_u32(10, rule.mark) if rule.mark else b"")


@contextmanager
def _absence(allowed: bool) -> Iterator[None]:
    """Let NotFound pass in silence where a deletion may find nothing to delete."""
    try:
        yield
    except NotFound:
        if not allowed:
            raise


@contextmanager
def _namespace(where: str | os.PathLike[str] | int | None) -> Iterator[bytes]:
    """Give the attribute that moves a link to a namespace, named by path or by process id."""
    if where is None:
        yield b""
    elif isinstance(where, int):
        yield wire.attr_u32(19, where)
    else:
        fd = os.open(where, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield wire.attr_u32(28, fd)
        finally:
            os.close(fd)
