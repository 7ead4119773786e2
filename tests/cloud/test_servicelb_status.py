"""Addresses and conditions of a Service's status."""

from __future__ import annotations

import pytest

from wherry.cloud.servicelb import status
from wherry.cloud.servicelb.binding import INTERFACES
from wherry.cloud.servicelb.model import ADVERTISE, BIND, CONDITION, SERVICE_NAME, SERVICE_NAMESPACE, Unusable
from wherry.kube.objects import (
    Condition,
    EndpointSlice,
    LoadBalancerIngress,
    Node,
    ObjectMeta,
    ObjectReference,
    Pod,
    Service,
)
from wherry.kube.objects.cluster import NodeAddress, NodeStatus
from wherry.kube.objects.containers import Container, ContainerPort
from wherry.kube.objects.network import Endpoint, EndpointConditions, ServiceSpec
from wherry.kube.objects.pods import (
    Affinity,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodSpec,
    PodStatus,
)


def service(policy: str = "Cluster", families: tuple[str, ...] = ("IPv4",), **annotations: str) -> Service:
    named = {{"advertise": ADVERTISE, "bind": BIND}[key]: value for key, value in annotations.items()}
    return Service(
        metadata=ObjectMeta(name="web", namespace="shop", annotations=named),
        spec=ServiceSpec(type="LoadBalancer", external_traffic_policy=policy, ip_families=families),
    )


def node(name: str, *, internal: tuple[str, ...] = (), external: tuple[str, ...] = ()) -> Node:
    addresses = [NodeAddress(type="InternalIP", address=one) for one in internal]
    addresses += [NodeAddress(type="ExternalIP", address=one) for one in external]
    addresses += [NodeAddress(type="Hostname", address=name), NodeAddress(type="ExternalDNS", address="a.example")]
    return Node(metadata=ObjectMeta(name=name), status=NodeStatus(addresses=tuple(addresses)))


def forwarder(node_name: str, *, ready: bool = True) -> Pod:
    condition = Condition(type="Ready", status="True" if ready else "False")
    return Pod(
        metadata=ObjectMeta(name=f"svclb-{node_name}", namespace="kube-system"),
        spec=PodSpec(node_name=node_name),
        status=PodStatus(phase="Running", pod_ip="10.42.0.9", conditions=(condition,)),
    )


def endpoints(*nodes: str, ready: bool | None = True, kind: str = "Pod") -> EndpointSlice:
    return EndpointSlice(
        endpoints=tuple(
            Endpoint(
                addresses=("10.42.0.1",),
                node_name=name,
                conditions=EndpointConditions(ready=ready),
                target_ref=ObjectReference(kind=kind),
            )
            for name in nodes
        )
    )


N1 = node("n1", internal=("10.0.0.1",), external=("5.5.5.5",))
N2 = node("n2", internal=("10.0.0.2",))


def shown(one: Service, *pods: Pod, nodes: tuple[Node, ...] = (N1, N2), slices: tuple[EndpointSlice, ...] = (),
          rootless: bool = False) -> list[str]:  # fmt: skip
    known = {each.name: each for each in nodes}
    return status.addresses(one, status.serving(one, pods, known.get, slices), rootless=rootless)


BOTH = (forwarder("n1"), forwarder("n2"))


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        ((), []),
        (("IPv4",), ["1.2.3.4"]),
        (("IPv6",), ["2001:db8::1"]),
        (("IPv4", "IPv6"), ["1.2.3.4", "2001:db8::1"]),
        (("IPv6", "IPv4"), ["2001:db8::1", "1.2.3.4"]),
    ],
)
def test_vector_4_addresses_by_family(families: tuple[str, ...], expected: list[str]) -> None:
    assert status.in_families(["1.2.3.4", "2001:db8::1"], families) == expected


def test_vector_5_addresses_are_sorted_as_text() -> None:
    found = ["3001:db8::1", "2.3.4.5", "1.2.3.4", "2001:db8::1"]
    assert status.in_families(found, ("IPv4", "IPv6")) == ["1.2.3.4", "2.3.4.5", "2001:db8::1", "3001:db8::1"]
    assert status.in_families(["10.0.0.9", "10.0.0.10"], ("IPv4",)) == ["10.0.0.10", "10.0.0.9"]


def test_promise_16_and_vector_6_external_addresses_go_first() -> None:
    assert shown(service(), *BOTH) == ["5.5.5.5"]
    assert shown(service(), forwarder("n2")) == ["10.0.0.2"]


def test_bug_6_internal_only_nodes_can_be_shown_beside_external_ones() -> None:
    assert shown(service(advertise="external,internal"), *BOTH) == ["10.0.0.1", "10.0.0.2", "5.5.5.5"]
    assert shown(service(advertise="internal"), *BOTH) == ["10.0.0.1", "10.0.0.2"]


