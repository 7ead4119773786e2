"""Nodes in, kernel state out: the pure step of the overlay.

Pod traffic to a peer
* **vxlan**: routed to the peer's tunnel address (the first address of its range) on our VXLAN device; a neighbour entry
  gives that address the peer's link address, a forwarding entry gives the link address the peer's node address. Nothing
  is learned or flooded. Each IP version has its device, tunnelled over the same version, as flannel does.
* **host-gw**: routed to the peer's node address directly, which must be on our own network segment.

Two more routes keep what has no owner from leaking out through the default route: the cluster CIDRs and the node's own
ranges are unreachable as a whole, and more specific routes (peers, the pods room's /32 and /128) take precedence.

Masquerade (table `inet wherry-overlay`) is for packets from this node's pods to anywhere outside the cluster CIDRs.
Node addresses count as outside, as with flannel on every backend: a pod's address means nothing to the network between
nodes (reverse path filters and a cloud's anti-spoofing drop it there), and the answer would take another way than the
question. A pod that talks to its own node is delivered locally and never masqueraded. Multicast is left alone. So is
what a node itself sends with an address of its own to a pod elsewhere, as after the translation of a service address:
that is for the services to masquerade.
"""

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from operator import itemgetter
from typing import Final

from wherry.kernel.model import Chain, Element, Hook, Rule, Set
from wherry.kernel.transaction import Transaction
from wherry.kube.objects import Node
from wherry.net.types import IPAddress, IPNetwork
from wherry.overlay import annotations as notes
from wherry.overlay.model import (
    DEVICES,
    OVERHEAD,
    TABLE,
    VNI,
    Desired,
    Device,
    NextHop,
    Outcome,
    OverlaySettings,
    RouteTo,
    Tunnel,
    Underlay,
)  # fmt: skip

_MULTICAST: Final = {4: "224.0.0.0/4", 6: "{ fe80::/10, ff00::/8 }"}
_FORWARDING: Final = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


def compile_overlay(
    settings: OverlaySettings, own: Node, nodes: Iterable[Node], underlay: Mapping[int, Underlay]
) -> Outcome:
    """Return the state of the node `own` among `nodes`, its underlay given by IP version."""
    if settings.backend == "none":
        return Outcome(desired=Desired(), annotations={})
    problems: list[str] = []
    ranges = _ranges(own, problems)
    ours = {version: network for version, network in ranges.items() if version in underlay}
    for version in ranges.keys() - ours.keys():
        problems.append(f"this node has the pod range {ranges[version]} but no IPv{version} address to carry it")
    macs: dict[int, str] = {}
    devices: list[Device] = []
    if settings.backend == "vxlan":
        for version, network in ours.items():
            macs[version] = notes.vtep(own.metadata.annotations, version, vni=VNI) or _own_mac(own.name, version)
            devices.append(_device(version, network, underlay[version], macs[version]))
    state = _Peers(settings, underlay, ours, problems)
    # By name, so that what two nodes both claim goes to the same one whatever the order of their coming.
    for node in sorted(nodes, key=lambda node: node.name):
        if node.name != own.name:
            state.add(node)
    routes = {network: RouteTo(network) for network in (*settings.cluster_cidrs, *ours.values())} | state.routes
    published = {
        version: notes.overwritten(own.metadata.annotations, version) or link.address
        for version, link in underlay.items()
        if version in ours
    }
    return Outcome(
        desired=Desired(
            devices=frozenset(devices),
            routes=frozenset(routes.values()),
            next_hops=frozenset(state.next_hops),
            tunnels=frozenset(state.tunnels),
            rules=tuple(masquerade(settings, tuple(ranges.values())).statements),
            sysctls=_sysctls(ranges, devices),
        ),
        annotations=notes.write(settings.backend, addresses=published, macs=macs, vni=VNI),
        problems=tuple(problems),
    )


