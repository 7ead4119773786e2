"""Load balancers on one interface: which addresses that means on each node, and what is said where it means none."""

from __future__ import annotations

import pytest

from wherry.cloud.servicelb import binding
from wherry.cloud.servicelb.binding import INTERFACES, Bind, addresses, unbound
from wherry.kube.objects import Node, ObjectMeta
from wherry.kube.objects.cluster import NodeAddress, NodeStatus
from wherry.pods import ports

BOTH = ("IPv4", "IPv6")


def node(name: str, interfaces: str | None, *internal: str) -> Node:
    return Node(
        metadata=ObjectMeta(name=name, annotations={} if interfaces is None else {INTERFACES: interfaces}),
        status=NodeStatus(addresses=tuple(NodeAddress(type="InternalIP", address=one) for one in internal)),
    )


A = node("a", '{"eth0":["10.0.0.1"],"eth1":["192.0.2.1","fd00::1"]}', "10.0.0.1")
B = node("b", '{"eth0":["10.0.0.2"]}', "10.0.0.2")
FOREIGN = node("foreign", None, "10.0.0.3")
BROKEN = node("broken", "[", "10.0.0.4")
ETH1 = Bind(interface="eth1")


@pytest.mark.parametrize(
    ("bind", "where", "families", "expected"),
    [
        (ETH1, A, BOTH, ["192.0.2.1", "fd00::1"]),
        (ETH1, A, ("IPv6",), ["fd00::1"]),
        (ETH1, B, BOTH, []),
        (ETH1, FOREIGN, BOTH, []),
        (ETH1, BROKEN, BOTH, []),
        (Bind("192.0.2.1"), A, BOTH, ["192.0.2.1"]),
        (Bind("10.0.0.1"), A, BOTH, ["10.0.0.1"]),
        (Bind("192.0.2.1"), B, BOTH, []),
        (Bind("192.0.2.1"), FOREIGN, BOTH, ["192.0.2.1"]),
    ],
)
def test_what_a_node_listens_on(bind: Bind, where: Node, families: tuple[str, ...], expected: list[str]) -> None:
    assert addresses(bind, where, families) == expected


def test_nodes_without_the_interface_are_named() -> None:
    assert [str(one) for one in unbound(ETH1, [FOREIGN, B, A], BOTH, eligible=[])] == [
        "node b has no interface eth1 with an address (wherry.dev/lb-bind)",
        "node foreign does not tell which interfaces it has, so that wherry.dev/lb-bind: eth1 means nothing there",
    ]
    assert [str(one) for one in unbound(Bind(interface="eth0"), [A], ("IPv6",), eligible=[A])] == [
        "node a has no IPv6 address on its interface eth0 (wherry.dev/lb-bind)"
    ]
    assert unbound(None, [A, B], BOTH, eligible=[]) == []


def test_an_address_is_missed_where_no_node_has_it() -> None:
    assert unbound(Bind("192.0.2.1"), [A, B], BOTH, eligible=[]) == []
    assert [str(one) for one in unbound(Bind("192.0.2.9"), [A, B], BOTH, eligible=[A, B])] == [
        "no node has the address 192.0.2.9 (wherry.dev/lb-bind)"
    ]
    assert unbound(Bind("192.0.2.9"), [A, FOREIGN], BOTH, eligible=[]) == []
    assert unbound(Bind("192.0.2.9"), [], BOTH, eligible=[]) == []


def test_an_address_is_not_missed_while_its_node_has_no_forwarder_yet() -> None:
    assert unbound(Bind("192.0.2.1"), [B], BOTH, eligible=[A, B]) == []


def test_the_kubelet_reads_the_same_annotation() -> None:
    assert binding.ON_INTERFACE == ports.ON_INTERFACE