def test_vector_7_local_narrows_before_the_choice() -> None:
    assert shown(service("Local"), *BOTH, slices=(endpoints("n2"),)) == ["10.0.0.2"]


@pytest.mark.parametrize("slices", [endpoints("n1", ready=None), endpoints("n1", ready=False),
                                    endpoints("n1", kind="Node"), endpoints("")])  # fmt: skip
def test_local_counts_ready_pods_only(slices: EndpointSlice) -> None:
    assert shown(service("Local"), *BOTH, slices=(slices,)) == []


def test_vector_8_only_ready_forwarders_are_shown() -> None:
    assert shown(service(), forwarder("n1", ready=False), forwarder("n2")) == ["10.0.0.2"]
    assert shown(service(), forwarder("n1", ready=False)) == []
    assert shown(service(), forwarder("gone")) == []


def test_vector_9_rootless() -> None:
    assert shown(service(), *BOTH, rootless=True) == ["127.0.0.1"]
    assert shown(service(), rootless=True) == []


def test_bug_8_no_ipv6_address_for_an_ipv4_service() -> None:
    dual = node("d", internal=("10.0.0.3", "fd00::3"))
    assert shown(service(), forwarder("d"), nodes=(dual,)) == ["10.0.0.3"]
    assert shown(service(families=("IPv6",)), *BOTH) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1,lb.example.com", ["192.0.2.1", "lb.example.com"]),
        ("10.0.0.2/31", ["10.0.0.2"]),
        ("LB.example.com", ["lb.example.com"]),
        ("external, 10.0.0.0/8", ["10.0.0.1", "10.0.0.2", "5.5.5.5"]),
    ],
)
def test_lb_addresses(text: str, expected: list[str]) -> None:
    assert shown(service(advertise=text), *BOTH) == expected
    assert shown(service(advertise=text)) == []


@pytest.mark.parametrize("text", ["1.2.3", "node", "10.0.0.0/40", "a_b.example", "external internal"])
def test_lb_addresses_that_make_no_sense(text: str) -> None:
    with pytest.raises(Unusable, match=r"wherry\.dev/lb-addresses"):
        shown(service(advertise=text), *BOTH)


def test_a_choice_that_leaves_nothing_is_explained() -> None:
    chosen = service(advertise="2001:db8::9", families=("IPv4",))
    assert shown(chosen, *BOTH) == []
    assert status.nothing_shown(chosen, (N1, N2)) == (
        "annotation wherry.dev/lb-addresses: '2001:db8::9' chooses no IPv4 address of the nodes that serve (n1, n2)"
    )
    assert status.nothing_shown(service(families=("IPv6",)), (N1,)) == "no IPv6 address of the nodes that serve (n1)"


def test_lb_bind_is_what_is_shown() -> None:
    assert shown(service(bind="10.0.0.2"), *BOTH) == ["10.0.0.2"]
    assert shown(service(bind="10.0.0.2", advertise="192.0.2.1"), *BOTH) == ["192.0.2.1"]
    assert status.ingress(["10.0.0.2", "lb.example"]) == [{"ip": "10.0.0.2"}, {"hostname": "lb.example"}]


def test_lb_bind_by_interface_shows_the_addresses_of_each_node() -> None:
    def having(name: str, interfaces: str) -> Node:
        return Node(
            metadata=ObjectMeta(name=name, annotations={INTERFACES: interfaces}),
            status=node(name, internal=("10.0.0.9",)).status,
        )

    nodes = (
        having("n1", '{"eth0":["10.0.0.1"],"eth1":["192.0.2.1","fd00::1"]}'),
        having("n2", '{"eth0":["10.0.0.2"]}'),
        having("n3", '{"eth1":["192.0.2.3"]}'),
    )
    pods = tuple(forwarder(one.name) for one in nodes)
    both = ("IPv4", "IPv6")
    assert shown(service(bind="eth1", families=both), *pods, nodes=nodes) == ["192.0.2.1", "192.0.2.3", "fd00::1"]
    assert shown(service(bind="eth1"), *pods[1:], nodes=nodes) == ["192.0.2.3"]
    assert shown(service(bind="eth1"), pods[1], nodes=nodes) == []
    # A range chooses among what the ports are bound to as well.
    assert shown(service(bind="eth1", advertise="192.0.2.0/24"), *pods, nodes=nodes) == ["192.0.2.1", "192.0.2.3"]
    # Addresses chosen by hand are shown as long as a node serves.
    assert shown(service(bind="eth1", advertise="203.0.113.1"), *pods[:2], nodes=nodes) == ["203.0.113.1"]
    assert shown(service(bind="eth1", advertise="203.0.113.1"), pods[1], nodes=nodes) == []
    assert shown(service(bind="10.0.0.7"), *pods, nodes=nodes) == []


