import json
import socket
from contextlib import asynccontextmanager
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from wherry.kernel import netns
from wherry.kernel.netlink import Netlink
from wherry.kernel.testing import udp_ask, udp_echo, wait_for
from wherry.pods.sandbox.manager import SandboxError, Sandboxes
from wherry.pods.sandbox.model import Dns, SandboxSpec

pytestmark = pytest.mark.netns

V4 = IPv4Network("10.42.1.0/24")
V6 = IPv6Network("fd00:42:1::/64")


def spec(uid, **changes):
    return SandboxSpec(**{"uid": uid, "namespace": "shop", "name": uid, "hostname": uid, **changes})


@asynccontextmanager
async def managing(tmp_path, *ranges):
    manager = Sandboxes(run_dir=Path("/run/wherry"), data_dir=tmp_path, ranges=ranges or (V4, V6), mtu=1450)
    await manager.adopt()
    try:
        yield manager
    finally:
        await manager.close()


def traces():
    """Everything a sandbox leaves on the node."""
    with Netlink() as node:
        links = [link.name for link in node.link_list() if link.name != "lo"]
        routes = [route for route in node.route_list() if str(route.dst).startswith(("10.42", "fd00:42"))]
    return links, routes, sorted(path.name for path in Path("/run/wherry").rglob("*") if path.is_file())


async def test_pods_reach_each_other_and_the_node_at_once(tmp_path, lan):
    with Netlink() as node:
        node.addr_add("lan0", "172.30.0.10", 24)
        node.addr_add("lan0", "fd00:30::10", 64)
    async with managing(tmp_path) as manager:
        a, b = await manager.create(spec("a")), await manager.create(spec("b"))
        assert a.addresses == ("10.42.1.1", "fd00:42:1::1")
        with udp_echo(b.netns):
            for address, source in zip(b.addresses, a.addresses, strict=True):
                # One datagram, no repetition: addresses are usable and neighbours known from the start.
                answer = udp_ask(address, netns_path=a.netns, again=False)
                assert answer == (True, source)
            assert udp_ask(b.addresses[0], again=False) == (True, "172.30.0.10")
            assert udp_ask(b.addresses[1], again=False) == (True, "fd00:30::10")
        with udp_echo():
            assert udp_ask("172.30.0.10", netns_path=a.netns, again=False).seen_from == "10.42.1.1"


async def test_the_pod_has_exactly_its_own_network(tmp_path):
    async with managing(tmp_path) as manager:
        sandbox = await manager.create(spec("a"))
        with Netlink(sandbox.netns) as pod:
            assert {link.name: (link.up, link.mtu) for link in pod.link_list()}["eth0"] == (True, 1450)
            addresses = {f"{entry.address}/{entry.prefix}" for entry in pod.addr_list("eth0")}
            assert {"10.42.1.1/32", "fd00:42:1::1/128"} <= addresses
            assert {str(route.dst) for route in pod.route_list(family=socket.AF_INET)} == {
                "0.0.0.0/0",
                "169.254.1.1/32",
            }
        with Netlink() as node:
            assert len(sandbox.host_interface) == 15
            assert node.link_get(sandbox.host_interface).mtu == 1450


async def test_an_ipv4_pod_has_no_ipv6_beside_its_loopback(tmp_path):
    async with managing(tmp_path, V4) as manager:
        sandbox = await manager.create(spec("a"))
        with Netlink(sandbox.netns) as pod:
            assert [str(entry.address) for entry in pod.addr_list("eth0")] == ["10.42.1.1"]
            assert "::1" in [str(entry.address) for entry in pod.addr_list("lo")]


async def test_a_pod_cannot_send_with_anothers_address(tmp_path):
    async with managing(tmp_path, V4) as manager:
        a, b = await manager.create(spec("a")), await manager.create(spec("b"))
        with Netlink(a.netns) as pod:
            pod.addr_add("eth0", "10.42.1.99", 32)
        with udp_echo(b.netns):
            assert udp_ask(b.addresses[0], netns_path=a.netns).answered
            assert not udp_ask(b.addresses[0], netns_path=a.netns, source="10.42.1.99", within=0.3).answered


async def test_ports_below_1024_and_ping_are_open_to_all_users(tmp_path):
    async with managing(tmp_path, V4) as manager:
        sandbox = await manager.create(spec("a", sysctls={"net.ipv4.tcp_syncookies": "0"}))
        with netns.entered(sandbox.netns):
            read = {name: Path(f"/proc/sys/net/ipv4/{name}").read_text().split() for name in
                    ("ip_unprivileged_port_start", "ping_group_range", "tcp_syncookies")}  # fmt: skip
        assert read["ip_unprivileged_port_start"] == ["0"]
        assert read["ping_group_range"][0] == "0"
        assert read["tcp_syncookies"] == ["0"]


