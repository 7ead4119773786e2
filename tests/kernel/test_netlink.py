"""rtnetlink: what we write, the kernel and pyroute2 read alike; what pyroute2 writes, we read."""

import socket
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.kernel import netns
from wherry.kernel import nlwire as wire
from wherry.kernel.netlink import Exists, Neighbour, Netlink, NetlinkError, NotFound, Rule

MAC, PEER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40)))
def test_attributes_round_trip(parts: dict[int, bytes]) -> None:
    packed = b"".join(wire.attr(kind, payload) for kind, payload in parts.items())
    assert len(packed) % 4 == 0
    assert wire.attributes(packed) == parts


@given(st.lists(st.tuples(st.integers(16, 99), st.binary(max_size=40))))
def test_messages_round_trip(bodies: list[tuple[int, bytes]]) -> None:
    data = b""
    for number, (kind, body) in enumerate(bodies):
        one = wire.message(kind, 0, number, body)
        data += one + bytes(-len(one) % 4)
    assert [(one.kind, one.body) for one in wire.messages(data)] == bodies


@pytest.mark.parametrize("data", [b"\x20\0\0\0" + bytes(12), b"\x03\0\0\0" + bytes(12)])
def test_a_wrong_length_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="netlink message"):
        list(wire.messages(data))
    with pytest.raises(ValueError, match="netlink attribute"):
        wire.attributes(data)


@pytest.fixture
def link() -> Any:
    with Netlink() as link:
        yield link


@pytest.mark.netns
def test_pyroute2_sees_what_we_made(link: Netlink, make_netns: Callable[[str], str]) -> None:
    from pyroute2 import IPRoute

    link.link_add_veth("v0", "eth0", make_netns("pod"), mac=MAC, peer_mac=PEER_MAC, mtu=1400, up=True)
    link.addr_add("v0", "192.0.2.1", 24)
    link.addr_add("v0", "fd00::1", 64, noprefixroute=True)
    link.route_replace("10.1.0.0/16", via="192.0.2.9", dev="v0", mtu=1300, metric=7, protocol=80)
    link.route_replace("10.2.0.0/24", via="198.51.100.1", dev="v0", onlink=True, src="192.0.2.1")
    link.route_replace("fd01::/64", via="fd00::9", dev="v0", onlink=True)
    link.route_replace("10.3.0.0/16", kind="unreachable", table=1000)
    link.link_add_vxlan("flannel.1", 1, 8472, "192.0.2.1", "v0", PEER_MAC, mtu=1350, up=True)
    link.fdb_replace("flannel.1", MAC, "192.0.2.7")
    link.neigh_replace("flannel.1", "10.42.1.0", MAC)
    with IPRoute() as judge:
        (veth,) = judge.link("get", ifname="v0")
        assert (veth.get("address"), veth.get("mtu"), veth["flags"] & 1) == (MAC, 1400, 1)
        assert {(a.get("address"), a["prefixlen"]) for a in judge.get_addr(index=veth["index"])} >= {
            ("192.0.2.1", 24), ("fd00::1", 64),
        }  # fmt: skip
        routes = {(r.get("dst"), r.get("table")): r for r in judge.get_routes(family=socket.AF_INET)}
        one = routes["10.1.0.0", 254]
        assert (one.get("gateway"), one["proto"], one.get("priority")) == ("192.0.2.9", 80, 7)
        assert one.get("metrics").get("RTAX_MTU") == 1300
        assert (routes["10.2.0.0", 254]["flags"] & 4, routes["10.2.0.0", 254].get("prefsrc")) == (4, "192.0.2.1")
        assert routes["10.3.0.0", 1000]["type"] == 7
        (vxlan,) = judge.link("get", ifname="flannel.1")
        data = vxlan.get("linkinfo").get("data")
        assert [data.get(key) for key in ("vxlan_id", "vxlan_port", "vxlan_local", "vxlan_link", "vxlan_learning")] == [
            1, 8472, "192.0.2.1", veth["index"], 0,
        ]  # fmt: skip
        (entry,) = judge.fdb("dump", ifindex=vxlan["index"])
        assert (entry.get("lladdr"), entry.get("dst")) == (MAC, "192.0.2.7")
        (near,) = [n for n in judge.get_neighbours(ifindex=vxlan["index"]) if n.get("dst") == "10.42.1.0"]
        assert (near.get("lladdr"), near["state"]) == (MAC, 0x80)
    with Netlink("/run/netns/pod") as inside:
        assert (inside.link_get("eth0").mac, inside.link_get("eth0").up) == (PEER_MAC, False)


