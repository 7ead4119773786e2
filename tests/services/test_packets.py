"""Real packets: two machines, pods on both, and what the table makes of connections to services."""

import socket
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from threading import Thread
from typing import NamedTuple

import pytest
from msgspec import structs

from wherry.kernel import netns, sysctl
from wherry.kernel.netlink import Netlink
from wherry.kube.keys import Key
from wherry.kube.objects import (
    ClientIPConfig,
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    SessionAffinityConfig,
)
from wherry.services.apply import ServiceTable
from wherry.services.compile import compile_service
from wherry.services.model import NO_SERVICE
from wherry.services.names import Ranges
from wherry.services.topology import Place

pytestmark = pytest.mark.netns

WEB = Key("shop", "web")
RANGES = Ranges(cluster=("10.42.0.0/16", "fd42::/16"), own=("10.42.0.0/24", "fd42::/64"))
WITH_SERVICES = structs.replace(RANGES, services=("10.43.0.0/16", "fd43::/112"))
PORT = 8080


class Pod(NamedTuple):
    name: str
    netns: str
    v4: str
    v6: str
    node: str

    def address(self, family):
        return self.v4 if family == 4 else self.v6


class Cluster:
    """``node`` with two pods, a machine ``far`` with one pod's addresses, and ``outside`` on the same LAN."""

    def __init__(self, lan, make_netns):
        self.make_netns = make_netns
        self.node = lan.join("node", "172.30.0.11/24", "fd00:30::11/64")
        self.outside = lan.join("outside", "172.30.0.1/24", "fd00:30::1/64")
        far = lan.join("far", "172.30.0.12/24", "fd00:30::12/64", "10.42.1.2/32", "fd42:1::2/128")
        self.far = Pod("far", far, "10.42.1.2", "fd42:1::2", "node-2")
        self.route(self.node, "172.30.0.1", "fd00:30::1", "0.0.0.0/0", "::/0")
        self.route(self.node, "172.30.0.12", "fd00:30::12", "10.42.1.0/24", "fd42:1::/64")
        self.route(far, "172.30.0.11", "fd00:30::11", "10.42.0.0/24", "fd42::/64")
        self.route(self.outside, "172.30.0.11", "fd00:30::11", "10.43.0.0/16", "fd43::/112")
        self.introduce({self.node: "11", self.far.netns: "12", self.outside: "1"})
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            sysctl.set(name, 1, netns_path=self.node)
        self.one, self.two = self.pod("one", 2), self.pod("two", 3)

    @staticmethod
    def introduce(hosts):
        """Neighbours know each other: IPv6 address resolution takes two seconds on a new device."""
        macs = {}
        for path, host in hosts.items():
            with Netlink(path) as link:
                macs[host] = link.link_get("eth0").mac
        for path, own in hosts.items():
            with Netlink(path) as link:
                for host, mac in macs.items():
                    if host != own:
                        link.neigh_replace("eth0", f"172.30.0.{host}", mac)
                        link.neigh_replace("eth0", f"fd00:30::{host}", mac)

    @staticmethod
    def route(where, v4, v6, dst4, dst6):
        with Netlink(where) as link:
            link.route_replace(dst4, via=v4)
            link.route_replace(dst6, via=v6)

    def pod(self, name, number):
        path = self.make_netns(name)
        pod = Pod(name, path, f"10.42.0.{number}", f"fd42::{number}", "node-1")
        near, inner = f"02:00:00:00:00:0{number}", f"02:00:00:00:01:0{number}"
        with Netlink(self.node) as link, Netlink(path) as inside:
            link.link_add_veth(f"v{name}", "eth0", path, mac=near, peer_mac=inner, up=True)
            inside.link_set("eth0", up=True)
            for address, prefix, gateway in ((pod.v4, 32, "169.254.1.1"), (pod.v6, 128, "fe80::1")):
                inside.addr_add("eth0", address, prefix)
                inside.neigh_replace("eth0", gateway, near)
                link.route_replace(f"{address}/{prefix}", dev=f"v{name}")
                link.neigh_replace(f"v{name}", address, inner)
            inside.route_replace("0.0.0.0/0", via="169.254.1.1", dev="eth0", onlink=True)
            inside.route_replace("::/0", via="fe80::1", dev="eth0")
        return pod


class Answer(NamedTuple):
    server: str
    client: str


def connection(where, address, kind=socket.SOCK_STREAM, *, timeout=3.0, source=""):
    with netns.entered(where):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    made.settimeout(timeout)
    if source:
        made.bind((source, 0))
    return made


