"""Services, policies, families and clients at random: kernel and reference must agree about every connection."""

import errno
import random
import selectors
import socket
import time
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_address
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from tests.services import machines
from tests.services.machines import NODE_ADDRESS, PORT, VISITOR, WITH_SERVICES, Cluster, serving
from wherry.kernel import netns, sysctl
from wherry.kernel.netlink import Netlink
from wherry.kernel.nft import Nft
from wherry.kube.objects import (
    Condition,
    Container,
    ContainerPort,
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForZone,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Pod,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from wherry.services.apply import ServiceTable
from wherry.services.compile import compile_service
from wherry.services.forwarders import SERVICE_NAME, SERVICE_NAMESPACE, listening
from wherry.services.model import NO_SERVICE, Target
from wherry.services.reference import Connection, Site, judge
from wherry.services.topology import Place

pytestmark = pytest.mark.netns

SERVICES = 22
ROUNDS = 2
SEED = 20
SECOND_ADDRESS = {4: "198.51.100.1", 6: "2001:db8:31::1"}
"""Of another interface of the node, and not one of its chosen ones."""
SITE = Site(
    node="node-1", zone="a", addresses=(*NODE_ADDRESS.values(), *SECOND_ADDRESS.values(), "127.0.0.1"),
    cluster=WITH_SERVICES.cluster, own=WITH_SERVICES.own, services=WITH_SERVICES.services,
)  # fmt: skip
CATCH_ALL = (
    "add table inet catch; add chain inet catch c { type nat hook prerouting priority dstnat; }; "
    f"add rule inet catch c meta l4proto {{ tcp, udp }} redirect to :{PORT}"
)
UNLIMITED = {
    "net.ipv4.icmp_ratelimit": 0, "net.ipv6.icmp.ratelimit": 0,
    "net.ipv4.icmp_msgs_per_sec": 100000, "net.ipv4.icmp_msgs_burst": 10000,
}  # fmt: skip
OUTSIDE = {4: "172.30.0.1", 6: "fd00:30::1"}
SILENCE = 0.3
"""Seconds in which nothing must come where nothing should."""


def any_service(chance, number, pods):
    """A service and its slices."""
    versions = chance.choice([(4,), (6,), (4, 6), (4, 6)])
    protocol = chance.choice(["TCP", "UDP"])
    port = ServicePort(name="web", port=8000 + number, node_port=30000 + number, protocol=protocol)
    labels = {"service.kubernetes.io/service-proxy-name": "x"} if chance.random() < 0.05 else {}
    ranges = {4: ["172.30.0.0/24", "10.42.0.0/24", "10.0.0.0/8"], 6: ["fd00:30::/64", "fd42::/64", "fd42::/16"]}
    spec = ServiceSpec(
        type="LoadBalancer",
        cluster_ips=tuple({4: f"10.43.1.{number}", 6: f"fd43::{number:x}"}[version] for version in versions),
        external_ips=(f"192.0.2.{100 + number}", f"2001:db8::{0x1000 + number:x}"),
        ports=(port,),
        internal_traffic_policy=chance.choice(["Cluster", "Cluster", "Local"]),
        external_traffic_policy=chance.choice(["Cluster", "Local"]),
        session_affinity=chance.choice(["None", "None", "ClientIP"]),
        load_balancer_source_ranges=tuple(chance.sample(ranges[4] + ranges[6], chance.choice([0, 0, 0, 1, 2]))),
    )
    mode = chance.choice([None, "VIP", "VIP", "Proxy"])
    balancers = (f"192.0.2.{number}", f"2001:db8::{number:x}")
    ingress = tuple(LoadBalancerIngress(ip=one, ip_mode=mode) for one in balancers)
    service = Service(
        metadata=ObjectMeta(namespace="shop", name=f"s{number}", labels=labels),
        spec=spec,
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )
    hinted = chance.random() < 0.4
    chosen = chance.sample(pods, chance.choice([0, 1, 2, 3, len(pods), len(pods)]))
    conditions = {pod.name: any_conditions(chance) for pod in chosen}
    hints = {pod.name: any_hints(chance) if hinted else None for pod in chosen}
    slices = [
        EndpointSlice(
            address_type=f"IPv{version}",
            ports=(EndpointPort(name="web", port=PORT, protocol=protocol),),
            endpoints=tuple(
                Endpoint(
                    addresses=(pod.address(version),), node_name=pod.node,
                    conditions=conditions[pod.name], hints=hints[pod.name],
                )
                for pod in chosen
            ),
        )
        for version in (4, 6)
    ]  # fmt: skip
    return service, slices


def any_forwarder(chance, service):
    """A ready load-balancer pod of a service on the node, or none."""
    own = [*NODE_ADDRESS.values(), *SECOND_ADDRESS.values()]
    if chance.random() < 0.4:
        return None
    port = service.spec.ports[0]
    container = Container(
        name="lb",
        ports=(
            ContainerPort(
                container_port=port.port, host_port=port.port, protocol=port.protocol,
                host_ip=chance.choice(["", "", *own]),
            ),
        )
    )  # fmt: skip
    return Pod(
        metadata=ObjectMeta(labels={SERVICE_NAME: service.name, SERVICE_NAMESPACE: service.namespace}),
        spec=PodSpec(containers=(container,)),
        status=PodStatus(conditions=(Condition(type="Ready", status="True"),)),
    )


def any_conditions(chance):
    return chance.choice([
        EndpointConditions(),
        EndpointConditions(ready=True, serving=True, terminating=False),
        EndpointConditions(ready=False, serving=True, terminating=True),
        EndpointConditions(ready=False, serving=False, terminating=chance.choice([True, False])),
    ])  # fmt: skip


def any_hints(chance):
    zones, nodes = chance.choice(["a", "b", "ab", "a", ""]), chance.choice([(), (), ("node-1",), ("node-2",)])
    return EndpointHints(for_zones=tuple(map(ForZone, zones)), for_nodes=tuple(map(ForZone, nodes)))


class Probe(NamedTuple):
    connection: Connection
    verdict: object
    bound: bool


def probes(chance, world, site, places):
    """Every frontend from every place, and some that no service has, as far as it is known what should come of them."""
    found = {where: [] for where in places}
    for service, _ in world:
        spec = service.spec
        port = spec.ports[0]
        balancers = [one.ip for one in service.status.load_balancer.ingress]
        own = [*NODE_ADDRESS.values(), *SECOND_ADDRESS.values()]
        frontends = [(address, port.port) for address in (*spec.cluster_ips, *spec.external_ips, *balancers, *own)]
        frontends += [(address, port.node_port) for address in own]
        frontends += [(spec.cluster_ips[0], 81)]
        for where, (_, addresses) in places.items():
            for address, number in frontends:
                # who asks himself does it from the address he asks
                here = where == "node" and address in own
                client = address if here else addresses[ip_address(address).version]
                connection = Connection(client, address, port.protocol.lower(), number)
                verdict = judge(world, site, connection)
                known = verdict.kind != "pass" or address in balancers or address in own
                # pods elsewhere use their own node for what is not the node's or a load balancer's
                if known and not (where == "elsewhere" and address in spec.cluster_ips):
                    found[where].append(Probe(connection, verdict, where == "elsewhere"))
    for listed in found.values():
        chance.shuffle(listed)
    return found


def outcomes(path, asked):
    """What came of each probe: the words of an answer, the number of an error, or None for silence."""
    found = {}
    watched = selectors.DefaultSelector()

    def end(one, number, outcome):
        found[number] = outcome
        if one.fileno() in watched.get_map():
            watched.unregister(one)
        one.close()

    def begin(number, probe):
        version = ip_address(probe.connection.address).version
        kind = socket.SOCK_STREAM if probe.connection.protocol == "tcp" else socket.SOCK_DGRAM
        one = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind | socket.SOCK_NONBLOCK)
        if probe.bound:
            one.bind((probe.connection.client, 0))
        error = one.connect_ex((probe.connection.address, probe.connection.port))
        if error not in (0, errno.EINPROGRESS):
            return end(one, number, error)
        return watched.register(one, selectors.EVENT_WRITE, number)

    with netns.entered(path):
        for number, probe in enumerate(asked):
            begin(number, probe)
    expected = sum(probe.verdict.kind != "drop" for probe in asked)
    began = time.monotonic()
    while watched.get_map():
        waiting = began + (SILENCE if len(found) >= expected else 3) - time.monotonic()
        if waiting <= 0:
            break
        for key, event in watched.select(waiting):
            try:
                if event & selectors.EVENT_WRITE:
                    key.fileobj.send(b"?")
                    watched.modify(key.fileobj, selectors.EVENT_READ, key.data)
                else:
                    end(key.fileobj, key.data, key.fileobj.recv(200).decode())
            except OSError as error:
                end(key.fileobj, key.data, error.errno)
    for key in [*watched.get_map().values()]:
        end(key.fileobj, key.data, None)
    watched.close()
    return [found[number] for number in range(len(asked))]


