"""Tables: node ports, load balancer addresses and external addresses, walked through the compiled table."""

from ipaddress import ip_address

import pytest

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
from wherry.services.compile import HEADLESS, OTHER_PROXY, SOURCE_RANGES, compile_service
from wherry.services.content import render
from wherry.services.model import NO_SERVICE
from wherry.services.names import Ranges, fixed_rules
from wherry.services.topology import Place
from wherry.services.trace import Packet, Tracer

NODE, OWN = "node-1", frozenset(map(ip_address, ("172.30.0.11", "10.42.0.1", "fd00:30::11", "127.0.0.1")))
RANGES = Ranges(
    cluster=("10.42.0.0/16", "fd42::/48"), own=("10.42.0.0/24", "fd42::/64"), services=("10.43.0.0/16", "fd43::/112")
)
HERE, AWAY, BALANCER, EXTERNAL = "10.42.0.3", "10.42.1.1", "192.0.2.80", "198.51.100.7"
POD, FAR_POD, OUTSIDE, NODE_IP = "10.42.0.9", "10.42.1.9", "172.30.0.1", "172.30.0.11"


def end(address, node="node-2", hints=None, **conditions):
    return Endpoint(addresses=(address,), node_name=node, conditions=EndpointConditions(**conditions), hints=hints)


INGRESS = (LoadBalancerIngress(ip=BALANCER),)
LOCAL, REMOTE = end(HERE, NODE), end(AWAY)


def service(*, ips=("10.43.0.1",), ingress=INGRESS, labels=None, notes=None, **spec):
    port = ServicePort(name="web", port=80, node_port=30080)
    whole = {"type": "LoadBalancer", "external_ips": (EXTERNAL,), **spec}
    return Service(
        metadata=ObjectMeta(namespace="shop", name="web", labels=labels or {}, annotations=notes or {}),
        spec=ServiceSpec(cluster_ip=ips[0], cluster_ips=ips, ports=(port,), **whole),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )


def compiled(service, *endpoints, zone=""):
    ports = (EndpointPort(name="web", protocol="TCP", port=8080),)
    slices = [
        EndpointSlice(
            address_type=family,
            ports=ports,
            endpoints=tuple(one for one in endpoints if (":" in one.addresses[0]) == (family == "IPv6")),
        )
        for family in ("IPv4", "IPv6")
    ]
    return compile_service(service, slices, place=Place(NODE, zone), node_ips=[ip_address(NODE_IP)])


def goes(service, *endpoints, dst=f"{NODE_IP}:30080", src=OUTSIDE, local=False, zone="", ranges=RANGES):
    """Every place that connections may go to."""
    state = compiled(service, *endpoints, zone=zone)
    host, _, port = dst.rpartition(":")
    packet = Packet(ip_address(src), ip_address(host.strip("[]")), "tcp", int(port), local)
    fixed, content = fixed_rules(ranges), render(state)
    draws = [lambda n, number=number: number % n for number in range(6)]
    return sorted({str(Tracer(fixed, content, draw, OWN).trace(packet)) for draw in draws})


EVERYWHERE = pytest.mark.parametrize("dst", [f"{NODE_IP}:30080", f"{BALANCER}:80", f"{EXTERNAL}:80"])


@EVERYWHERE
@pytest.mark.parametrize(
    ("src", "local", "hidden"),
    [(OUTSIDE, False, True), (POD, False, False), (FAR_POD, False, True), (NODE_IP, True, True), (HERE, False, None)],
)
def test_policy_cluster_hides_who_does_not_come_back_by_itself(dst, src, local, hidden):
    mark = " masquerade"
    here = mark if hidden or hidden is None else ""
    expected = [f"{HERE}:8080{here}", f"{AWAY}:8080{mark if hidden else ''}"]
    assert goes(service(), LOCAL, REMOTE, dst=dst, src=src, local=local) == sorted(expected)


@EVERYWHERE
@pytest.mark.parametrize(
    ("src", "local", "expected"),
    [
        (OUTSIDE, False, [f"{HERE}:8080"]),
        (POD, False, [f"{HERE}:8080", f"{AWAY}:8080"]),
        (FAR_POD, False, [f"{HERE}:8080 masquerade", f"{AWAY}:8080 masquerade"]),
        (NODE_IP, True, [f"{HERE}:8080 masquerade", f"{AWAY}:8080 masquerade"]),
        (HERE, False, [f"{HERE}:8080 masquerade", f"{AWAY}:8080"]),
    ],
)
def test_policy_local_keeps_addresses_and_serves_the_cluster_from_everywhere(dst, src, local, expected):
    policy = service(external_traffic_policy="Local")
    assert goes(policy, LOCAL, REMOTE, dst=dst, src=src, local=local) == sorted(expected)


