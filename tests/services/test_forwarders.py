"""What a load balancer's pods listen on, and what the node does about it."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec
import pytest

from wherry.cloud.servicelb import binding
from wherry.kube.keys import Key
from wherry.kube.objects import (
    Condition,
    Container,
    ContainerPort,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    EnvVar,
    Node,
    ObjectMeta,
    Pod,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from wherry.services import forwarders
from wherry.services.compile import compile_service
from wherry.services.forwarders import SERVICE_NAME, SERVICE_NAMESPACE, listening, service_of
from wherry.services.model import ANY, Frontend
from wherry.services.topology import Place

NODE = (ip_address("172.30.0.11"), ip_address("fd00:30::b"))
HERE = [Frontend(address, "tcp", 443) for address in NODE]
EVERYWHERE = [Frontend(address, "tcp", 443) for address in ANY.values()]


def forwarder(
    *, host_ip: str = "", interface: str = "", ready: str = "True", port: int = 443, env: tuple[EnvVar, ...] = ()
) -> Pod:
    return Pod(
        metadata=ObjectMeta(
            name="svclb",
            labels={SERVICE_NAME: "web", SERVICE_NAMESPACE: "shop"},
            annotations={forwarders.ON_INTERFACE: interface} if interface else {},
        ),
        spec=PodSpec(
            containers=(
                Container(
                    name="a", env=env, ports=(ContainerPort(container_port=port, host_port=port, host_ip=host_ip),)
                ),
                Container(name="b", ports=(ContainerPort(container_port=9),)),
            )
        ),
        status=PodStatus(conditions=(Condition(type="Ready", status=ready),)),
    )


def test_a_pod_listens_where_its_host_port_does() -> None:
    assert service_of(forwarder()) == Key("shop", "web")
    assert service_of(Pod()) is None
    assert listening([forwarder()], NODE) == {*HERE, *EVERYWHERE}
    assert listening([forwarder(host_ip="0.0.0.0")], NODE) == {HERE[0], EVERYWHERE[0]}
    assert listening([forwarder(host_ip="::")], NODE) == {HERE[1], EVERYWHERE[1]}
    assert listening([forwarder(host_ip="172.30.0.11")], NODE) == {HERE[0]}
    assert listening([forwarder(host_ip="192.0.2.1")], NODE) == frozenset()
    assert listening([forwarder(ready="False")], NODE) == frozenset()
    assert listening([forwarder(env=(EnvVar(name="SRC_PORT", value="443"),))], NODE) == {*HERE, *EVERYWHERE}


INTERFACES = {"eth0": NODE, "eth1": (ip_address("198.51.100.1"), ip_address("2001:db8::1"))}


def test_a_bound_pod_listens_on_what_its_node_has_of_it() -> None:
    bound = forwarder(host_ip="198.51.100.1")
    assert listening([bound], NODE, INTERFACES) == {Frontend(ip_address("198.51.100.1"), "tcp", 443)}
    assert listening([bound], NODE) == listening([forwarder(host_ip="8.8.8.8")], NODE, INTERFACES) == frozenset()
    bound = forwarder(host_ip="127.128.0.1", interface="eth1")
    assert listening([bound], NODE, INTERFACES) == {Frontend(one, "tcp", 443) for one in INTERFACES["eth1"]}
    assert listening([bound], NODE) == frozenset()


@pytest.mark.parametrize("text", ["", "x", "[]", '{"eth0": ["x"]}', '{"eth0": 1}'])
def test_interfaces_that_cannot_be_read_are_none(text: str) -> None:
    assert forwarders.interfaces_of(Node(metadata=ObjectMeta(annotations={forwarders.INTERFACES: text}))) == {}
    assert forwarders.interfaces_of(None) == {}


def test_interfaces_are_read_where_servicelb_reads_them() -> None:
    assert (forwarders.INTERFACES, forwarders.ON_INTERFACE) == (binding.INTERFACES, binding.ON_INTERFACE)
    told = msgspec.json.encode({name: list(map(str, addresses)) for name, addresses in INTERFACES.items()}).decode()
    node = Node(metadata=ObjectMeta(annotations={forwarders.INTERFACES: told}))
    assert forwarders.interfaces_of(node) == INTERFACES


def test_nothing_goes_past_a_pod_that_writes_proxy_headers() -> None:
    assert listening([forwarder(env=(EnvVar(name="PROXY_PROTOCOL", value="v2"),))], NODE) == frozenset()


@pytest.mark.parametrize(
    ("policy", "class_", "port", "served"),
    [("Local", None, 443, True), ("Cluster", None, 443, False), ("Local", "x", 443, False), ("Local", None, 22, False)],
)
def test_promise_15_local_clients_are_not_led_through_the_pod(
    policy: str, class_: str | None, port: int, served: bool
) -> None:
    service = Service(
        metadata=ObjectMeta(name="web", namespace="shop"),
        spec=ServiceSpec(
            type="LoadBalancer",
            cluster_ip="10.43.0.9",
            cluster_ips=("10.43.0.9",),
            external_traffic_policy=policy,
            load_balancer_class=class_,
            load_balancer_source_ranges=("192.0.2.0/24",),
            ports=(ServicePort(port=443, node_port=30443),),
        ),
    )
    endpoint = Endpoint(addresses=("10.42.0.1",), node_name="n1")
    slices = [EndpointSlice(ports=(EndpointPort(port=8080),), endpoints=(endpoint,))]
    held = listening([forwarder(port=port)], NODE)
    found = compile_service(service, slices, place=Place("n1"), node_ips=NODE, listening=held).external
    for v4, v6 in (HERE, EVERYWHERE):
        assert (v4 in found) is served
        assert v6 not in found, "the service has no IPv6"
        if served:
            assert found[v4].sources == ("192.0.2.0/24",)
            assert found[v4].outside is not None
