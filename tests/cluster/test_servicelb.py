"""Load balancers made of the nodes' own ports, on a cluster of four nodes of its own."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import visits
from tests.cluster.manifests import deployment, pod, service, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube.kinds import DAEMON_SETS, EVENTS, PODS, SERVICES
from wherry.kube.objects import Pod, Service

ENABLE = "svccontroller.k3s.cattle.io/enablelb"
POOL = "svccontroller.k3s.cattle.io/lbpool"
NODES = ("node-1", "node-2", "node-3", "node-4")
PROXIED = 8092
NO_DNS = ("--disable", "coredns", "--disable", "node-dns")
"""What these tests count are pods of load balancers alone."""
NOT_FREE = "didn't have free ports for the requested pod ports"


@pytest.fixture(scope="module")
def lb(home: Path) -> Iterator[Sandbox]:
    """Four nodes, two applications and three clients: a pod, a program on a node, and the host."""
    sandbox = Sandbox(home, "lb")
    sandbox.up("--nodes", "4", *NO_DNS, "--publish", f"0:{PROXIED}", "--publish", f"0:{PROXIED}/udp")
    sandbox.apply(deployment("one", 1, nodeSelector={"kubernetes.io/hostname": "node-1"}), deployment("two", 1),
                  sleeper("client"),
                  sleeper("node-client", nodeName="node-4", hostNetwork=True))  # fmt: skip
    sandbox.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s")
    yield sandbox
    sandbox.wherry("down")


@pytest.fixture(scope="module")
def address(lb: Sandbox) -> dict[str, str]:
    """The internal IPv4 address of each node."""
    nodes = lb.get("nodes")["items"]
    return {node["metadata"]["name"]: node["status"]["addresses"][0]["address"] for node in nodes}


@pytest.fixture(autouse=True)
def clean(lb: Sandbox) -> Iterator[None]:
    """Leave neither load balancers nor labels for the next test."""
    yield
    lb.kubectl("label", "node", "--all", f"{ENABLE}-", f"{POOL}-", f"lbpool.{POOL.partition('/')[0]}/both-")
    lb.kubectl("delete", "service", "--all", "--wait=true")
    lb.until(PODS, lambda pods: not any(one.namespace == "kube-system" for one in pods))


def balanced(name: str, port: int, *, app: str, pool: str = "", **annotations: str) -> dict[str, Any]:
    made = service(name, port, 8080, type="LoadBalancer")
    made["spec"]["selector"] = {"app": app}
    made["metadata"]["labels"] = {POOL: pool} if pool else {}
    made["metadata"]["annotations"] = {f"wherry.dev/{key.replace('_', '-')}": text for key, text in annotations.items()}
    return made


def shown(services: list[Service], name: str) -> list[str]:
    return [one.ip for each in services if each.name == name for one in each.status.load_balancer.ingress]


def until_shown(lb: Sandbox, name: str, *wanted: str) -> None:
    lb.until(SERVICES, lambda services: shown(services, name) == sorted(wanted), namespace="default")


def trouble(services: list[Service], name: str) -> str:
    """The message of the condition about ports; empty where there is no trouble."""
    conditions = [one for each in services if each.name == name for one in each.status.conditions]
    return next((one.message for one in conditions if one.status == "True"), "")


def forwarders(pods: list[Pod], name: str) -> dict[str, Pod]:
    """The load-balancer pods of a Service that are ready, by node."""
    label = "svccontroller.k3s.cattle.io/svcname"
    return {one.spec.node_name: one for one in pods if one.labels.get(label) == name and one.ready}


def answers(lb: Sandbox, client: str, address: str, port: int) -> str:
    """Which application answers."""
    return str(visits.call(lb, "default", client, visits.url("http", address, port))[0]["pod"]).split("-")[0]


def test_promise_22_two_pools_share_a_port(lb: Sandbox, address: dict[str, str]) -> None:
    a, b, c, d = NODES
    lb.kubectl("label", "node", a, b, f"{ENABLE}=true", f"{POOL}=pool1")
    lb.kubectl("label", "node", c, d, f"{ENABLE}=true", f"{POOL}=pool2")
    lb.apply(balanced("one", 443, app="one", pool="pool1"), balanced("two", 443, app="two", pool="pool2"))
    until_shown(lb, "one", address[a], address[b])
    until_shown(lb, "two", address[c], address[d])
    for node, expected in zip(NODES, ("one", "one", "two", "two"), strict=True):
        assert answers(lb, "client", address[node], 443) == expected, node
    # The other form of the label: a node in several pools.
    lb.apply(balanced("both", 444, app="one", pool="both"))
    lb.kubectl("label", "node", a, d, "lbpool.svccontroller.k3s.cattle.io/both=true")
    until_shown(lb, "both", address[a], address[d])


def test_promise_13_and_15_the_port_of_any_node_leads_to_the_service(lb: Sandbox, address: dict[str, str]) -> None:
    # Shown is an address that no node has, so that nothing but the nodes' ports leads here.
    lb.apply(balanced("one", 8081, app="one", lb_addresses="192.0.2.1"))
    until_shown(lb, "one", "192.0.2.1")
    lb.until(PODS, lambda pods: len(forwarders(pods, "one")) == 4, namespace="kube-system")
    for node in NODES:
        for client in ("client", "node-client"):
            assert answers(lb, client, address[node], 8081) == "one", (client, node)
    pods = lb.get("-n", "kube-system", "pods")["items"]
    assert all(one["metadata"]["name"].startswith("svclb-one-") for one in pods)
    assert len(pods) == 4


def test_promise_15_local_policy_keeps_the_client_on_addresses_that_are_not_shown(
    lb: Sandbox, address: dict[str, str]
) -> None:
    made = balanced("one", 8091, app="one", lb_addresses="192.0.2.1")
    made["spec"]["externalTrafficPolicy"] = "Local"
    lb.apply(made)
    until_shown(lb, "one", "192.0.2.1")
    (answer,) = visits.call(lb, "default", "node-client", visits.url("http", address["node-1"], 8091))
    assert answer["client"].rpartition(":")[0] == address["node-4"]


def told(answer: dict[str, Any]) -> str:
    """Whom a PROXY header names as the client."""
    assert answer["via"].startswith("PROXY v2 from ")
    return str(answer["client"]).rpartition(":")[0]


def test_proxy_headers_name_the_client_on_every_path(lb: Sandbox, address: dict[str, str]) -> None:
    server = pod("proxied", image="acme/web", nodeSelector={"kubernetes.io/hostname": "node-2"},
                 container={"ports": [{"containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}]})  # fmt: skip
    server["metadata"]["annotations"] = {"wherry.dev/stand-in": "proxy-protocol:8080"}
    cluster, local = (
        balanced(name, port, app="proxied", proxy_protocol="v2")
        for name, port in (("proxied", PROXIED), ("proxied-local", PROXIED + 1))
    )
    cluster["spec"]["ports"] = [{"name": "tcp", **cluster["spec"]["ports"][0]},
                                {"name": "udp", "port": PROXIED, "targetPort": 53, "protocol": "UDP"}]  # fmt: skip
    local["spec"]["externalTrafficPolicy"] = "Local"
    ignored = balanced("ignored", PROXIED + 2, app="proxied", proxy_protocol="v1")
    lb.apply(server, cluster, local, ignored)
    until_shown(lb, "proxied", *address.values())
    until_shown(lb, "proxied-local", address["node-2"])
    until_shown(lb, "ignored", *address.values())
    (client,) = (one for one in lb.get("pods")["items"] if one["metadata"]["name"] == "client")
    home, own = client["spec"]["nodeName"], client["status"]["podIP"]

    def asked(where: str, node: str, port: int) -> dict[str, Any]:
        return visits.call(lb, "default", where, visits.url("http", address[node], port))[0]

    # The addresses are those that the status shows.
    for node in NODES:
        assert told(asked("node-client", node, PROXIED)) == address["node-4"], node
        assert told(asked("client", node, PROXIED)) == (own if node == home else address[home]), node
    for node in ("node-2", "node-3"):
        assert told(asked("node-client", node, PROXIED + 1)) == address["node-4"], node
    assert "no PROXY header" in asked("client", "node-1", PROXIED + 2)["via"]
    lb.until(EVENTS, lambda events: any(one.reason == "ProxyProtocolIgnored" for one in events), namespace="default")
    # From the host, by published ports, of which UDP is no concern of the header.
    tcp, udp = ((one["host"], one["hostPort"]) for one in lb.status()["published"])
    with urllib.request.urlopen(
        urllib.request.Request(visits.url("http", *tcp), headers={"Accept": "application/json"}), timeout=10
    ) as response:
        assert told(json.load(response)) == "172.30.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(10)
        peer.sendto(b"ahoy", udp)
        assert peer.recvfrom(2048)[1] == udp
    lb.kubectl("delete", "pod", "proxied")


def test_promise_20_and_21_and_vector_13_the_allow_list_comes_and_goes(lb: Sandbox, address: dict[str, str]) -> None:
    lb.apply(balanced("one", 8082, app="one"))
    until_shown(lb, "one", *address.values())
    lb.kubectl("label", "node", "node-2", f"{ENABLE}=true")
    until_shown(lb, "one", address["node-2"])
    lb.kubectl("label", "node", "node-2", f"{ENABLE}=false", "--overwrite")
    until_shown(lb, "one")
    lb.kubectl("label", "node", "node-2", f"{ENABLE}-")
    until_shown(lb, "one", *address.values())


def test_promise_18_and_19_the_second_on_a_port_waits_and_takes_over(lb: Sandbox, address: dict[str, str]) -> None:
    lb.apply(balanced("first", 8083, app="one"), balanced("beside", 8084, app="one"))
    until_shown(lb, "first", *address.values())
    lb.apply(balanced("second", 8083, app="two"))
    lb.until(SERVICES, lambda services: trouble(services, "second").count("held by Service default/first") == 4)
    until_shown(lb, "second")
    until_shown(lb, "beside", *address.values())
    lb.until(EVENTS, lambda events: any(one.reason == "PortConflict" for one in events), namespace="default")
    lb.until(PODS, lambda pods: any(NOT_FREE in c.message for one in pods for c in one.status.conditions))
    assert answers(lb, "client", address["node-1"], 8083) == "one"
    lb.kubectl("delete", "service", "first")
    until_shown(lb, "second", *address.values())
    lb.until(SERVICES, lambda services: not trouble(services, "second"))
    assert answers(lb, "client", address["node-1"], 8083) == "two"


def test_promise_5_and_19_host_ports_of_pods_and_services_exclude_each_other(
    lb: Sandbox, address: dict[str, str]
) -> None:
    def server(name: str, port: int) -> dict[str, Any]:
        return pod(name, image="acme/web", nodeSelector={"kubernetes.io/hostname": "node-1"},
                   container={"ports": [{"containerPort": 80, "hostPort": port}]})  # fmt: skip

    lb.apply(server("early", 8085), balanced("one", 8086, app="one"))
    lb.kubectl("wait", "--for=condition=Ready", "pod/early", "--timeout=30s")
    lb.apply(balanced("late", 8085, app="one"))
    until_shown(lb, "late", *(address[node] for node in NODES[1:]))
    held = "port 8085/TCP of node node-1 is held by pod default/early"
    lb.until(SERVICES, lambda services: trouble(services, "late") == held)
    until_shown(lb, "one", *address.values())
    lb.apply(server("latest", 8086))
    lb.until(
        PODS,
        lambda pods: any(NOT_FREE in c.message for p in pods if p.name == "latest" for c in p.status.conditions),
        namespace="default",
    )
    # Nobody is put out for a load balancer; once the port is free it is taken.
    lb.kubectl("delete", "pod", "early", "latest")
    until_shown(lb, "late", *address.values())


def test_promise_16_external_addresses_are_shown_and_followed(lb: Sandbox, address: dict[str, str]) -> None:
    lb.apply(balanced("one", 8087, app="one"))
    until_shown(lb, "one", *address.values())
    lb.kubectl("annotate", "node", "node-3", "k3s.io/external-ip=203.0.113.3")
    until_shown(lb, "one", "203.0.113.3")
    lb.kubectl("annotate", "node", "node-3", "k3s.io/external-ip-")
    until_shown(lb, "one", *address.values())


def test_lb_bind_listens_on_one_address(lb: Sandbox, address: dict[str, str]) -> None:
    lb.apply(balanced("one", 8088, app="one", lb_bind=address["node-2"]))
    until_shown(lb, "one", address["node-2"])
    assert answers(lb, "client", address["node-2"], 8088) == "one"
    with pytest.raises(AssertionError, match=r"refused|timed out"):
        answers(lb, "client", address["node-1"], 8088)


def test_lb_bind_listens_on_one_interface(lb: Sandbox, address: dict[str, str]) -> None:
    # Shown is an address that no node has, so that nothing but the nodes' ports leads here.
    lb.apply(balanced("one", 8096, app="one", lb_bind="eth0", lb_addresses="192.0.2.1"),
             balanced("two", 8096, app="two", lb_bind="eth1"))  # fmt: skip
    until_shown(lb, "one", "192.0.2.1")
    lacking = "has no interface eth1 with an address (wherry.dev/lb-bind)"
    lb.until(SERVICES, lambda services: trouble(services, "two").count(lacking) == 4)
    lb.until(PODS, lambda pods: len(forwarders(pods, "one")) == 4, namespace="kube-system")
    for node in NODES:
        assert answers(lb, "client", address[node], 8096) == "one", node
    # An interface comes and goes.
    for words in ("link add eth1 type veth peer name eth2", "addr add 198.51.100.2/24 dev eth1", "link set eth1 up"):
        lb.wherry("node exec", "node-2", "--", "ip", *words.split())
    until_shown(lb, "two", "198.51.100.2")
    assert trouble(lb.until(SERVICES, len), "two").count(lacking) == 3
    assert answers(lb, "client", "198.51.100.2", 8096) == "two"
    lb.wherry("node exec", "node-2", "--", "ip", "link", "del", "eth1")
    until_shown(lb, "two")


def test_promise_17_a_daemon_set_each_and_nothing_is_left_of_them(lb: Sandbox, address: dict[str, str]) -> None:
    lb.apply(balanced("one", 8089, app="one"), balanced("two", 8090, app="two"))
    until_shown(lb, "one", *address.values())
    until_shown(lb, "two", *address.values())
    assert len(lb.get("-n", "kube-system", "daemonsets")["items"]) == 2
    lb.kubectl("patch", "service", "one", "-p", '{"spec":{"type":"ClusterIP"}}')
    lb.until(SERVICES, lambda services: any(s.name == "one" and not s.metadata.finalizers for s in services))
    lb.kubectl("delete", "service", "two", "--wait=true")
    lb.until(DAEMON_SETS, lambda sets: not sets, namespace="kube-system")


def test_promise_23_without_servicelb_another_load_balancer_serves(home: Path) -> None:
    sandbox = Sandbox(home, "nolb")
    sandbox.up("--nodes", "1", "--disable", "servicelb", *NO_DNS)
    try:
        sandbox.apply(deployment("one", 1), sleeper("client"), balanced("one", 80, app="one"))
        patch = '{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.9"}]}}}'
        sandbox.kubectl("patch", "service", "one", "--subresource=status", "--type=merge", "-p", patch)
        sandbox.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s")
        assert answers(sandbox, "client", "192.0.2.9", 80) == "one"
        found = sandbox.get("service", "one")
        assert "finalizers" not in found["metadata"]
        assert found["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.9"
        assert sandbox.get("-n", "kube-system", "daemonsets,serviceaccounts", "-l", "wherry.dev/part-of")["items"] == []
        assert sandbox.get("-n", "kube-system", "daemonsets")["items"] == []
    finally:
        sandbox.wherry("down")
