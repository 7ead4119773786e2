"""Desired state into the kernel: reads what is there, changes what differs, leaves the rest untouched.

Safe to repeat and to be killed at any point: additions come before removals, and the next run reads again. Ours are
devices with our alias and all on them, routes with our protocol number, and the table `inet wherry-overlay`.
"""

import os
from collections.abc import Callable, Iterable
from functools import cache
from ipaddress import ip_network
from typing import Final, TypeVar

from wherry.kernel import sysctl
from wherry.kernel.netlink import Link, Netlink, NotFound, Route
from wherry.kernel.nft import Nft
from wherry.kernel.transaction import Transaction
from wherry.net.types import IPAddress
from wherry.overlay.model import (
    ALIAS,
    DEVICES,
    PORT,
    ROUTE_PROTOCOL,
    TABLE,
    VNI,
    Desired,
    Device,
    NextHop,
    RouteTo,
    Tunnel,
    Underlay,
)

_KERNEL_PROTOCOL: Final = 2
_HOST_BITS: Final = {4: 32, 6: 128}

T = TypeVar("T", RouteTo, NextHop, Tunnel)


class OverlayKernel:
    """The overlay's part of the kernel in the namespace at `netns_path` (None: the calling thread's).

    Not thread-safe. Methods raise NetlinkError and OSError.
    """

    def __init__(self, netns_path: str | os.PathLike[str] | None = None) -> None:
        self._netns = netns_path
        self._link = Netlink(netns_path)

    def close(self) -> None:
        """Close the netlink socket."""
        self._link.close()

    def underlay(self, addresses: Iterable[IPAddress], *, interface: str = "") -> dict[int, Underlay]:
        """Return by IP version where the first of these addresses is, or the first global one of `interface`.

        A version whose addresses are on no device is left out.
        """
        wanted = list(addresses)
        present = self._link.addr_list(interface or None)
        found: dict[int, Underlay] = {}
        for version in (4, 6):
            here = [one for one in present if one.address.version == version]
            if interface:
                matches = [one for one in here if not one.address.is_link_local]
            else:
                matches = [one for address in wanted for one in here if one.address == address]
            if matches:
                link = self._link.link_get(matches[0].dev)
                segment = ip_network((int(matches[0].address), matches[0].prefix), strict=False)
                found[version] = Underlay(matches[0].address, link.name, link.index, link.mtu, segment)
        return found

    def apply(self, desired: Desired, *, known: Desired | None = None) -> Desired:
        """Make the kernel hold `desired` and return it; `known` is what it held last, None: read it.

        The nft rules are not applied here.
        """
        if known is None or (known.devices, known.sysctls) != (desired.devices, desired.sysctls):
            self._apply_devices(desired.devices)
            for name, value in desired.sysctls:
                sysctl.set(name, value, netns_path=self._netns)
            # A device made anew took its routes with it, so what we knew of them is worth nothing.
            known = self.read()
        index = cache(lambda name: self._link.link_get(name).index)
        for tunnel in desired.tunnels - known.tunnels:
            self._link.fdb_replace(index(tunnel.dev), tunnel.mac, tunnel.dst)
        for hop in desired.next_hops - known.next_hops:
            self._link.neigh_replace(index(hop.dev), hop.dst, hop.mac)
        for route in desired.routes - known.routes:
            self._replace(route, index(route.dev) if route.dev else 0)
        for stale in _gone(known.routes, desired.routes, lambda one: one.dst):
            self._link.route_del(stale.dst, dev=stale.dev or None, via=stale.via, missing_ok=True)
        for old_hop in _gone(known.next_hops, desired.next_hops, lambda one: (one.dev, one.dst)):
            self._link.neigh_del(old_hop.dev, old_hop.dst, missing_ok=True)
        for old in _gone(known.tunnels, desired.tunnels, lambda one: (one.dev, one.mac)):
            self._link.fdb_del(old.dev, old.mac, old.dst, missing_ok=True)
        return desired

    def read(self) -> Desired:
        """Return the routes, neighbours and forwarding entries that are ours."""
        ours = {link.index: link.name for link in self._devices().values() if link.alias == ALIAS}
        routes: set[RouteTo] = set()
        names = dict(ours)
        for route in self._link.route_list():
            if route.protocol == ROUTE_PROTOCOL or (route.dev in ours and route.protocol != _KERNEL_PROTOCOL):
                routes.add(self._as_route_to(route, names))
        hops = {
            NextHop(name, one.dst, one.mac)
            for index, name in ours.items()
            for one in self._link.neigh_list(index)
            if one.permanent and not one.dst.is_multicast
        }
        tunnels = {
            Tunnel(name, one.mac, one.dst)
            for index, name in ours.items()
            for one in self._link.fdb_list(index)
            if one.dst is not None
        }
        return Desired(routes=frozenset(routes), next_hops=frozenset(hops), tunnels=frozenset(tunnels))

    def _as_route_to(self, route: Route, names: dict[int, str]) -> RouteTo:
        if route.kind != "unicast":
            return RouteTo(route.dst)
        if route.dev not in names:
            names[route.dev] = self._link.link_get(route.dev).name
        return RouteTo(route.dst, names[route.dev], route.via)

    def _replace(self, route: RouteTo, dev: int) -> None:
        if not route.dev:
            self._link.route_replace(route.dst, kind="unreachable", protocol=ROUTE_PROTOCOL)
            return
        # A tunnel's end is on no network that its device would have a route to.
        onlink = route.dev in DEVICES.values()
        self._link.route_replace(route.dst, dev=dev, via=route.via, onlink=onlink, protocol=ROUTE_PROTOCOL)

    def _devices(self) -> dict[str, Link]:
        found: dict[str, Link] = {}
        for name in DEVICES.values():
            try:
                found[name] = self._link.link_get(name)
            except NotFound:
                continue
        return found

    def _apply_devices(self, devices: Iterable[Device]) -> None:
        present = self._devices()
        wanted = {device.name: device for device in devices}
        for name, link in present.items():
            if name not in wanted and link.alias == ALIAS:
                self._link.link_del(name, missing_ok=True)
        for name, device in wanted.items():
            self._apply_device(device, present.get(name))

    def _apply_device(self, device: Device, link: Link | None) -> None:
        """Make a device, or mend one that is there; only what cannot be changed makes a new one necessary."""
        if link is not None:
            tunnel = link.vxlan
            kept = tunnel is not None and (
                (tunnel.vni, tunnel.port, tunnel.local, tunnel.parent, tunnel.learning)
                == (VNI, PORT, device.local, device.parent, False)
            )
            if not kept:
                self._link.link_del(device.name)
                link = None
        if link is None:
            self._link.link_add_vxlan(
                device.name, VNI, PORT, device.local, device.parent, device.mac, mtu=device.mtu, up=True
            )
            self._link.link_set(device.name, alias=ALIAS)
        elif (link.mac, link.mtu, link.up, link.alias) != (device.mac, device.mtu, True, ALIAS):
            self._link.link_set(device.name, mac=device.mac, mtu=device.mtu, up=True, alias=ALIAS)
        self._apply_address(device)

    def _apply_address(self, device: Device) -> None:
        prefix = _HOST_BITS[device.address.version]
        present = [one for one in self._link.addr_list(device.name) if not one.address.is_link_local]
        if not any((one.address, one.prefix) == (device.address, prefix) for one in present):
            self._link.addr_add(device.name, device.address, prefix)
        for one in present:
            if (one.address, one.prefix) != (device.address, prefix):
                self._link.addr_del(device.name, one.address, one.prefix, missing_ok=True)


def _gone(known: frozenset[T], desired: frozenset[T], identity: Callable[[T], object]) -> list[T]:
    """Return what must be deleted: known entries whose place in the kernel no desired one has taken."""
    kept = {identity(one) for one in desired}
    return [one for one in known if identity(one) not in kept]


async def commit_rules(nft: Nft, desired: Desired, *, anew: bool) -> None:
    """Fill our nft table; `anew` makes the table anew, as its chains may be those of another version of wherry."""
    before = Transaction("inet", TABLE).delete_table().statements if anew else []
    await nft.commit("; ".join([*before, *desired.rules]))


async def cleanup(nft: Nft, kernel: OverlayKernel) -> None:
    """Remove everything the overlay made: the nft table in one commit, then routes and devices.

    sysctls stay as they are, as others may rely on forwarding by now.
    """
    await nft.commit(Transaction("inet", TABLE).delete_table())
    kernel.apply(Desired())
