import asyncio
import socket
import subprocess
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from wherry.kernel import netns
from wherry.kernel.netlink import Netlink
from wherry.kernel.nft import find_nft
from wherry.kernel.testing import udp_ask, udp_echo
from wherry.pods.sandbox.hostports import AT, EVERYWHERE, HAIRPIN, TABLE, fixed, members
from wherry.pods.sandbox.manager import SandboxError, Sandboxes
from wherry.pods.sandbox.model import HostPort, Sandbox, SandboxSpec

V4 = IPv4Network("10.42.1.0/24")
V6 = IPv6Network("fd00:42:1::/64")


def sandbox(*ports, addresses=("10.42.1.1", "fd00:42:1::1")):
    return Sandbox(uid="a", namespace="n", name="a", hostname="a", netns="/n", addresses=addresses, ports=ports)


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (
            HostPort("TCP", 80, 8080),
            [
                (EVERYWHERE[4, "tcp"], "80 : 10.42.1.1 . 8080"),
                (EVERYWHERE[6, "tcp"], "80 : fd00:42:1::1 . 8080"),
                (HAIRPIN[4], "10.42.1.1 . 10.42.1.1"),
                (HAIRPIN[6], "fd00:42:1::1 . fd00:42:1::1"),
            ],
        ),
        (
            HostPort("UDP", 53, 53, "0.0.0.0"),
            [(EVERYWHERE[4, "udp"], "53 : 10.42.1.1 . 53"), (HAIRPIN[4], "10.42.1.1 . 10.42.1.1")],
        ),
        (
            HostPort("SCTP", 9, 9, "fd00:30:0::10"),
            [
                (AT[6, "sctp"], "fd00:30::10 . 9 : fd00:42:1::1 . 9"),
                (HAIRPIN[6], "fd00:42:1::1 . fd00:42:1::1"),
            ],
        ),
    ],
)
def test_what_a_pod_has_in_the_table(port, expected):
    assert [(container, str(element)) for container, element in members(sandbox(port))] == expected


def test_a_port_of_a_family_the_pod_lacks_is_not_there():
    assert members(sandbox(HostPort("TCP", 80, 80, "::"), addresses=("10.42.1.1",))) == []
    assert members(sandbox()) == []


def test_the_fixed_part_replaces_what_was_there():
    assert fixed().statements[:3] == [
        f"add table inet {TABLE}",
        f"delete table inet {TABLE}",
        f"add table inet {TABLE}",
    ]


@asynccontextmanager
async def managing(tmp_path):
    manager = Sandboxes(run_dir=Path("/run/wherry"), data_dir=tmp_path, ranges=(V4, V6), mtu=1450)
    await manager.adopt()
    try:
        yield manager
    finally:
        await manager.close()


def spec(uid, *ports, **changes):
    return SandboxSpec(uid=uid, namespace="shop", name=uid, hostname=uid, ports=ports, **changes)


@contextmanager
def tcp_listening(path, port):
    """A listener in a namespace; gives the address of its first client."""
    with netns.entered(path):
        server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    with server:
        server.settimeout(2)

        def client():
            handle, address = server.accept()
            handle.close()
            return address[0].removeprefix("::ffff:")

        yield client


def tcp_reaches(address, port, *, source=None, path=None):
    with netns.entered(path):
        try:
            socket.create_connection((address, port), timeout=1, source_address=source and (source, 0)).close()
        except OSError:
            return False
    return True


def nft(*arguments):
    return subprocess.run([find_nft(), *arguments], capture_output=True, text=True, check=True).stdout


def elements():
    return [line.strip() for line in nft("list", "table", "inet", TABLE).splitlines() if "elements" in line]


@pytest.mark.netns
async def test_every_way_to_a_host_port(tmp_path, lan):
    with Netlink() as node:
        node.addr_add("lan0", "172.30.0.10", 24)
        node.addr_add("lan0", "fd00:30::10", 64)
    async with managing(tmp_path) as manager:
        ports = (HostPort("TCP", 8080, 80), HostPort("UDP", 5353, 4000), HostPort("TCP", 81, 80, "172.30.0.10"))
        pod, other = await manager.create(spec("a", *ports)), await manager.create(spec("b"))
        with tcp_listening(pod.netns, 80) as client:
            # The node itself, by all of its names, and another pod, who keeps its address.
            assert tcp_reaches("127.0.0.1", 8080)
            assert client() == "172.30.0.10"
            for version, address in enumerate(("172.30.0.10", "fd00:30::10")):
                assert tcp_reaches(address, 8080)
                assert client() == address
                assert tcp_reaches(address, 8080, path=other.netns)
                assert client() == other.addresses[version]
                # The pod itself: its own address would never come back.
                assert tcp_reaches(address, 8080, path=pod.netns)
                assert client() == address
            assert tcp_reaches("172.30.0.10", 81)
            assert not tcp_reaches("127.0.0.1", 81)
            # No pod may use the way back to 127.0.0.1 as a way there.
            assert not tcp_reaches("127.0.0.1", 8080, path=other.netns)
        with udp_echo(pod.netns, port=4000):
            asked = udp_ask("172.30.0.10", port=5353, netns_path=other.netns, within=1)
            assert (asked.answered, asked.seen_from) == (True, other.addresses[0])


