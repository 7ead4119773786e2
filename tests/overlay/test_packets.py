"""Real packets between nodes that are namespaces on one LAN, each with pods that are addresses of another namespace."""

import itertools
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address, ip_network

import pytest

from wherry.kernel import netns, sysctl
from wherry.kernel.netlink import Link, Netlink, NotFound, Route
from wherry.kernel.nft import Nft, NftError
from wherry.kernel.testing import Lan, udp_ask, udp_echo
from wherry.kube.objects import Node, ObjectMeta
from wherry.kube.objects.cluster import NodeSpec
from wherry.overlay.apply import OverlayKernel, cleanup, commit_rules
from wherry.overlay.compile import compile_overlay
from wherry.overlay.model import ALIAS, Backend, OverlaySettings, pod_mtu

pytestmark = pytest.mark.netns
CLUSTER = (ip_network("10.42.0.0/16"), ip_network("fd00:42::/48"))


class Machine:
    """A node with one pod (10.42.N.2 and fd00:42:0:N::2) on a routed veth pair, as the pods room makes them."""

    def __init__(self, lan: Lan, make_netns: Callable[[str], str], number: int, backend: Backend) -> None:
        self.number = number
        self.addresses = (f"172.30.0.{9 + number}", f"fd00:30::{9 + number}")
        self.pod_addresses = (f"10.42.{number}.2", f"fd00:42:0:{number}::2")
        self.netns = lan.join(f"node-{number}", f"{self.addresses[0]}/24", f"{self.addresses[1]}/64")
        self.pod = make_netns(f"pod-{number}")
        self.annotations: dict[str, str] = {}
        self.settings = OverlaySettings(
            node=f"node-{number}", backend=backend, cluster_cidrs=CLUSTER, masquerade=(4, 6)
        )
        self.kernel = OverlayKernel(self.netns)
        self.nft = Nft(self.netns)
        mtu = pod_mtu(backend, 1500, (4, 6))
        gateway = "02:00:00:00:00:01"
        with Netlink(self.netns) as link, Netlink(self.pod) as inside:
            link.link_add_veth("pod", "eth0", self.pod, mac=gateway, mtu=mtu, up=True)
            inside.link_set("eth0", up=True)
            mac = inside.link_get("eth0").mac
            for address, near, everywhere in zip(
                self.pod_addresses, ("169.254.1.1", "fe80::1"), ("0.0.0.0/0", "::/0"), strict=True
            ):
                length = 32 if "." in address else 128
                inside.addr_add("eth0", address, length)
                inside.neigh_replace("eth0", near, gateway)
                inside.route_replace(everywhere, via=near, dev="eth0", onlink=True)
                link.route_replace(f"{address}/{length}", dev="pod")
                link.neigh_replace("pod", address, mac)

    @property
    def node(self) -> Node:
        ranges = (f"10.42.{self.number}.0/24", f"fd00:42:0:{self.number}::/64")
        meta = ObjectMeta(name=f"node-{self.number}", annotations=self.annotations)
        return Node(metadata=meta, spec=NodeSpec(pod_cidr=ranges[0], pod_cidrs=ranges))

    async def apply(self, machines: "list[Machine]") -> None:
        """One round of what the controller does, without an API server, from what the kernel holds."""
        underlay = self.kernel.underlay([ip_address(one) for one in self.addresses])
        outcome = compile_overlay(self.settings, self.node, [one.node for one in machines], underlay)
        assert outcome.problems == ()
        self.kernel.apply(outcome.desired)
        await commit_rules(self.nft, outcome.desired, anew=not self.annotations)
        self.annotations = outcome.annotations

    def state(self) -> dict[str, object]:
        """Everything the kernel holds for this node's overlay."""
        with Netlink(self.netns) as link:
            names = {one.index: one for one in link.link_list()}
            ours = [one for one in names.values() if one.kind == "vxlan"]
            return {
                "links": {(one.name, one.mac, one.mtu, one.up, one.alias, one.vxlan) for one in ours},
                "addresses": {(one.address, one.prefix, one.dev) for one in link.addr_list()},
                "routes": {_route(one, names) for one in link.route_list()},
                "near": {n for one in ours for n in link.neigh_list(one.index) if n.permanent},
                "fdb": {n for one in ours for n in link.fdb_list(one.index)},
            }


def _route(route: Route, names: dict[int, Link]) -> tuple[object, ...]:
    return route.dst, route.kind, route.via, names[route.dev].name if route.dev else "", route.protocol


