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

from tests.services.machines import NODE_ADDRESS, PORT, VISITOR, WITH_SERVICES, Cluster, serving
from wherry.kernel import netns, sysctl
from wherry.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForZone,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from wherry.services.apply import ServiceTable
from wherry.services.compile import compile_service
from wherry.services.model import NO_SERVICE, Target
from wherry.services.reference import Connection, Site, judge
from wherry.services.topology import Place

pytestmark = pytest.mark.netns

SERVICES = 36
ROUNDS = 2
SEED = 20
SITE = Site(
    node="node-1", zone="a", addresses=(*NODE_ADDRESS.values(), "127.0.0.1"),
    cluster=WITH_SERVICES.cluster, own=WITH_SERVICES.own, services=WITH_SERVICES.services,
)  # fmt: skip
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
    port = ServicePort(name="web", port=80, node_port=30000 + number, protocol=protocol)
    labels = {"service.kubernetes.io/service-proxy-name": "x"} if chance.random() < 0.05 else {}
    ranges = {4: ["172.30.0.0/24", "10.42.0.0/24", "10.0.0.0/8"], 6: ["fd00:30::/64", "fd42::/64", "fd42::/16"]}
    spec = ServiceSpec(
        type="LoadBalancer",
        cluster_ips=tuple({4: f"10.43.1.{number}", 6: f"fd43::{number:x}"}[version] for version in versions),
        external_ips=(f"192.0.2.{100 + number}", f"2001:db8::{0x1000 + number:x}"),
        ports=(port,),
        internal_traffic_policy=chance.choice(["Cluster", "Cluster", "Local"]),
        external_traffic_policy=chance.choice(["Cluster", "Local"]),
        session_affinity=chance.choice(["None", "None", "None", "ClientIP"]),
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


def probes(chance, world, places):
    """Every frontend from every place, and some that no service has, as far as it is known what should come of them."""
    found = {where: [] for where in places}
    for service, _ in world:
        spec = service.spec
        port = spec.ports[0]
        balancers = [one.ip for one in service.status.load_balancer.ingress]
        frontends = [(address, port.port) for address in (*spec.cluster_ips, *spec.external_ips, *balancers)]
        frontends += [(address, port.node_port) for address in NODE_ADDRESS.values()]
        frontends += [(spec.cluster_ips[0], 81)]
        for where, (_, addresses) in places.items():
            for address, number in frontends:
                client = addresses[ip_address(address).version]
                connection = Connection(client, address, port.protocol.lower(), number)
                verdict = judge(world, SITE, connection)
                # pods elsewhere use their own node for what is not the node's or a load balancer's
                if verdict.kind != "pass" and not (where == "elsewhere" and address in spec.cluster_ips):
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


async def test_kernel_and_reference_agree(lan, make_netns):
    chance = random.Random(SEED)
    tried, met = 0, set()
    async with AsyncExitStack() as stack:
        cluster = Cluster(lan, make_netns)
        pods = {pod.name: pod for pod in (cluster.one, cluster.two, cluster.far, cluster.further)}
        for pod in pods.values():
            stack.enter_context(serving(pod))
        for name, value in UNLIMITED.items():
            with suppress(FileNotFoundError):  # older kernels have it once for the whole machine
                sysctl.set(name, value, netns_path=cluster.node)
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
        for _ in range(ROUNDS):
            world = [any_service(chance, number, [*pods.values()]) for number in range(1, SERVICES + 1)]
            await table.update({
                service.key: compile_service(
                    service, slices, place=Place(SITE.node, SITE.zone), node_ips=map(ip_address, NODE_ADDRESS.values())
                )
                for service, slices in world
            })  # fmt: skip
            for where, asked in probes(chance, world, places).items():
                wrong = asked
                for _ in range(2):  # of many refusals in a row the kernel limits the ICMP messages
                    found = zip(wrong, outcomes(places[where][0], wrong), strict=True)
                    answers = [each for each in found if not right(*each, pods, on_node=where == "node")]
                    wrong = [probe for probe, _ in answers]
                said = [f"{where}: {probe.connection}: {outcome}, but {probe.verdict}" for probe, outcome in answers]
                assert not wrong, "\n".join(said[:20]) + f"\n{len(wrong)} of {len(asked)}, seed {SEED}"
                tried += len(asked)
                met |= {(where, probe.verdict.kind, probe.verdict.hidden) for probe in asked}
        assert await table.verify() == ""
        await table.update({service.key: NO_SERVICE for service, _ in world})
    assert tried >= 2000, tried
    assert {kind for _, kind, _ in met} == {"answer", "refuse", "drop"}
