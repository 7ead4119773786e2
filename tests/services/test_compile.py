"""Tables: a service and its slices, a packet, and where it goes, walked through the compiled table."""

from ipaddress import ip_address

import pytest

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
from wherry.services.compile import compile_service
from wherry.services.content import render
from wherry.services.model import NO_SERVICE, Frontend, Target
from wherry.services.names import Ranges, fixed_rules
from wherry.services.topology import Place
from wherry.services.trace import Packet, Tracer

NODE = "node-1"
WEB = ServicePort(name="web", port=80)
DNS = ServicePort(name="dns", port=53, protocol="UDP")


def service(*ports, ips=("10.43.0.1",), **spec):
    return Service(
        metadata=ObjectMeta(namespace="shop", name="web"),
        spec=ServiceSpec(cluster_ip=ips[0] if ips else "", cluster_ips=ips, ports=ports or (WEB,), **spec),
    )


def end(address, node="node-2", **conditions):
    return Endpoint(addresses=(address,), node_name=node, conditions=EndpointConditions(**conditions))


WEB_TARGET = EndpointPort(name="web", protocol="TCP", port=8080)


def slice_(*endpoints, family="IPv4", ports=(WEB_TARGET,)):
    return EndpointSlice(address_type=family, endpoints=endpoints, ports=ports)


def tracer(service, *slices, draw=lambda count: 0, cidrs=("10.42.0.0/16", "fd42::/48")):
    state = compile_service(service, slices, place=Place(NODE))
    return Tracer(fixed_rules(Ranges(cluster=cidrs)), render(state), draw)


def packet(dst, *, src="10.42.0.9", protocol="tcp", local=False):
    host, _, port = dst.rpartition(":")
    return Packet(ip_address(src), ip_address(host.strip("[]")), protocol, int(port), local)


def goes(service, *slices, dst="10.43.0.1:80", **how):
    """Every place that connections may go to."""
    count = 8
    return sorted(
        {
            str(tracer(service, *slices, draw=lambda n, number=number: number % n).trace(packet(dst, **how)))
            for number in range(count)
        }
    )


A, B, C = "10.42.1.1", "10.42.1.2", "10.42.0.3"


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ([], ["refuse"]),
        ([end(A)], [f"{A}:8080"]),
        ([end(A), end(B)], [f"{A}:8080", f"{B}:8080"]),
        ([end(A, ready=True), end(B, ready=False)], [f"{A}:8080"]),
        ([end(A, ready=False)], ["refuse"]),
        # only terminating endpoints are left: better than refusing
        ([end(A, ready=False, serving=True, terminating=True)], [f"{A}:8080"]),
        ([end(A), end(B, ready=False, serving=True, terminating=True)], [f"{A}:8080"]),
        ([end(A, ready=False, serving=False, terminating=True)], ["refuse"]),
        # without a condition "serving" a ready endpoint serves
        ([end(A, ready=True, serving=None)], [f"{A}:8080"]),
        # nonsense in a slice without selector does no harm
        ([end("127.0.0.1"), end("0.0.0.0"), end("224.0.0.1"), end("x.example"), end("fd42::1"), end(A)], [f"{A}:8080"]),
        ([Endpoint(addresses=None), Endpoint(addresses=(A, B))], [f"{A}:8080"]),
    ],
)
def test_which_endpoints_are_used(endpoints, expected):
    assert goes(service(), slice_(*endpoints)) == expected


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ([end(A), end(C, node=NODE)], [f"{C}:8080"]),
        ([end(A), end(C, node=NODE, ready=False)], ["drop"]),
        ([end(A), end(C, node=NODE, ready=False, serving=True, terminating=True)], [f"{C}:8080"]),
        ([end(A)], ["drop"]),
        ([end(A, ready=False)], ["refuse"]),
        ([], ["refuse"]),
    ],
)
def test_internal_traffic_policy_local(endpoints, expected):
    assert goes(service(internal_traffic_policy="Local"), slice_(*endpoints)) == expected


@pytest.mark.parametrize(
    ("dst", "protocol", "expected"),
    [
        ("10.43.0.1:80", "tcp", [f"{A}:8080"]),
        ("10.43.0.1:80", "udp", ["refuse"]),
        ("10.43.0.1:81", "tcp", ["refuse"]),
        ("10.43.0.1:53", "udp", [f"{A}:5353"]),
        ("10.43.0.1:132", "sctp", [f"{A}:9"]),
        ("10.43.0.2:80", "tcp", ["10.43.0.2:80"]),
        ("192.0.2.1:80", "tcp", ["192.0.2.1:80"]),
    ],
)
def test_ports_and_protocols(dst, protocol, expected):
    ports = (
        EndpointPort(name="web", protocol="TCP", port=8080),
        EndpointPort(name="dns", protocol="UDP", port=5353),
        EndpointPort(name="sctp", protocol="SCTP", port=9),
        EndpointPort(name="unresolved", protocol="TCP", port=None),
    )
    sctp = ServicePort(name="sctp", port=132, protocol="SCTP")
    assert goes(service(WEB, DNS, sctp), slice_(end(A), ports=ports), dst=dst, protocol=protocol) == expected


def test_named_target_ports_may_differ_between_slices():
    old = slice_(end(A), ports=(EndpointPort(name="web", port=8080),))
    new = slice_(end(B), ports=(EndpointPort(name="web", port=9090),))
    assert goes(service(), old, new) == [f"{A}:8080", f"{B}:9090"]


def test_an_endpoint_in_two_slices_counts_once_with_its_best_conditions():
    assert goes(service(), slice_(end(A, ready=False)), slice_(end(A), end(B))) == [f"{A}:8080", f"{B}:8080"]


