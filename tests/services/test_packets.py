"""Real packets: two machines, pods on both, and what the table makes of connections to services."""

import json
import socket
import subprocess
from ipaddress import ip_address

import pytest

from tests.services.machines import PORT, WITH_SERVICES, Answer, ask, connection
from wherry.kernel import netns
from wherry.kernel.nft import Nft, find_nft
from wherry.kernel.testing import wait_for
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
from wherry.services.names import CLIENTS, TABLE
from wherry.services.topology import Place

pytestmark = pytest.mark.netns

WEB = Key("shop", "web")


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
        "session_affinity_config": SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=600)),
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


@VIPS
async def test_session_affinity_ends_with_its_time(cluster, table, vip):
    def client_sets():
        with netns.entered(cluster.node):
            said = subprocess.run([find_nft(), "-j", "list", "sets"], capture_output=True, check=True).stdout
        sets = [each["set"] for each in json.loads(said)["nftables"] if "set" in each]
        return [each for each in sets if each["name"].startswith(CLIENTS)]

    def remembered():
        return [one["elem"] for each in client_sets() for one in each.get("elem", ())]

    affinity = {
        "session_affinity": "ClientIP",
        "session_affinity_config": SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=1)),
    }
    await table.update(web(cluster.one, cluster.far, **affinity))
    ask(cluster.two.netns, vip)
    (client,) = remembered()
    assert (client["val"], client["timeout"]) == (cluster.two.address(6 if ":" in vip else 4), 1)
    wait_for(lambda: not remembered(), within=20)
    # Time and again: a client that nobody remembers comes to any of them.
    forget = "; ".join(f"flush set inet {TABLE} {each['name']}" for each in client_sets())
    nft, servers = Nft(cluster.node), set()
    for _ in range(40):
        servers.add(ask(cluster.two.netns, vip).server)
        await nft.commit(forget)
    await nft.close()
    assert servers == {"one", "far"}


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
