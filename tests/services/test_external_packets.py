"""Real packets to node ports, load balancer and external addresses: what the randomised test does not see."""

import socket
from ipaddress import ip_address

import pytest

from tests.services.machines import NODE_ADDRESS, PORT, VISITOR, ask, connection
from wherry.kernel.netlink import Netlink
from wherry.kernel.nft import Nft
from wherry.kube.keys import Key
from wherry.kube.objects import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from wherry.services.compile import compile_service
from wherry.services.names import MARK
from wherry.services.topology import Place

pytestmark = pytest.mark.netns
WEB = Key("shop", "web")
BALANCERS, EXTERNALS = {4: "192.0.2.80", 6: "2001:db8::80"}, {4: "192.0.2.81", 6: "2001:db8::81"}
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def web(*pods, protocol="UDP", **spec):
    service = Service(
        metadata=ObjectMeta(namespace="shop", name="web"),
        spec=ServiceSpec(
            type="LoadBalancer",
            cluster_ips=("10.43.0.1", "fd43::1"),
            external_ips=tuple(EXTERNALS.values()),
            ports=(ServicePort(name="web", port=80, node_port=30080, protocol=protocol),),
            **spec,
        ),
        status=ServiceStatus(
            load_balancer=LoadBalancerStatus(ingress=tuple(LoadBalancerIngress(ip=ip) for ip in BALANCERS.values()))
        ),
    )
    slices = [
        EndpointSlice(
            address_type=f"IPv{family}",
            ports=(EndpointPort(name="web", port=PORT, protocol=protocol),),
            endpoints=tuple(Endpoint(addresses=(pod.address(family),), node_name=pod.node) for pod in pods),
        )
        for family in (4, 6)
    ]
    return {WEB: compile_service(service, slices, place=Place("node-1"))}


def frontends(family):
    return [(NODE_ADDRESS[family], 30080), (BALANCERS[family], 80), (EXTERNALS[family], 80)]


@FAMILIES
@pytest.mark.parametrize("policy", ["Cluster", "Local"])
async def test_udp_flows_leave_an_endpoint_that_is_gone_on_every_frontend(cluster, table, family, policy):
    await table.update(web(cluster.one, external_traffic_policy=policy))
    clients = []
    for place in frontends(family):
        client = connection(cluster.outside, place[0], socket.SOCK_DGRAM)
        client.connect(place)
        clients.append(client)

    def servers():
        for client in clients:
            client.send(b"?")
        return {client.recv(100).split()[0] for client in clients}

    assert servers() == {b"one"}
    await table.update(web(cluster.two, external_traffic_policy=policy))
    assert servers() == {b"two"}
    await table.update(web(external_traffic_policy=policy))
    for client in clients:
        client.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
        client.close()


@FAMILIES
async def test_flows_of_others_to_a_port_of_the_same_number_live_on(cluster, table, family):
    """A pod's flow to such a port of another machine is no flow to the node port."""
    elsewhere = {4: "172.30.0.12", 6: "fd00:30::12"}[family]
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with connection(cluster.far.netns, elsewhere, socket.SOCK_DGRAM) as server:
        assert server.family == kind
        server.bind((elsewhere, 30080))
        with connection(cluster.two.netns, elsewhere, socket.SOCK_DGRAM) as client:
            client.connect((elsewhere, 30080))
            client.send(b"?")
            _, before = server.recvfrom(10)
            entries = len(table._conntrack.entries())
            await table.update(web(cluster.one))
            assert len(table._conntrack.entries()) == entries
            client.send(b"?")
            assert server.recvfrom(10)[1] == before


@FAMILIES
async def test_a_node_port_answers_at_addresses_that_come_later(cluster, table, family):
    await table.update(web(cluster.one, protocol="TCP"))
    late = {4: "172.30.0.77", 6: "fd00:30::77"}[family]
    with Netlink(cluster.node) as link:
        link.addr_add("eth0", late, {4: 24, 6: 64}[family])
    assert ask(cluster.outside, late, 30080).server == "one"


@FAMILIES
async def test_loopback_answers_no_node_port(cluster, table, family):
    await table.update(web(cluster.one, protocol="TCP"))
    assert ask(cluster.node, {4: "127.0.0.1", 6: "::1"}[family], 30080) is ConnectionRefusedError


@FAMILIES
async def test_the_mark_is_gone_when_a_packet_leaves(cluster, table, family):
    """Nothing that comes after ours, such as a tunnel, must take a marked packet for its own."""
    nft = Nft(cluster.node)
    await nft.commit(
        "add table inet watch; add chain inet watch leaving { type filter hook postrouting priority 200; }; "
        f"add rule inet watch leaving meta mark and {MARK} != 0 counter"
    )
    await table.update(web(cluster.far, protocol="TCP"))
    assert ask(cluster.outside, NODE_ADDRESS[family], 30080) == ("far", NODE_ADDRESS[family])
    listed = await nft.list_table("inet", "watch")
    await nft.close()
    [counter] = [
        part["counter"] for one in listed if "rule" in one for part in one["rule"]["expr"] if "counter" in part
    ]
    assert counter["packets"] == 0


@FAMILIES
async def test_a_pod_of_another_node_is_answered_through_this_one(cluster, table, family):
    await table.update(web(cluster.far, protocol="TCP"))
    with connection(cluster.far.netns, NODE_ADDRESS[family], source=VISITOR[family]) as client:
        client.connect((NODE_ADDRESS[family], 30080))
        client.send(b"?")
        server, seen = client.recv(100).decode().split()
    assert (server, ip_address(seen)) == ("far", ip_address(NODE_ADDRESS[family]))