@EVERYWHERE
@pytest.mark.parametrize(
    ("endpoints", "outside", "inside"),
    [
        ((), "refuse", "refuse"),
        ((end(HERE, NODE, ready=False),), "refuse", "refuse"),
        ((REMOTE,), "drop", f"{AWAY}:8080"),
        ((REMOTE, end(HERE, NODE, ready=False, serving=True, terminating=True)), f"{HERE}:8080", f"{AWAY}:8080"),
        ((end(HERE, NODE, ready=False, serving=True, terminating=True),), f"{HERE}:8080", f"{HERE}:8080"),
    ],
)
def test_policy_local_without_ready_endpoints_here(dst, endpoints, outside, inside):
    policy = service(external_traffic_policy="Local")
    assert goes(policy, *endpoints, dst=dst) == [outside]
    assert goes(policy, *endpoints, dst=dst, src=POD) == [inside]


@EVERYWHERE
def test_without_endpoints_it_is_refused(dst):
    assert goes(service(), dst=dst) == goes(service(), dst=dst, src=POD) == ["refuse"]


def test_the_cluster_address_has_its_own_policy():
    one = service(internal_traffic_policy="Local")
    assert goes(one, REMOTE, dst="10.43.0.1:80", src=POD) == ["drop"]
    assert goes(one, REMOTE) == [f"{AWAY}:8080 masquerade"]
    assert goes(service(external_traffic_policy="Local"), REMOTE, dst="10.43.0.1:80", src=POD) == [f"{AWAY}:8080"]


@pytest.mark.parametrize("dst", ["127.0.0.1:30080", "10.42.0.1:30080", "10.42.0.77:30080", "192.0.2.1:30080"])
def test_other_addresses_answer_no_node_port(dst):
    assert goes(service(), LOCAL, dst=dst) == [dst]
    assert goes(service(), dst=dst) == [dst]


@pytest.mark.parametrize(
    ("chosen", "answers"), [("172.30.0.0/16", True), ("10.0.0.0/8", False), ("0.0.0.0/0", True), ("::/0", True)]
)
def test_chosen_addresses_answer_node_ports(chosen, answers):
    ranges = Ranges(cluster=RANGES.cluster, own=RANGES.own, node_ports=(chosen,))
    assert goes(service(), LOCAL, ranges=ranges) == ([f"{HERE}:8080 masquerade"] if answers else [f"{NODE_IP}:30080"])


def test_an_external_address_is_refused_at_ports_of_services_only():
    assert goes(service(), dst=f"{BALANCER}:81") == [f"{BALANCER}:81"]


@pytest.mark.parametrize(
    ("ranges", "src", "admitted"),
    [
        (("172.30.0.0/24",), OUTSIDE, True),
        (("172.31.0.0/24", "172.30.0.1/32", "172.30.0.0/24"), OUTSIDE, True),
        (("172.31.0.0/24",), OUTSIDE, False),
        (("172.31.0.0/24",), POD, False),
        (("0.0.0.0/0",), OUTSIDE, True),
        # ranges of the other family only leave this one open
        (("fd00::/8",), OUTSIDE, True),
        # a node that is admitted may hold the load balancer's address and ask by it
        (("172.30.0.11/32",), BALANCER, True),
        (("172.31.0.0/24",), BALANCER, False),
    ],
)
@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_source_ranges(ranges, src, admitted, policy):
    for one in (
        service(external_traffic_policy=policy, load_balancer_source_ranges=ranges),
        service(external_traffic_policy=policy, notes={SOURCE_RANGES: " , ".join(ranges)}),
    ):
        assert (goes(one, LOCAL, dst=f"{BALANCER}:80", src=src) != ["drop"]) is admitted
        # the load balancer's addresses only
        assert goes(one, LOCAL, dst=f"{EXTERNAL}:80", src=src) != ["drop"]
        assert goes(one, LOCAL, src=src) != ["drop"]
        assert goes(one, dst=f"{BALANCER}:80", src=src) == ["refuse" if admitted else "drop"]


@pytest.mark.parametrize(("mode", "taken"), [(None, True), ("VIP", True), ("Proxy", False)])
def test_only_addresses_that_reach_the_nodes_are_taken(mode, taken):
    one = service(ingress=(LoadBalancerIngress(ip=BALANCER, ip_mode=mode), LoadBalancerIngress(hostname="lb.example")))
    assert goes(one, LOCAL, dst=f"{BALANCER}:80") == ([f"{HERE}:8080 masquerade"] if taken else [f"{BALANCER}:80"])