def right(probe, outcome, pods, *, on_node):
    """Whether an outcome is what the reference says."""
    connection, verdict, _ = probe
    if verdict.kind == "pass":
        # what no service has on the node's own addresses nobody has
        return outcome == (errno.ECONNREFUSED if connection.address in SITE.addresses else f"proxy {connection.client}")
    if verdict.kind != "answer":
        wanted = {"refuse": errno.ECONNREFUSED, "drop": None}[verdict.kind]
        # the kernel tells the sender on its own machine at once
        return outcome == wanted or (on_node and outcome == errno.EPERM)
    if not isinstance(outcome, str):
        return False
    server, client = outcome.split()
    version = ip_address(connection.address).version
    target = Target(ip_address(pods[server].address(version)), PORT)
    seen = verdict.seen(target, connection.client, NODE_ADDRESS[version])
    return target in verdict.targets and client == seen


def add_proxy(cluster, lan):
    """A machine that has every load balancer's address, behind the node: what the node lets pass ends there.

    All it sends goes through the node, so that both directions of a connection take one way.
    """
    path = lan.join("proxy", "172.30.0.14/24", "fd00:30::14/64")
    with Netlink(path) as link:
        for network in ("192.0.2.0/24", "2001:db8::/64"):
            link.route_replace(network, dev="lo", kind="local")
    for v4, v6 in (("10.42.0.0/16", "fd42::/16"), (f"{OUTSIDE[4]}/32", f"{OUTSIDE[6]}/128")):
        cluster.route(path, NODE_ADDRESS[4], NODE_ADDRESS[6], v4, v6)
    cluster.route(cluster.node, "172.30.0.14", "fd00:30::14", "192.0.2.0/24", "2001:db8::/64")
    cluster.introduce({cluster.node: "11", path: "14"})
    # a router that knows a shorter way would say so, and the next connections would not pass it
    sysctl.set("net.ipv4.conf.all.send_redirects", 0, netns_path=cluster.node)
    sysctl.set("net.ipv4.conf.eth0.send_redirects", 0, netns_path=cluster.node)
    for machine in (cluster.outside, cluster.far.netns, path):
        sysctl.set("net.ipv6.conf.eth0.accept_redirects", 0, netns_path=machine)
    return machines.Pod("proxy", path, "", "", "")