def test_addresses_with_proxy_headers_are_a_proxys() -> None:
    assert status.ingress(["10.0.0.2", "lb.example"], proxied=True) == [
        {"ip": "10.0.0.2", "ipMode": "Proxy"},
        {"hostname": "lb.example"},
    ]
    for mode, proxied, right in (("VIP", False, True), ("Proxy", True, True), ("VIP", True, False),
                                 ("Proxy", False, False), (None, True, True)):  # fmt: skip
        current = [LoadBalancerIngress(ip="10.0.0.2", ip_mode=mode), LoadBalancerIngress(hostname="lb.example")]
        assert status.is_shown(current, ["10.0.0.2", "lb.example"], proxied=proxied) is right, (mode, proxied)
        assert not status.is_shown(current, ["10.0.0.2"], proxied=proxied)


# -- ports that others have -----------------------------------------------------------------------------------------


def with_ports(name: str, *ports: tuple[int, str, str], labels: dict[str, str] | None = None, node_name: str = "n1",
               waiting: bool = False) -> Pod:  # fmt: skip
    field = NodeSelectorRequirement(key="metadata.name", operator="In", values=(node_name,))
    term = NodeSelector(node_selector_terms=(NodeSelectorTerm(match_fields=(field,)),))
    held = tuple(ContainerPort(container_port=n, host_port=n, protocol=p, host_ip=a) for n, p, a in ports)
    return Pod(
        metadata=ObjectMeta(name=name, namespace="kube-system", labels=labels or {}),
        spec=PodSpec(
            node_name="" if waiting else node_name,
            containers=(Container(name="c", ports=held),),
            affinity=Affinity(node_affinity=NodeAffinity(required=term)) if waiting else None,
        ),
        status=PodStatus(conditions=(Condition(type="PodScheduled", status="False"),) if waiting else ()),
    )


def test_bug_7_a_service_without_its_port_says_who_has_it() -> None:
    labels = {SERVICE_NAME: "first", SERVICE_NAMESPACE: "shop"}
    holders = [with_ports("svclb-first", (443, "TCP", ""), labels=labels), with_ports("web", (80, "TCP", "10.0.0.1"))]
    waiting = with_ports("w", (443, "TCP", ""), (80, "TCP", ""), (443, "UDP", ""), waiting=True)
    found = status.conflicts([waiting], {"n1": holders}.__getitem__)
    assert [str(each) for each in found] == [
        "port 443/TCP of node n1 is held by Service shop/first (pod kube-system/svclb-first)",
        "port 80/TCP of node n1 is held by pod kube-system/web",
    ]
    (condition,) = status.conditions((), found, "t1") or ()
    assert (condition.type, condition.status, condition.reason) == (CONDITION, "True", "PortConflict")
    assert status.conditions((condition,), found, "t2") is None
    (other,) = status.conditions((condition,), found[:1], "t2") or ()
    assert other.last_transition_time == "t1"
    foreign = Condition(type="Other", status="True", reason="R")
    kept, solved = status.conditions((condition, foreign), (), "t3") or ()
    assert kept == foreign
    assert (solved.status, solved.reason, solved.last_transition_time) == ("False", "PortsAvailable", "t3")
    assert status.conditions((solved,), (), "t4") is None
    assert status.conditions((), (), "t4") is None


def test_ports_of_other_protocols_and_addresses_do_not_conflict() -> None:
    waiting = with_ports("w", (53, "UDP", "10.0.0.1"), waiting=True)
    for holder in (with_ports("a", (53, "TCP", "")), with_ports("b", (53, "UDP", "10.0.0.9"))):
        assert status.conflicts([waiting], lambda _, holder=holder: [holder]) == []  # type: ignore[misc]
    scheduled = with_ports("w", (53, "UDP", ""))
    assert status.conflicts([scheduled], lambda _: [with_ports("c", (53, "UDP", ""))]) == []


def test_a_service_does_not_wait_for_itself() -> None:
    labels = {SERVICE_NAME: "web", SERVICE_NAMESPACE: "shop"}
    waiting = with_ports("new", (443, "TCP", ""), labels=labels, waiting=True)
    for held_by, count in ((labels, 0), (labels | {SERVICE_NAMESPACE: "yard"}, 1), ({}, 1)):
        holder = with_ports("old", (443, "TCP", ""), labels=held_by)
        assert len(status.conflicts([waiting], lambda _, holder=holder: [holder])) == count  # type: ignore[misc]