@pytest.fixture
async def machines(
    lan: Lan, make_netns: Callable[[str], str], request: pytest.FixtureRequest
) -> AsyncIterator[list[Machine]]:
    made = [Machine(lan, make_netns, number, getattr(request, "param", "vxlan")) for number in (1, 2, 3)]
    yield made
    for one in made:
        one.kernel.close()
        await one.nft.close()


async def settle(machines: list[Machine]) -> None:
    """Two rounds: the first publishes what the second needs of the others."""
    for _ in range(2):
        for one in machines:
            await one.apply(machines)


@pytest.mark.parametrize("machines", ["vxlan", "host-gw"], indirect=True)
async def test_pods_reach_pods_on_every_node_with_their_own_address(machines: list[Machine]) -> None:
    await settle(machines)
    for one, other in itertools.permutations(machines, 2):
        with udp_echo(other.pod):
            for source, target in zip(one.pod_addresses, other.pod_addresses, strict=True):
                assert udp_ask(target, netns_path=one.pod) == (True, source)


@pytest.mark.parametrize("machines", ["vxlan", "host-gw"], indirect=True)
async def test_nodes_reach_pods_everywhere_and_pods_their_own_node(machines: list[Machine]) -> None:
    await settle(machines)
    one, other, _ = machines
    with udp_echo(other.pod), udp_echo(one.netns):
        for target in other.pod_addresses:
            assert udp_ask(target, netns_path=one.netns).answered
        for source, target in zip(one.pod_addresses, one.addresses, strict=True):
            assert udp_ask(target, netns_path=one.pod) == (True, source)


async def test_full_sized_packets_fit_and_larger_ones_are_told(machines: list[Machine]) -> None:
    await settle(machines)
    with udp_echo(machines[1].pod):
        # 1430 bytes of pod MTU without the headers of IPv4 (20), IPv6 (40) and UDP (8).
        assert udp_ask("10.42.2.2", netns_path=machines[0].pod, size=1430 - 28).answered
        assert udp_ask("fd00:42:0:2::2", netns_path=machines[0].pod, size=1430 - 48).answered
        assert udp_ask("fd00:42:0:2::2", netns_path=machines[0].pod, size=4000).answered, "fragments"


@pytest.mark.parametrize("machines", ["vxlan", "host-gw"], indirect=True)
async def test_only_traffic_that_leaves_the_cluster_is_masqueraded(lan: Lan, machines: list[Machine]) -> None:
    """The world knows no pod ranges; it, and other nodes, see the node's address."""
    world = lan.join("world", "172.30.0.200/24", "fd00:30::200/64")
    await settle(machines)
    one, other, _ = machines
    with udp_echo(world), udp_echo(other.netns):
        for number, target in enumerate(("172.30.0.200", "fd00:30::200")):
            assert udp_ask(target, netns_path=one.pod) == (True, one.addresses[number])
        for number, target in enumerate(other.addresses):
            assert udp_ask(target, netns_path=one.pod) == (True, one.addresses[number])


@pytest.mark.parametrize("machines", ["vxlan", "host-gw"], indirect=True)
async def test_applying_again_and_in_another_order_changes_nothing(machines: list[Machine]) -> None:
    await settle(machines)
    before = [one.state() for one in machines]
    for order in itertools.permutations(machines):
        for one in order:
            await one.apply(list(order))
    assert [one.state() for one in machines] == before
    assert len(before[0]["routes"]) > 8  # type: ignore[arg-type]


async def test_nodes_come_go_and_change_their_address(machines: list[Machine]) -> None:
    one, two, three = machines
    await settle([one, two])
    with udp_echo(three.pod):
        assert not udp_ask("10.42.3.2", netns_path=one.pod, within=0.2).answered
        await settle(machines)
        assert udp_ask("10.42.3.2", netns_path=one.pod).answered
        with Netlink(three.netns) as link:
            for address, length, new in zip(three.addresses, (24, 64), ("172.30.0.99", "fd00:30::99"), strict=True):
                link.addr_del("eth0", address, length)
                link.addr_add("eth0", new, length)
        three.addresses = ("172.30.0.99", "fd00:30::99")
        await settle(machines)
        for source, target in zip(one.pod_addresses, three.pod_addresses, strict=True):
            assert udp_ask(target, netns_path=one.pod) == (True, source)
    alone = one.state()
    await one.apply([one, two])
    with_two = one.state()
    assert len(alone["fdb"]) == 4  # type: ignore[arg-type]
    assert len(with_two["fdb"]) == len(with_two["near"]) == 2  # type: ignore[arg-type]
    await one.apply(machines)
    assert one.state() == alone


