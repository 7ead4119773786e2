"""The pure step: nodes in, kernel state and annotations out."""

from ipaddress import ip_address, ip_network
from itertools import permutations

import pytest

from wherry.kube.objects import Node, ObjectMeta
from wherry.kube.objects.cluster import NodeSpec
from wherry.overlay import annotations as notes
from wherry.overlay.compile import compile_overlay, masquerade
from wherry.overlay.model import Backend, OverlaySettings, RouteTo, Underlay, pod_mtu

CLUSTER = (ip_network("10.42.0.0/16"), ip_network("fd00:42::/48"))
UNDERLAY = {
    4: Underlay(ip_address("172.30.0.10"), "eth0", 7, 1500, ip_network("172.30.0.0/24")),
    6: Underlay(ip_address("fd00:30::10"), "eth0", 7, 1500, ip_network("fd00:30::/64")),
}


def settings(backend: Backend = "vxlan", **more: object) -> OverlaySettings:
    return OverlaySettings(node="node-1", backend=backend, cluster_cidrs=CLUSTER, **more)  # type: ignore[arg-type]


def node(number: int, *, cidrs: tuple[str, ...] | None = None, **annotations: str) -> Node:
    ranges = (f"10.42.{number}.0/24", f"fd00:42:0:{number}::/64") if cidrs is None else cidrs
    published = {f"flannel.alpha.coreos.com/{name.replace('_', '-')}": text for name, text in annotations.items()}
    meta = ObjectMeta(name=f"node-{number}", annotations=published)
    return Node(metadata=meta, spec=NodeSpec(pod_cidr=ranges[0] if ranges else "", pod_cidrs=ranges))


def peer(number: int, backend: str = "vxlan", *, cidrs: tuple[str, ...] | None = None, **changed: str) -> Node:
    """A node as flannel (or we) would have it published: the last address byte is 9 + number, the MAC ends in it."""
    return node(number, cidrs=cidrs, **{
        "backend_type": backend, "kube_subnet_manager": "true",
        "public_ip": f"172.30.0.{9 + number}", "public_ipv6": f"fd00:30::{9 + number}",
        "backend_data": f'{{"VNI":1,"VtepMAC":"0A:00:00:00:00:{number:02}"}}',
        "backend_v6_data": f'{{"VNI":1,"VtepMAC":"0a:06:00:00:00:{number:02}"}}',
        **changed,
    })  # fmt: skip


def routes(outcome: object) -> dict[str, str]:
    found: frozenset[RouteTo] = outcome.desired.routes  # type: ignore[attr-defined]
    return {str(one.dst): f"{one.via} {one.dev}" if one.dev else "unreachable" for one in found}


def test_vxlan_reaches_a_peer_as_flannel_does() -> None:
    outcome = compile_overlay(settings(), node(1), [node(1), peer(2)], UNDERLAY)
    assert routes(outcome) == {
        "10.42.0.0/16": "unreachable", "fd00:42::/48": "unreachable",
        "10.42.1.0/24": "unreachable", "fd00:42:0:1::/64": "unreachable",
        "10.42.2.0/24": "10.42.2.0 flannel.1", "fd00:42:0:2::/64": "fd00:42:0:2:: flannel-v6.1",
    }  # fmt: skip
    assert {(one.dev, str(one.dst), one.mac) for one in outcome.desired.next_hops} == {
        ("flannel.1", "10.42.2.0", "0a:00:00:00:00:02"),
        ("flannel-v6.1", "fd00:42:0:2::", "0a:06:00:00:00:02"),
    }
    assert {(one.dev, one.mac, str(one.dst)) for one in outcome.desired.tunnels} == {
        ("flannel.1", "0a:00:00:00:00:02", "172.30.0.11"),
        ("flannel-v6.1", "0a:06:00:00:00:02", "fd00:30::11"),
    }
    assert {(d.name, str(d.local), d.parent, d.mtu, str(d.address)) for d in outcome.desired.devices} == {
        ("flannel.1", "172.30.0.10", 7, 1450, "10.42.1.0"),
        ("flannel-v6.1", "fd00:30::10", 7, 1430, "fd00:42:0:1::"),
    }
    assert outcome.problems == ()