def test_a_single_port_without_name():
    plain = service(ServicePort(port=80))
    assert goes(plain, slice_(end(A), ports=(EndpointPort(name="", port=8080),))) == [f"{A}:8080"]
    assert goes(plain, slice_(end(A), ports=(EndpointPort(port=8080),))) == [f"{A}:8080"]
    assert goes(plain, slice_(end(A), ports=None)) == ["refuse"]


def test_two_families():
    both = service(ips=("10.43.0.1", "fd43::1"))
    slices = (slice_(end(A)), slice_(end("fd42::1:1"), end("fd42::1:2"), family="IPv6"))
    assert goes(both, *slices) == [f"{A}:8080"]
    six = goes(both, *slices, dst="[fd43::1]:80", src="fd42::9")
    assert six == ["[fd42::1:1]:8080", "[fd42::1:2]:8080"]
    assert goes(both, slices[0], dst="[fd43::1]:80", src="fd42::9") == ["refuse"]
    assert goes(both, slice_(end("pods.example"), family="FQDN")) == ["refuse"]


@pytest.mark.parametrize(
    "spec", [{"ips": ("None",)}, {"ips": ()}, {"ips": ("",)}, {"type": "ExternalName", "external_name": "x.example"}]
)
def test_services_without_addresses(spec):
    state = compile_service(service(**spec), [slice_(end(A))], place=Place(NODE))
    assert (state.frontends, state.addresses) == ({}, frozenset())


def test_headless_is_no_service():
    assert compile_service(service(ips=("None",)), [slice_(end(A))], place=Place(NODE)) == NO_SERVICE


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        # a pod that reaches itself must not see its own address as the sender's
        ({"src": C}, [f"{C}:8080 masquerade"]),
        ({"src": "10.42.0.9"}, [f"{C}:8080"]),
        ({"src": "172.30.0.11", "local": True}, [f"{C}:8080"]),
        # from outside of the cluster, through this node
        ({"src": "172.30.0.1"}, [f"{C}:8080 masquerade"]),
    ],
)
def test_whose_address_is_hidden(how, expected):
    assert goes(service(), slice_(end(C, node=NODE)), **how) == expected


def test_traffic_that_is_no_services_is_left_alone():
    walk = tracer(service(), slice_(end(C, node=NODE)))
    assert str(walk.trace(packet(f"{C}:8080", src="172.30.0.1"))) == f"{C}:8080"
    assert str(walk.trace(packet(f"{C}:8080", src=C))) == f"{C}:8080"


def test_session_affinity():
    sticky = service(
        session_affinity="ClientIP",
        session_affinity_config=SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=60)),
    )
    draws = iter([1, 0, 0, 0])
    walk = tracer(sticky, slice_(end(A), end(B)), draw=lambda count: next(draws))
    first, second = packet("10.43.0.1:80"), packet("10.43.0.1:80", src="10.42.0.8")
    assert [str(walk.trace(first)) for _ in range(3)] == [f"{B}:8080"] * 3
    assert [str(walk.trace(second)) for _ in range(2)] == [f"{A}:8080"] * 2
    rules = [rule for chain in walk.content.chains.values() for rule in chain]
    assert sum("timeout 60s" in rule for rule in rules) == 2


def test_session_affinity_lasts_three_hours_unless_said_otherwise():
    state = compile_service(service(session_affinity="ClientIP"), [slice_(end(A))], place=Place(NODE))
    assert [backend.sticky_seconds for backend in state.frontends.values()] == [10800]


def test_session_affinity_in_ipv6():
    sticky = service(ips=("fd43::1",), session_affinity="ClientIP")
    walk = tracer(sticky, slice_(end("fd42::1:1"), end("fd42::1:2"), family="IPv6"))
    assert str(walk.trace(packet("[fd43::1]:80", src="fd42::9"))) == "[fd42::1:1]:8080"


def test_running_flows_of_terminating_endpoints_go_on():
    slices = [slice_(end(A), end(B, ready=False, serving=True, terminating=True), end(C, ready=False))]
    backend = compile_service(service(), slices, place=Place(NODE)).frontends[
        Frontend(ip_address("10.43.0.1"), "tcp", 80)
    ]
    assert backend.targets == (Target(ip_address(A), 8080),)
    assert backend.serving == {Target(ip_address(A), 8080), Target(ip_address(B), 8080)}
    assert backend.name == "shop/web/web"


def test_text_forms():
    assert str(Frontend(ip_address("fd43::1"), "udp", 53)) == "[fd43::1]:53/udp"
    assert str(Target(ip_address("10.0.0.1"), 80)) == "10.0.0.1:80"
    assert str(Key("shop", "web")) == "shop/web"


@pytest.mark.parametrize(
    ("dst", "expected"),
    [
        ("10.43.0.1:80", "10.42.0.3:8080"),
        ("10.43.0.10:53", "refuse"),
        ("10.44.0.1:80", "10.44.0.1:80"),
        ("[fd43::a]:53", "refuse"),
        ("[fd44::a]:53", "[fd44::a]:53"),
    ],
)
def test_an_address_that_no_service_has_is_refused_in_the_service_range(dst, expected):
    state = compile_service(service(), [slice_(end(C))], place=Place(NODE))
    fixed = fixed_rules(Ranges(cluster=("10.42.0.0/16",), services=("10.43.0.0/16", "fd43::/112")))
    for protocol in ("tcp", "udp"):
        if dst != "10.43.0.1:80" or protocol == "tcp":
            assert str(Tracer(fixed, render(state)).trace(packet(dst, protocol=protocol))) == expected