@pytest.mark.netns
def test_we_see_what_pyroute2_made(link: Netlink) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as judge:
        judge.link("add", ifname="br0", kind="bridge")
        judge.link("add", ifname="v0", kind="veth", peer="v1")
        bridge, veth, peer = (judge.link("get", ifname=name)[0]["index"] for name in ("br0", "v0", "v1"))
        judge.link("set", index=veth, master=bridge, mtu=1234, state="up")
        judge.addr("add", index=bridge, address="192.0.2.1", prefixlen=24)
        judge.link("set", index=bridge, state="up")
        judge.route("add", dst="10.9.0.0/16", gateway="192.0.2.2", oif=bridge, proto=99)
        judge.neigh("add", dst="192.0.2.2", lladdr=MAC, ifindex=bridge, state=0x80)
    seen = link.link_get("v0")
    assert (seen.index, seen.kind, seen.master, seen.mtu, seen.up) == (veth, "veth", bridge, 1234, True)
    assert seen.peer == peer
    assert [one.name for one in link.link_list()] == ["lo", "br0", "v1", "v0"]
    assert ("192.0.2.1", 24) in [(str(one.address), one.prefix) for one in link.addr_list("br0")]
    (route,) = [one for one in link.route_list(dev="br0") if one.dst == ip_network("10.9.0.0/16")]
    assert (route.via, route.protocol, route.dev) == (ip_address("192.0.2.2"), 99, bridge)
    assert Neighbour(ip_address("192.0.2.2"), MAC, bridge, True) in link.neigh_list("br0")


@pytest.mark.netns
def test_replace_is_idempotent_and_delete_is_exact(link: Netlink) -> None:
    link.link_add_bridge("br0", up=True)
    link.addr_add("br0", "192.0.2.1", 24)
    for _ in range(2):
        link.route_replace("10.1.0.0/16", via="192.0.2.2", dev="br0")
        link.neigh_replace("br0", "192.0.2.2", MAC)
    link.route_replace("10.1.0.0/16", via="192.0.2.3", dev="br0")
    assert [str(one.via) for one in link.route_list(family=socket.AF_INET) if one.via] == ["192.0.2.3"]
    with pytest.raises(NotFound):
        link.route_del("10.1.0.0/16", via="192.0.2.2")
    link.route_del("10.1.0.0/16", via="192.0.2.3")
    link.neigh_del("br0", "192.0.2.2")
    link.addr_del("br0", "192.0.2.1", 24)
    assert link.route_list(family=socket.AF_INET) == []
    link.link_del("br0")
    with pytest.raises(NotFound):
        link.link_get("br0")


@pytest.mark.netns
def test_errors_have_kinds_and_the_kernels_words(link: Netlink) -> None:
    link.link_add_bridge("br0")
    for attempt, kind, words in (
        (lambda: link.link_get("none"), NotFound, "get link none"),
        (lambda: link.link_add_bridge("br0"), Exists, "add bridge br0"),
        (lambda: link.link_del(999), NotFound, "delete link 999"),
        (lambda: link.addr_del("br0", "192.0.2.1", 24), NotFound, "Address not found"),
        (lambda: link.route_del("192.0.2.0/24"), NotFound, "delete route"),
        (lambda: link.route_replace("10.0.0.0/8", via="192.0.2.1"), NetlinkError, "invalid gateway"),
        (lambda: link.link_set("br0", mtu=1 << 20), NetlinkError, "mtu"),
        (lambda: link.fdb_del("br0", MAC, "192.0.2.1"), NotFound, "delete forwarding entry"),
    ):
        with pytest.raises(kind, match=words):
            attempt()
    link.link_del("none", missing_ok=True)
    link.route_del("192.0.2.0/24", missing_ok=True)
    assert link.route_list(table=4242) == []


@pytest.mark.netns
def test_rules(link: Netlink) -> None:
    rule = Rule(family=socket.AF_INET, priority=100, table=1000, src=ip_network("10.42.0.0/24"), mark=7)
    link.rule_add(rule)
    assert rule in link.rule_list(family=socket.AF_INET)
    link.rule_del(rule)
    assert rule not in link.rule_list(family=socket.AF_INET)
    with pytest.raises(NotFound):
        link.rule_del(rule)


@pytest.mark.netns
def test_a_link_moves_between_namespaces_and_bridges(link: Netlink, make_netns: Callable[[str], str]) -> None:
    link.link_add_veth("v0", "v1")
    link.link_add_bridge("br0")
    link.link_set("v0", master="br0", name="v9")
    assert link.link_get("v9").master == link.link_get("br0").index
    link.link_set("v9", master="")
    assert link.link_get("v9").master == 0
    link.link_set("v1", netns=make_netns("x"))
    with Netlink("/run/netns/x") as there:
        assert there.link_get("v1").kind == "veth"
    with pytest.raises(NotFound):
        link.link_get("v1")


@pytest.mark.netns
def test_five_hundred_links_are_listed() -> None:
    """More than one datagram of answers; and a table that changes meanwhile gives a whole view all the same."""
    with Netlink() as link:
        for number in range(250):
            link.link_add_veth(f"a{number}", f"b{number}")
        assert len(link.link_list()) == 501


@pytest.mark.netns
def test_namespaces(make_netns: Callable[[str], str]) -> None:
    home = netns.identity()
    path = make_netns("x")
    assert netns.run_in(path, netns.identity) == netns.identity(path) != home
    with pytest.raises(ZeroDivisionError):
        netns.run_in(path, lambda: 1 / 0)
    process = netns.spawn_in(path, ["readlink", "/proc/self/ns/net"], stdout=-1)
    assert str(netns.identity(path)[1]) in process.communicate()[0].decode()
    assert netns.identity() == home
    with pytest.raises(FileExistsError):
        netns.create(path)
    with pytest.raises(FileNotFoundError), netns.entered("/run/netns/none"):
        pass
    with Netlink(path) as link:
        assert link.link_get("lo").up
    netns.remove(path)
    netns.remove(path)
    with pytest.raises(FileNotFoundError):
        netns.identity(path)