def test_what_we_publish_is_what_a_peer_reads() -> None:
    first = compile_overlay(settings(), node(1), [], UNDERLAY)
    macs = {device.name: device.mac for device in first.desired.devices}
    assert first.annotations == {
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        "flannel.alpha.coreos.com/kube-subnet-manager": "true",
        "flannel.alpha.coreos.com/public-ip": "172.30.0.10",
        "flannel.alpha.coreos.com/public-ipv6": "fd00:30::10",
        "flannel.alpha.coreos.com/backend-data": f'{{"VNI":1,"VtepMAC":"{macs["flannel.1"]}"}}',
        "flannel.alpha.coreos.com/backend-v6-data": f'{{"VNI":1,"VtepMAC":"{macs["flannel-v6.1"]}"}}',
    }
    for version, name in ((4, "flannel.1"), (6, "flannel-v6.1")):
        assert notes.vtep(first.annotations, version, vni=1) == macs[name]
        assert int(macs[name][:2], 16) & 3 == 2, "locally administered, unicast"
    assert macs["flannel.1"] != macs["flannel-v6.1"]


def test_a_link_address_published_earlier_stays() -> None:
    outcome = compile_overlay(settings(), peer(1), [], UNDERLAY)
    assert {one.mac for one in outcome.desired.devices} == {"0a:00:00:00:00:01", "0a:06:00:00:00:01"}


def test_an_overwritten_address_is_published_and_not_used() -> None:
    outcome = compile_overlay(settings(), node(1, public_ip_overwrite="203.0.113.9"), [], UNDERLAY)
    assert outcome.annotations[notes.PUBLIC_ADDRESS[4]] == "203.0.113.9"
    assert "172.30.0.10" in {str(one.local) for one in outcome.desired.devices}


def test_host_gw_routes_directly_and_says_who_is_too_far() -> None:
    nodes = [peer(2, "host-gw"), peer(3, "host-gw", public_ip="198.51.100.1"), peer(4, "vxlan")]
    outcome = compile_overlay(settings("host-gw"), node(1), nodes, UNDERLAY)
    found = routes(outcome)
    assert found["10.42.2.0/24"] == "172.30.0.11 eth0"
    assert found["fd00:42:0:2::/64"] == "fd00:30::11 eth0"
    assert "10.42.3.0/24" not in found
    assert "10.42.4.0/24" not in found
    assert [problem.split(" is ")[0] for problem in outcome.problems] == ["node node-3 (198.51.100.1)"]
    assert (outcome.desired.devices, outcome.desired.next_hops, outcome.desired.tunnels) == (set(), set(), set())
    assert outcome.annotations[notes.BACKEND_DATA[4]] == "null"


def test_none_wants_nothing() -> None:
    outcome = compile_overlay(settings("none"), node(1), [peer(2)], UNDERLAY)
    assert (outcome.desired.routes, outcome.desired.rules, outcome.annotations) == (set(), (), {})


@pytest.mark.parametrize(
    "changed",
    [
        {"backend_type": "host-gw"},
        {"backend_type": "", "public_ip": "", "public_ipv6": ""},
        {"public_ip": "nonsense", "public_ipv6": "172.30.0.1"},
        {"backend_data": "null", "backend_v6_data": "{"},
        {"backend_data": '{"VNI":2,"VtepMAC":"0a:00:00:00:00:02"}', "backend_v6_data": '{"VNI":1,"VtepMAC":"x"}'},
    ],
)
def test_a_peer_that_is_not_ready_or_not_ours_is_no_peer(changed: dict[str, str]) -> None:
    outcome = compile_overlay(settings(), node(1), [peer(2, **changed)], UNDERLAY)
    assert set(routes(outcome).values()) == {"unreachable"}
    assert outcome.problems == ()