async def test_creating_again_changes_nothing_and_removing_leaves_nothing(tmp_path):
    async with managing(tmp_path) as manager:
        before = traces()
        first = await manager.create(spec("a", dns=Dns(servers=("10.43.0.10",))))
        assert await manager.create(spec("a")) is first
        assert Path(first.files[2].source).read_text() == "nameserver 10.43.0.10\n"
        await manager.remove("a")
        assert wait_for(lambda: traces() == before)
        assert manager.known == {}
        assert (await manager.create(spec("b"))).addresses[0] == "10.42.1.2"


async def test_a_namespace_that_is_still_held_loses_its_network_all_the_same(tmp_path):
    async with managing(tmp_path) as manager:
        sandbox = await manager.create(spec("a"))
        with netns.entered(sandbox.netns):
            held = socket.socket()
        await manager.remove("a")
        with Netlink() as node:
            assert not node.link_get(sandbox.host_interface).up
        assert traces()[1] == []
        held.close()
        assert wait_for(lambda: traces()[0] == [])


async def test_the_same_pod_can_come_back_while_its_former_namespace_is_held(tmp_path, lan):
    with Netlink() as node:
        node.addr_add("lan0", "172.30.0.10", 24)
    async with managing(tmp_path) as manager:
        former = await manager.create(spec("a"))
        with netns.entered(former.netns):
            held = socket.socket()
        await manager.remove("a")
        again = await manager.create(spec("a"))
        with udp_echo(again.netns):
            assert udp_ask(again.addresses[0], again=False).answered
        held.close()


async def test_a_restarted_agent_adopts_and_repairs(tmp_path):
    async with managing(tmp_path) as manager:
        a, b = await manager.create(spec("a")), await manager.create(spec("b"))
    with Netlink() as node:
        node.route_del("10.42.1.2/32")
    async with managing(tmp_path) as manager:
        assert manager.known == {"a": a, "b": b}
        with udp_echo(b.netns):
            assert udp_ask(b.addresses[0], netns_path=a.netns, again=False).answered
        assert (await manager.create(spec("c"))).addresses[0] == "10.42.1.3"


async def test_debris_of_a_killed_agent_is_removed(tmp_path):
    async with managing(tmp_path) as manager:
        whole = await manager.create(spec("whole"))
        await manager.create(spec("no-record"))
        await manager.create(spec("bad-record"))
        await manager.create(spec("no-interface"))
    records = Path("/run/wherry/sandboxes")
    (records / "no-record.json").unlink()
    (records / "bad-record.json").write_text("{")
    (records / "half.json~").write_text("{")
    netns.create("/run/wherry/netns/namespace-only")
    with Netlink() as node:
        node.link_del(json.loads((records / "no-interface.json").read_text())["host_interface"])
        node.link_add_veth("pod0123456789ab", "other")
        node.link_add_veth("pod-of-someone", "other2")
    async with managing(tmp_path) as manager:
        assert manager.known == {"whole": whole}
        links, _, files = traces()
        assert sorted(links) == sorted([whole.host_interface, "pod-of-someone", "other2"])
        assert files == ["hostname", "hosts", "resolv.conf", "whole", "whole.json"]
        # An address of debris is free, but comes round last.
        assert (await manager.create(spec("new"))).addresses[0] == "10.42.1.5"


async def test_collect_keeps_only_the_named(tmp_path):
    async with managing(tmp_path) as manager:
        kept = await manager.create(spec("a"))
        await manager.create(spec("b"))
        await manager.create(spec("c", host_network=True))
        await manager.collect({"a"})
        assert manager.known == {"a": kept}
        assert wait_for(lambda: traces()[0] == [kept.host_interface])


async def test_a_host_network_pod_has_files_only(tmp_path):
    async with managing(tmp_path) as manager:
        sandbox = await manager.create(spec("a", host_network=True))
        assert (sandbox.netns, sandbox.addresses, traces()[0]) == (None, (), [])
        assert [mount.target for mount in sandbox.files] == ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sysctls": {"net.ipv4.no_such_thing": "1"}}, "no_such_thing"),
        ({"sysctls": {"kernel.msgmax": "1"}}, "outside of net"),
        ({"uid": "../etc"}, "not a pod uid"),
    ],
)
async def test_a_failure_leaves_nothing(tmp_path, changes, says):
    async with managing(tmp_path) as manager:
        before = traces()
        with pytest.raises(SandboxError, match=says):
            await manager.create(spec(**{"uid": "a", **changes}))
        assert wait_for(lambda: traces() == before)
        assert manager.known == {}


async def test_a_used_up_range_is_said(tmp_path):
    async with managing(tmp_path, IPv4Network("10.42.1.0/30")) as manager:
        await manager.create(spec("a"))
        await manager.create(spec("b"))
        with pytest.raises(
            SandboxError, match=r"no IP addresses available in the node.s range 10.42.1.0/30 \(all 2 are taken"
        ):
            await manager.create(spec("c"))