def add_second_address(cluster):
    """Give the node an interface more, with addresses that its neighbours know the way to."""
    with Netlink(cluster.node) as link:
        link.link_add_bridge("eth1", up=True)
        link.addr_add("eth1", SECOND_ADDRESS[4], 24)
        link.addr_add("eth1", SECOND_ADDRESS[6], 64)
    for path in (cluster.outside, cluster.far.netns):
        cluster.route(path, NODE_ADDRESS[4], NODE_ADDRESS[6], f"{SECOND_ADDRESS[4]}/32", f"{SECOND_ADDRESS[6]}/128")


def wrong_ones(path, asked, pods, *, on_node):
    """Probes with another outcome than the reference says, and those outcomes."""
    found = [(probe, None) for probe in asked]
    for _ in range(2):  # of many refusals in a row the kernel limits the ICMP messages
        probed = [probe for probe, _ in found]
        found = [
            (probe, outcome)
            for probe, outcome in zip(probed, outcomes(path, probed), strict=True)
            if not right(probe, outcome, pods, on_node=on_node)
        ]
    return found


def sticky_ones(world, asked):
    """The probes that several may answer, for services with affinity."""
    sticky = {
        (address, number)
        for service, _ in world
        if service.spec.session_affinity == "ClientIP"
        for port in service.spec.ports
        for number in (port.port, port.node_port)
        for address in (
            *service.spec.cluster_ips, *service.spec.external_ips, *SITE.addresses,
            *(one.ip for one in service.status.load_balancer.ingress),
        )
    }  # fmt: skip
    return [
        probe
        for probe in asked
        if (probe.connection.address, probe.connection.port) in sticky and len(probe.verdict.targets) > 1
    ]