class _Peers:
    """Routes, neighbours and forwarding entries for the other nodes, one range at a time."""

    def __init__(
        self, settings: OverlaySettings, underlay: Mapping[int, Underlay], ours: Mapping[int, IPNetwork],
        problems: list[str],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._underlay = underlay
        self._ours = ours
        self._problems = problems
        self.routes: dict[IPNetwork, RouteTo] = {}
        self._taken = {version: [(int(network.network_address), network)] for version, network in ours.items()}
        self.next_hops: set[NextHop] = set()
        self.tunnels: set[Tunnel] = set()
        self._macs: dict[tuple[int, str], str] = {}

    def add(self, node: Node) -> None:
        """Take in a peer. One that has not published itself yet, or as something else, is no peer (yet)."""
        published = node.metadata.annotations
        if published.get(notes.BACKEND_TYPE) != self._settings.backend:
            return
        for version, network in _ranges(node, self._problems).items():
            address = notes.address(published, version)
            if version not in self._ours or address is None:
                continue
            if clash := self._clash(version, network):
                self._problems.append(f"the pod range {network} of node {node.name} overlaps {clash}")
            elif self._settings.backend == "vxlan":
                self._tunnel(node.name, version, network, address, notes.vtep(published, version, vni=VNI))
            else:
                self._gateway(node.name, version, network, address)

    def _clash(self, version: int, network: IPNetwork) -> IPNetwork | None:
        """Return a range taken in earlier that overlaps this one; as those do not overlap, it would be next to it."""
        taken = self._taken[version]
        place = bisect_left(taken, int(network.network_address), key=itemgetter(0))
        return next((one for _, one in taken[max(place - 1, 0) : place + 1] if one.overlaps(network)), None)

    def _route(self, network: IPNetwork, dev: str, via: IPAddress) -> None:
        self.routes[network] = RouteTo(network, dev, via)
        insort(self._taken[network.version], (int(network.network_address), network), key=itemgetter(0))

    def _tunnel(self, name: str, version: int, network: IPNetwork, address: IPAddress, mac: str | None) -> None:
        if mac is None:
            return
        if other := self._macs.get((version, mac)):
            self._problems.append(f"nodes {other} and {name} have the same VTEP address {mac}")
            return
        self._macs[version, mac] = name
        dev, end = DEVICES[version], network.network_address
        self._route(network, dev, end)
        self.next_hops.add(NextHop(dev, end, mac))
        self.tunnels.add(Tunnel(dev, mac, address))

    def _gateway(self, name: str, version: int, network: IPNetwork, address: IPAddress) -> None:
        link = self._underlay[version]
        if address not in link.neighbours:
            self._problems.append(
                f"node {name} ({address}) is not on this node's network segment {link.neighbours}, "
                "as the backend host-gw needs; use vxlan"
            )
            return
        self._route(network, link.dev, address)


def masquerade(settings: OverlaySettings, ranges: tuple[IPNetwork, ...]) -> Transaction:
    """Return the transaction that gives our table this content, whatever it held, for a node with these pod ranges.

    The base chain stays hooked: taking it away costs the kernel some 15 ms each time.
    """
    table = Transaction("inet", TABLE).add_table().flush_table()
    chain = Chain("postrouting", Hook("nat", "postrouting", "srcnat"), comment="pod traffic that leaves the cluster")
    table.add(chain)
    for version in (4, 6):
        own = [network for network in ranges if network.version == version]
        if version not in settings.masquerade or not own:
            continue
        family, kind = ("ip", "ipv4_addr") if version == 4 else ("ip6", "ipv6_addr")
        inside = sorted({str(one) for one in (*settings.cluster_cidrs, *own) if one.version == version})
        cluster = Set(name=f"cluster{version}", type=kind, flags=("interval",), auto_merge=True, comment="inside")
        pods = Set(name=f"pods{version}", type=kind, flags=("interval",), comment="this node's pods")
        table.add(cluster, pods).flush(cluster, pods)
        table.add_elements(cluster, [Element((text,)) for text in inside])
        table.add_elements(pods, [Element((str(one),)) for one in own])
        table.rules(
            Rule(
                chain.name,
                f"{family} saddr @{pods.name} {family} daddr != @{cluster.name} "
                f"{family} daddr != {_MULTICAST[version]} masquerade fully-random",
            )
        )
    return table


def _ranges(node: Node, problems: list[str]) -> dict[int, IPNetwork]:
    """Return a node's pod ranges by IP version; of two of one version the first."""
    found: dict[int, IPNetwork] = {}
    for text in node.spec.pod_cidrs:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            problems.append(f"node {node.name} has the pod range {text!r}, which is none")
            continue
        found.setdefault(network.version, network)
    return found


def _device(version: int, network: IPNetwork, underlay: Underlay, mac: str) -> Device:
    return Device(
        name=DEVICES[version],
        local=underlay.address,
        parent=underlay.index,
        mac=mac,
        mtu=underlay.mtu - OVERHEAD[version],
        address=network.network_address,
    )


def _own_mac(name: str, version: int) -> str:
    """Return a link address for a node that published none yet: the same each time, and locally administered."""
    digest = hashlib.sha256(f"{name}/{version}".encode()).digest()
    return bytes((digest[0] & 0xFC | 0x02, *digest[1:6])).hex(":")


def _sysctls(ranges: Mapping[int, IPNetwork], devices: Iterable[Device]) -> tuple[tuple[str, str], ...]:
    forwarding = [(_FORWARDING[version], "1") for version in sorted(ranges)]
    # Loose: a node reached from a pod elsewhere answers it by another device than the question came in on.
    loose = [(f"net/ipv4/conf/{one.name}/rp_filter", "2") for one in devices if one.local.version == 4]
    return (*forwarding, *loose)