def test_clashes_are_told_and_do_not_depend_on_order() -> None:
    same = peer(4, cidrs=("10.42.2.0/25",))
    twin = peer(5, backend_data='{"VNI":1,"VtepMAC":"0a:00:00:00:00:02"}')
    ours = peer(6, cidrs=("10.42.1.0/24",))
    orders = permutations([peer(2), same, twin, ours])
    outcomes = [compile_overlay(settings(), node(1), order, UNDERLAY) for order in orders]
    assert all(one == outcomes[0] for one in outcomes)
    assert outcomes[0].problems == (
        "the pod range 10.42.2.0/25 of node node-4 overlaps 10.42.2.0/24",
        "nodes node-2 and node-5 have the same VTEP address 0a:00:00:00:00:02",
        "the pod range 10.42.1.0/24 of node node-6 overlaps 10.42.1.0/24",
    )
    assert routes(outcomes[0])["10.42.2.0/24"] == "10.42.2.0 flannel.1"


def test_a_range_without_an_address_to_carry_it_is_told() -> None:
    outcome = compile_overlay(settings(), node(1), [peer(2)], {4: UNDERLAY[4]})
    assert outcome.problems == ("this node has the pod range fd00:42:0:1::/64 but no IPv6 address to carry it",)
    assert not any(one.name == "flannel-v6.1" for one in outcome.desired.devices)
    assert notes.PUBLIC_ADDRESS[6] not in outcome.annotations


def test_nonsense_in_a_nodes_ranges_is_told() -> None:
    outcome = compile_overlay(settings(), node(1), [node(2, cidrs=("what",), backend_type="vxlan")], UNDERLAY)
    assert outcome.problems == ("node node-2 has the pod range 'what', which is none",)


def test_masquerade_is_for_the_nodes_own_pods_leaving_the_cluster() -> None:
    text = str(masquerade(settings(masquerade=(4, 6)), (ip_network("10.42.1.0/24"), ip_network("fd00:42:0:1::/64"))))
    assert text.splitlines() == [
        "add table inet wherry-overlay",
        "flush table inet wherry-overlay",
        "add chain inet wherry-overlay postrouting { type nat hook postrouting priority srcnat; policy accept; "
        'comment "pod traffic that leaves the cluster"; }',
        'add set inet wherry-overlay cluster4 { type ipv4_addr; flags interval; auto-merge; comment "inside"; }',
        'add set inet wherry-overlay pods4 { type ipv4_addr; flags interval; comment "this node\'s pods"; }',
        "flush set inet wherry-overlay cluster4",
        "flush set inet wherry-overlay pods4",
        "add element inet wherry-overlay cluster4 { 10.42.0.0/16, 10.42.1.0/24 }",
        "add element inet wherry-overlay pods4 { 10.42.1.0/24 }",
        "add rule inet wherry-overlay postrouting ip saddr @pods4 ip daddr != @cluster4 ip daddr != 224.0.0.0/4 "
        "masquerade fully-random",
        'add set inet wherry-overlay cluster6 { type ipv6_addr; flags interval; auto-merge; comment "inside"; }',
        'add set inet wherry-overlay pods6 { type ipv6_addr; flags interval; comment "this node\'s pods"; }',
        "flush set inet wherry-overlay cluster6",
        "flush set inet wherry-overlay pods6",
        "add element inet wherry-overlay cluster6 { fd00:42:0:1::/64, fd00:42::/48 }",
        "add element inet wherry-overlay pods6 { fd00:42:0:1::/64 }",
        "add rule inet wherry-overlay postrouting ip6 saddr @pods6 ip6 daddr != @cluster6 "
        "ip6 daddr != { fe80::/10, ff00::/8 } masquerade fully-random",
    ]
    assert "pods6" not in str(masquerade(settings(), (ip_network("10.42.1.0/24"), ip_network("fd00:42:0:1::/64"))))


@pytest.mark.parametrize(
    ("backend", "versions", "mtu"),
    [
        ("vxlan", (4,), 1450),
        ("vxlan", (4, 6), 1430),
        ("vxlan", (6,), 1430),
        ("host-gw", (4, 6), 1500),
        ("none", (4,), 1500),
    ],
)
def test_pod_mtu(backend: Backend, versions: tuple[int, ...], mtu: int) -> None:
    assert pod_mtu(backend, 1500, versions) == mtu