def ask(where, address, port=80, *, kind=socket.SOCK_STREAM, timeout=3.0):
    """Who answers at an address, and whom it takes us for; or the error."""
    with connection(where, address, kind, timeout=timeout) as client:
        try:
            client.connect((address, port))
            client.send(b"?")
            return Answer(*client.recv(200).decode().split())
        except OSError as error:
            return type(error)


@contextmanager
def serving(pod):
    """A program in a pod that says its name and the client's address, over TCP and UDP and in both families."""
    with netns.entered(pod.netns):
        stream = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
        datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # of several addresses the answer must come from the one that was asked
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    datagrams.bind(("::", PORT))

    def text(sender):
        return f"{pod.name} {sender[0].removeprefix('::ffff:')}".encode()

    def serve_streams():
        while True:
            client, sender = stream.accept()
            with client:
                if client.recv(10) == b"stop":
                    return
                client.sendall(text(sender))

    def serve_datagrams():
        while True:
            data, control, _, sender = datagrams.recvmsg(10, 256)
            if data == b"stop":
                return
            datagrams.sendmsg([text(sender)], control, 0, sender)

    threads = [Thread(target=serve_streams), Thread(target=serve_datagrams)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with connection(pod.netns, "::1", kind) as end:
                end.connect(("::1", PORT))
                end.send(b"stop")
        for thread in threads:
            thread.join()
        stream.close()
        datagrams.close()


@pytest.fixture
def cluster(lan, make_netns):
    with ExitStack() as stack:
        made = Cluster(lan, make_netns)
        for pod in (made.one, made.two, made.far):
            stack.enter_context(serving(pod))
        yield made


@pytest.fixture
async def table(cluster):
    table = ServiceTable(cluster.node, ranges=RANGES)
    await table.sync({})
    yield table
    await table.close()


def web(*pods, terminating=(), **spec):
    ports = (ServicePort(name="web", port=80), ServicePort(name="dns", port=53, protocol="UDP"))
    service = Service(
        metadata=ObjectMeta(namespace="shop", name="web"),
        spec=ServiceSpec(cluster_ips=("10.43.0.1", "fd43::1"), ports=ports, **spec),
    )
    slices = [
        EndpointSlice(
            address_type=f"IPv{family}",
            ports=(EndpointPort(name="web", port=PORT), EndpointPort(name="dns", port=PORT, protocol="UDP")),
            endpoints=tuple(
                Endpoint(
                    addresses=(pod.address(family),),
                    node_name=pod.node,
                    conditions=EndpointConditions(ready=pod not in terminating, serving=True),
                )
                for pod in (*pods, *terminating)
            ),
        )
        for family in (4, 6)
    ]
    return {WEB: compile_service(service, slices, place=Place("node-1"))}


VIPS = pytest.mark.parametrize("vip", ["10.43.0.1", "fd43::1"])


@VIPS
async def test_every_endpoint_is_reached_from_pods_and_from_the_node(cluster, table, vip):
    await table.update(web(cluster.one, cluster.two, cluster.far))
    for where in (cluster.one.netns, cluster.node):
        found = {ask(where, vip).server for _ in range(60)}
        assert found == {"one", "two", "far"}
        assert ask(where, vip, 53, kind=socket.SOCK_DGRAM).server in found


@VIPS
async def test_pods_keep_their_address_on_the_way(cluster, table, vip):
    await table.update(web(cluster.far))
    family = ip_address(vip).version
    assert ask(cluster.one.netns, vip) == Answer("far", cluster.one.address(family))


@VIPS
async def test_a_pod_reaches_itself_through_its_service(cluster, table, vip):
    await table.update(web(cluster.one))
    family = ip_address(vip).version
    answer = ask(cluster.one.netns, vip)
    assert answer.server == "one"
    assert answer.client != cluster.one.address(family)
    assert ask(cluster.two.netns, vip) == Answer("one", cluster.two.address(family))


@VIPS
async def test_a_client_from_outside_is_answered_through_this_node(cluster, table, vip):
    await table.update(web(cluster.far))
    node = {"10.43.0.1": "172.30.0.11", "fd43::1": "fd00:30::11"}[vip]
    assert ask(cluster.outside, vip) == Answer("far", node)


@VIPS
@pytest.mark.parametrize("where", ["pod", "node", "outside"])
async def test_without_endpoints_connections_are_refused_at_once(cluster, table, vip, where):
    await table.update(web())
    place = {"pod": cluster.one.netns, "node": cluster.node, "outside": cluster.outside}[where]
    assert ask(place, vip) is ConnectionRefusedError
    # what the node's own programs send is dropped at the sender, where the kernel says "not permitted"
    udp = PermissionError if where == "node" else ConnectionRefusedError
    assert ask(place, vip, 53, kind=socket.SOCK_DGRAM) is udp


@VIPS
async def test_a_port_the_service_does_not_have_is_refused(cluster, table, vip):
    await table.update(web(cluster.one))
    assert ask(cluster.two.netns, vip, 81) is ConnectionRefusedError
    assert ask(cluster.two.netns, vip, 80, kind=socket.SOCK_DGRAM) is ConnectionRefusedError
    await table.update({WEB: NO_SERVICE})
    assert ask(cluster.two.netns, vip, 81, timeout=0.3) is not ConnectionRefusedError


async def test_open_connections_live_through_changes(cluster, table):
    await table.update(web(cluster.one))
    with connection(cluster.two.netns, "10.43.0.1") as client:
        client.connect(("10.43.0.1", 80))
        await table.update(web(cluster.far))
        assert ask(cluster.two.netns, "10.43.0.1").server == "far"
        client.send(b"?")
        assert client.recv(100).split()[0] == b"one"


@VIPS
async def test_udp_flows_leave_an_endpoint_that_is_gone_but_not_one_that_terminates(cluster, table, vip):
    await table.update(web(cluster.one))
    with connection(cluster.two.netns, vip, socket.SOCK_DGRAM) as client:
        client.connect((vip, 53))

        def server():
            client.send(b"?")
            return client.recv(100).split()[0]

        assert server() == b"one"
        await table.update(web(cluster.far, terminating=(cluster.one,)))
        assert server() == b"one"
        await table.update(web(cluster.far))
        assert server() == b"far"
        await table.update(web())
        client.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
        await table.update(web(cluster.one))
        assert server() == b"one"


async def test_udp_flows_from_before_the_table_are_caught(cluster, table):
    await table.remove()
    with connection(cluster.two.netns, "10.43.0.1", socket.SOCK_DGRAM, timeout=0.2) as client:
        client.connect(("10.43.0.1", 53))
        client.send(b"?")
        with pytest.raises(OSError):
            client.recv(100)
        fresh = ServiceTable(cluster.node)
        await fresh.sync(web(cluster.one))
        await fresh.close()
        client.settimeout(3)
        client.send(b"?")
        assert client.recv(100).split()[0] == b"one"


@VIPS
async def test_internal_traffic_policy_local(cluster, table, vip):
    await table.update(web(cluster.one, cluster.far, internal_traffic_policy="Local"))
    assert {ask(cluster.two.netns, vip).server for _ in range(20)} == {"one"}
    await table.update(web(cluster.far, internal_traffic_policy="Local"))
    assert ask(cluster.two.netns, vip, timeout=0.3) is TimeoutError


@VIPS
async def test_session_affinity(cluster, table, vip):
    affinity = {
        "session_affinity": "ClientIP",
        "session_affinity_config": SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=1)),
    }
    pods = (cluster.one, cluster.two, cluster.far)
    await table.update(web(*pods, **affinity))
    first = ask(cluster.two.netns, vip).server
    assert {ask(cluster.two.netns, vip).server for _ in range(20)} == {first}
    # others come and go: the client stays
    chosen = next(pod for pod in pods if pod.name == first)
    rest = [pod for pod in pods if pod is not chosen]
    await table.update(web(chosen, rest[0], **affinity))
    await table.update(web(chosen, *rest, **affinity))
    assert {ask(cluster.two.netns, vip).server for _ in range(20)} == {first}
    # its endpoint goes: the client gets another and stays there, also when the old one is back
    await table.update(web(*rest, **affinity))
    second = ask(cluster.two.netns, vip).server
    assert second != first
    await table.update(web(*pods, **affinity))
    assert {ask(cluster.two.netns, vip).server for _ in range(20)} == {second}
    await table.update(web(*pods))
    assert {ask(cluster.two.netns, vip).server for _ in range(60)} == {"one", "two", "far"}


async def test_removal_ends_translation(cluster, table):
    await table.update(web(cluster.one))
    await table.remove()
    assert ask(cluster.two.netns, "10.43.0.1", timeout=0.3) is not ConnectionRefusedError


async def test_an_address_of_no_service_is_refused_at_once(cluster):
    table = ServiceTable(cluster.node, ranges=WITH_SERVICES)
    await table.sync({})
    for address in ("10.43.0.10", "fd43::a"):
        assert ask(cluster.one.netns, address, 53, kind=socket.SOCK_DGRAM) is ConnectionRefusedError
        assert ask(cluster.one.netns, address, 53) is ConnectionRefusedError
    again = ServiceTable(cluster.node, ranges=WITH_SERVICES)
    await again.sync({})
    assert again.batches == 0
    await again.close()
    await table.close()