@pytest.mark.netns
async def test_ports_are_adopted_refused_twice_and_removed(tmp_path):
    async with managing(tmp_path) as manager:
        await manager.create(spec("a", HostPort("TCP", 8080, 80)))
        before = elements()
        assert len(before) == 4
        with pytest.raises(SandboxError, match="host ports"):
            await manager.create(spec("b", HostPort("TCP", 8081, 80), HostPort("TCP", 8080, 80)))
        assert elements() == before
        assert set(manager.known) == {"a"}
    nft("flush", "map", "inet", TABLE, "everywhere-4-tcp")
    async with managing(tmp_path) as manager:
        assert elements() == before
        await asyncio.gather(manager.create(spec("b", HostPort("TCP", 8081, 80))), manager.remove("a"))
        assert "8081 : 10.42.1.3 . 80" in elements()[0]
        await manager.collect(set())
    assert nft("list", "tables") == ""


@pytest.mark.netns
async def test_what_somebody_removed_is_there_again_and_told(tmp_path):
    told = asyncio.Queue()
    async with managing(tmp_path) as manager, asyncio.TaskGroup() as group:
        guard = group.create_task(manager.guard(told.put_nowait))
        await manager.create(spec("a", HostPort("TCP", 8080, 80)))
        before = nft("list", "table", "inet", TABLE)
        nft("flush", "ruleset")
        async with asyncio.timeout(30):
            assert "wherry-hostports of this node was changed by someone else (by nft)" in await told.get()
        assert nft("list", "table", "inet", TABLE) == before
        # What the owner does, and what concerns other tables, is no harm.
        await manager.create(spec("b", HostPort("TCP", 8081, 80)))
        nft("add", "table", "inet", "other")
        await manager.remove("a")
        before = nft("list", "table", "inet", TABLE)
        nft("flush", "chain", "inet", TABLE, "hostports")
        async with asyncio.timeout(30):
            assert "(by nft)" in await told.get()
        assert nft("list", "table", "inet", TABLE) == before
        assert told.empty()
        guard.cancel()


@pytest.mark.netns
async def test_ports_of_an_interface_are_those_of_its_addresses_and_follow_them(tmp_path, lan):
    with Netlink() as node:
        for address in ("172.30.0.10", "172.30.0.11"):
            node.addr_add("lan0", address, 24)
    eth0, eth1 = {"lan0": ["172.30.0.10", "fd00:30::10"]}, {"lan0": ["172.30.0.11"], "eth1": ["172.30.0.10"]}
    ports = HostPort("TCP", 81, 80, "127.128.0.1", "lan0"), HostPort("TCP", 81, 80, "127.128.0.2", "eth1")
    async with managing(tmp_path) as manager:
        a, b = await manager.create(spec("a", ports[0])), await manager.create(spec("b", ports[1]))
        assert elements() == []
        await manager.follow(eth0)
        with tcp_listening(a.netns, 80), tcp_listening(b.netns, 80):
            assert tcp_reaches("172.30.0.10", 81)
            assert not tcp_reaches("172.30.0.11", 81)
            assert not tcp_reaches("127.0.0.1", 81)
        assert "fd00:30::10 . 81 : fd00:42:1::1 . 80" in nft("list", "table", "inet", TABLE)
        # An address passes from one interface, and pod, to another.
        await manager.follow(eth1)
        here = nft("list", "table", "inet", TABLE)
        assert "172.30.0.10 . 81 : 10.42.1.1 . 80" not in here
        assert "172.30.0.11 . 81 : 10.42.1.1 . 80" in here
        assert "172.30.0.10 . 81 : 10.42.1.2 . 80" in here
        await manager.remove("b")
        assert "172.30.0.10" not in nft("list", "table", "inet", TABLE)
        before = nft("list", "table", "inet", TABLE)
    # Those of a node that knows its interfaces from the start.
    again = Sandboxes(run_dir=Path("/run/wherry"), data_dir=tmp_path, ranges=(V4, V6), mtu=1450, interfaces=eth1)
    await again.adopt()
    assert nft("list", "table", "inet", TABLE) == before
    await again.collect(set())
    assert nft("list", "tables") == ""
    await again.close()


@pytest.mark.netns
async def test_a_node_without_host_ports_has_no_table(tmp_path):
    async with managing(tmp_path) as manager:
        await manager.create(spec("a"))
        await manager.create(spec("h", HostPort("TCP", 80, 80), host_network=True))
        await manager.remove("a")
    assert nft("list", "tables") == ""