def test_families():
    both = service(
        ips=("10.43.0.1", "fd43::1"),
        ingress=(LoadBalancerIngress(ip=BALANCER), LoadBalancerIngress(ip="2001:db8::80")),
        external_traffic_policy="Local",
    )
    ends = (LOCAL, end("fd42::3", NODE))
    for dst in ("[fd00:30::11]:30080", "[2001:db8::80]:80"):
        assert goes(both, *ends, dst=dst, src="fd00:30::1") == ["[fd42::3]:8080"]
    assert goes(both, *ends) == [f"{HERE}:8080"]
    only_six = service(ips=("fd43::1",), ingress=both.status.load_balancer.ingress)
    assert goes(only_six, *ends, dst=f"{BALANCER}:80") == [f"{BALANCER}:80"]
    assert goes(only_six, *ends) == [f"{NODE_IP}:30080"]
    assert goes(only_six, *ends, dst="[fd00:30::11]:30080", src="fd00:30::1") == ["[fd42::3]:8080 masquerade"]


def hinted(address, node="node-2", *, nodes=(), zones=(), **conditions):
    hints = EndpointHints(for_nodes=tuple(map(ForZone, nodes)), for_zones=tuple(map(ForZone, zones)))
    return end(address, node, hints, **conditions)


A, B = AWAY, "10.42.2.1"


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ((hinted(A, zones="a"), hinted(B, zones="b")), [A]),
        # one without hints, or none for this zone: all are used
        ((hinted(A, zones="a"), hinted(B)), [A, B]),
        ((hinted(A, zones="c"), hinted(B, zones="b")), [A, B]),
        # what is not ready has no say
        ((hinted(A, zones="a", ready=False), hinted(B, zones="b")), [B]),
        ((hinted(A, zones="a"), hinted(B, ready=False)), [A]),
        # nodes come before zones
        ((hinted(A, zones="a", nodes=["node-2"]), hinted(B, zones="b", nodes=[NODE])), [B]),
        ((hinted(A, zones="a", nodes=["node-2"]), hinted(B, zones="b", nodes=["node-3"])), [A]),
        ((hinted(A, zones="a", nodes=[NODE]), hinted(B, zones="a")), [A, B]),
    ],
)
def test_hints(endpoints, expected):
    assert goes(service(), *endpoints, dst="10.43.0.1:80", src=POD, zone="a") == [f"{one}:8080" for one in expected]
    # without a zone of its own a node follows the hints of nodes only
    alone = goes(service(), *endpoints, dst="10.43.0.1:80", src=POD)
    nodes = all(one.hints.for_nodes for one in endpoints) and NODE in str(endpoints[1].hints.for_nodes)
    ready = sorted(one.addresses[0] for one in endpoints if one.conditions.ready is not False)
    assert alone == ([f"{B}:8080"] if nodes else [f"{one}:8080" for one in ready])


def test_hints_are_for_policy_cluster():
    ends = (hinted(HERE, NODE, zones="b"), hinted(A, zones="a"))
    policy = service(external_traffic_policy="Local", internal_traffic_policy="Local")
    assert goes(policy, *ends, zone="a") == [f"{HERE}:8080"]
    assert goes(policy, *ends, dst="10.43.0.1:80", src=POD, zone="a") == [f"{HERE}:8080"]


def test_services_of_other_proxies_and_headless_ones_are_left_alone():
    other = service(labels={OTHER_PROXY: "mine"})
    assert goes(other, LOCAL) == [f"{NODE_IP}:30080"]
    assert goes(other, LOCAL, dst="10.43.0.1:80", src=POD) == ["10.43.0.1:80"]
    assert goes(other, LOCAL, dst="10.43.0.2:80", src=POD) == ["refuse"]
    assert compiled(service(labels={HEADLESS: ""}), LOCAL) == NO_SERVICE


def test_health_checks_are_for_load_balancers_with_policy_local():
    ends = (LOCAL, end("10.42.0.4", NODE), REMOTE, end("10.42.0.5", NODE, ready=False, serving=True, terminating=True))
    policy = {"external_traffic_policy": "Local", "health_check_node_port": 31000}
    state = compiled(service(**policy), *ends)
    assert (state.health_port, state.health_count) == (31000, 2)
    assert compiled(service(**policy, type="NodePort"), *ends).health_port == 0
    assert compiled(service(health_check_node_port=31000), *ends).health_port == 0


def test_affinity_holds_across_the_frontends_of_a_service():
    sticky = compiled(service(session_affinity="ClientIP"), LOCAL, REMOTE)
    draws = iter((1, 0, 0, 0))
    tracer = Tracer(fixed_rules(RANGES), render(sticky), lambda count: next(draws), OWN)
    client = ip_address(OUTSIDE)
    places = (("10.43.0.1", 80), (NODE_IP, 30080), (BALANCER, 80), (EXTERNAL, 80))
    found = {tracer.trace(Packet(client, ip_address(host), "tcp", port)).packet.dst for host, port in places}
    assert found == {ip_address(AWAY)}