async def test_differences_are_repaired_and_nothing_else_touched(machines: list[Machine]) -> None:
    """What a restarted agent finds: stale and missing entries, a device down; its own good device stays the same."""
    await settle(machines)
    one = machines[0]
    before = one.state()
    with Netlink(one.netns) as link:
        index = link.link_get("flannel.1").index
        foreign = ("10.99.0.0/16", "172.30.0.77")
        link.route_replace(foreign[0], via=foreign[1])
        link.route_del("10.42.2.0/24")
        link.route_replace("10.42.9.0/24", dev="flannel.1", protocol=3)
        link.neigh_replace("flannel.1", "10.42.9.0", "02:00:00:00:00:09")
        link.fdb_replace("flannel.1", "02:00:00:00:00:09", "172.30.0.9")
        link.neigh_del("flannel.1", "10.42.3.0")
        link.link_set("flannel-v6.1", up=False, mtu=1400)
        link.addr_add("flannel.1", "10.42.9.9", 32)
        link.addr_del("flannel.1", "10.42.1.0", 32)
        await one.apply(machines)
        assert link.link_get("flannel.1").index == index
        assert str(next(r for r in link.route_list() if str(r.dst) == foreign[0]).via) == foreign[1]
        link.route_del(foreign[0])
    assert one.state() == before
    with udp_echo(machines[1].pod):
        assert udp_ask("10.42.2.2", netns_path=one.pod).answered
        assert udp_ask("fd00:42:0:2::2", netns_path=one.pod).answered


async def test_a_device_with_other_settings_is_made_anew(machines: list[Machine]) -> None:
    one = machines[0]
    with Netlink(one.netns) as link:
        link.link_add_vxlan("flannel.1", 7, 4789, up=True)
    await settle(machines)
    with Netlink(one.netns) as link:
        found = link.link_get("flannel.1")
        assert found.vxlan is not None
        assert (found.vxlan.vni, found.vxlan.port, found.alias) == (1, 8472, ALIAS)
    with udp_echo(machines[1].pod):
        assert udp_ask("10.42.2.2", netns_path=one.pod).answered


async def test_unknown_pods_are_unreachable_at_once(machines: list[Machine]) -> None:
    """Nothing for pod ranges leaks out of the default route; the sender is told."""
    await settle(machines)
    with Netlink(machines[0].netns) as link:
        link.route_replace("0.0.0.0/0", via="172.30.0.200", dev="eth0")
        for target in ("10.42.1.77", "10.42.200.1"):
            with pytest.raises(OSError, match=r"unreachable|No route"):
                _connect(machines[0].pod, target)


def _connect(netns_path: str, target: str) -> None:
    with netns.entered(netns_path):
        client = socket.socket()
    with client:
        client.settimeout(2)
        client.connect((target, 80))


async def test_a_change_of_backend_leaves_nothing_of_the_former(machines: list[Machine]) -> None:
    await settle(machines)
    for one in machines:
        one.settings = OverlaySettings(node=one.settings.node, backend="host-gw", cluster_cidrs=CLUSTER)
    await settle(machines)
    with Netlink(machines[0].netns) as link:
        assert not [one for one in link.link_list() if one.kind == "vxlan"]
    with udp_echo(machines[1].pod):
        assert udp_ask("10.42.2.2", netns_path=machines[0].pod) == (True, "10.42.1.2")


async def test_cleanup_removes_all_of_ours_and_nothing_else(machines: list[Machine]) -> None:
    one = machines[0]
    before = one.state()
    await settle(machines)
    await one.nft.commit("add table inet other")
    for _ in range(2):
        await cleanup(one.nft, one.kernel)
        assert one.state() == before
    with pytest.raises(NftError):
        await one.nft.list_table("inet", "wherry-overlay")
    await one.nft.list_table("inet", "other")


async def test_somebody_elses_device_survives_cleanup(machines: list[Machine]) -> None:
    one = machines[0]
    with Netlink(one.netns) as link:
        link.link_add_vxlan("flannel.1", 1, 8472)
        await cleanup(one.nft, one.kernel)
        assert link.link_get("flannel.1").up is False
        with pytest.raises(NotFound):
            link.link_get("flannel-v6.1")


async def test_strict_reverse_path_filters_do_not_hurt(machines: list[Machine]) -> None:
    for one in machines:
        for name in ("all", "default", "eth0"):
            sysctl.set(f"net/ipv4/conf/{name}/rp_filter", 1, netns_path=one.netns)
    await settle(machines)
    one, other, _ = machines
    with udp_echo(other.pod), udp_echo(other.netns):
        assert udp_ask("10.42.2.2", netns_path=one.pod).answered
        assert udp_ask("10.42.2.2", netns_path=one.netns).answered
        assert udp_ask(other.addresses[0], netns_path=one.pod).answered