async def test_kernel_and_reference_agree(lan, make_netns):
    chance = random.Random(SEED)
    tried, stuck, met = 0, 0, set()
    async with AsyncExitStack() as stack:
        cluster = Cluster(lan, make_netns)
        pods = {pod.name: pod for pod in (cluster.one, cluster.two, cluster.far, cluster.further)}
        add_second_address(cluster)
        for name, value in UNLIMITED.items():
            with suppress(FileNotFoundError):  # older kernels have it once for the whole machine
                sysctl.set(name, value, netns_path=cluster.node)
        proxy = add_proxy(cluster, lan)
        catch = Nft(proxy.netns)
        stack.push_async_callback(catch.close)
        await catch.commit(CATCH_ALL)
        for pod in (*pods.values(), proxy):
            stack.enter_context(serving(pod))
        places = {
            "pod": (cluster.one.netns, {4: cluster.one.v4, 6: cluster.one.v6}),
            "other pod": (cluster.two.netns, {4: cluster.two.v4, 6: cluster.two.v6}),
            "elsewhere": (cluster.far.netns, VISITOR),
            "node": (cluster.node, NODE_ADDRESS),
            "outside": (cluster.outside, OUTSIDE),
        }
        table = ServiceTable(cluster.node, ranges=WITH_SERVICES)
        stack.push_async_callback(table.close)
        await table.sync({})
        node_ips = [*map(ip_address, NODE_ADDRESS.values())]
        interfaces = {"eth1": tuple(map(ip_address, SECOND_ADDRESS.values()))}
        for _ in range(ROUNDS):
            world = [any_service(chance, number, [*pods.values()]) for number in range(1, SERVICES + 1)]
            forwarders = {service.key: pod for service, _ in world if (pod := any_forwarder(chance, service))}
            forwarded = {key: pod.spec.containers[0].ports[0].host_ip for key, pod in forwarders.items()}
            await table.update({
                service.key: compile_service(
                    service, slices, place=Place(SITE.node, SITE.zone), node_ips=node_ips,
                    listening=listening(
                        [forwarders[service.key]] if service.key in forwarders else [], node_ips, interfaces
                    ),
                )
                for service, slices in world
            })  # fmt: skip
            for where, asked in probes(chance, world, replace(SITE, forwarded=forwarded), places).items():
                path = places[where][0]
                wrong = wrong_ones(path, asked, pods, on_node=where == "node")
                said = [f"{where}: {probe.connection}: {outcome}, but {probe.verdict}" for probe, outcome in wrong]
                assert not wrong, "\n".join(said[:20]) + f"\n{len(wrong)} of {len(asked)}, seed {SEED}"
                again = sticky_ones(world, asked)
                assert outcomes(path, again) == outcomes(path, again), "the same client came to another endpoint"
                tried += len(asked)
                stuck += len(again)
                met |= {(where, probe.verdict.kind, probe.verdict.hidden) for probe in asked}
        assert await table.verify() == ""
        await table.update({service.key: NO_SERVICE for service, _ in world})
    assert tried >= 2000, tried
    assert stuck >= 50, stuck
    assert {kind for _, kind, _ in met} == {"answer", "refuse", "drop", "pass"}
