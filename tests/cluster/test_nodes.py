"""Nodes come, fail, come back and go."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import visits
from tests.cluster.manifests import deployment, service, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import EndpointSlice, Node

pytestmark = pytest.mark.own


@pytest.fixture(scope="module")
def cluster(home: Path) -> Iterator[Sandbox]:
    """A cluster for these tests alone."""
    sandbox = Sandbox(home, "nodes")
    sandbox.up()
    yield sandbox
    sandbox.wherry("down")


def is_ready(node: Node) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)


def wait_node(cluster: Sandbox, name: str, *, ready: bool, within: float = 30) -> Node:
    found = cluster.until(
        kinds.NODES, lambda nodes: [n for n in nodes if n.name == name and is_ready(n) == ready], within=within
    )
    return next(node for node in found if node.name == name)


def served_on(slices: list[EndpointSlice]) -> set[str | None]:
    """The nodes of all endpoints that take traffic."""
    return {e.node_name for s in slices for e in s.endpoints if e.conditions.ready}


@pytest.fixture
def third(cluster: Sandbox) -> Iterator[str]:
    """A node of the cluster for one test alone: nothing else runs there unless it says so."""
    assert cluster.wherry("node add", "edge").out == "node edge added\n"
    try:
        wait_node(cluster, "edge", ready=True)
        yield "edge"
    finally:
        cluster.wherry("node remove", "edge", code=None)
        cluster.kubectl("wait", "--for=delete", "node/edge", "--timeout=20s")


def test_an_added_node_is_used_and_a_removed_one_is_gone(cluster: Sandbox, namespace: str) -> None:
    name = cluster.wherry("node add").out.split()[1]
    try:
        node = wait_node(cluster, name, ready=True)
        assert node.spec.pod_cidrs not in ([], ["10.42.0.0/24"], ["10.42.1.0/24"])
        cluster.apply(
            sleeper("there", nodeName=name), deployment("app", 2, nodeName="node-1"), service("app", 80, 8080),
            namespace=namespace,
        )  # fmt: skip
        cluster.kubectl("-n", namespace, "rollout", "status", "deploy/app", "--timeout=30s")
        cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pods", "--all", "--timeout=30s")
        address = cluster.get("-n", namespace, "service", "app")["spec"]["clusterIP"]
        assert len(visits.call(cluster, namespace, "there", f"http://{address}/", 5)) == 5
        assert f"{name}\trunning" in cluster.wherry("node ls").out
    finally:
        assert cluster.wherry("node remove", name).out == f"node {name} removed\n"
    assert name not in cluster.kubectl("get", "nodes", "-o", "name").out
    assert name not in cluster.wherry("node ls").out
    assert not [p["name"] for p in cluster.status()["processes"] if name in p["name"]]
    # Its pods are collected, since their node is no more.
    cluster.until(kinds.PODS, lambda pods: not [p for p in pods if p.spec.node_name == name], namespace=namespace)
    links = cluster.wherry("node exec", "node-1", "--", "ip", "route").out
    assert node.spec.pod_cidrs[0] not in links


def test_power_cut_takes_a_node_out_of_service_and_start_brings_it_back(
    cluster: Sandbox, namespace: str, third: str
) -> None:
    prefer = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "preference": {"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [third]}]}}]}}  # fmt: skip
    cluster.apply(
        deployment("app", 3, affinity=prefer), service("app", 80, 8080), sleeper("caller", nodeName="node-1"),
        sleeper("bound", nodeName=third), namespace=namespace,
    )  # fmt: skip
    cluster.kubectl("-n", namespace, "rollout", "status", "deploy/app", "--timeout=30s")
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pods", "--all", "--timeout=30s")
    cluster.until(kinds.ENDPOINT_SLICES, lambda s: third in served_on(s), namespace=namespace)
    address = cluster.get("-n", namespace, "service", "app")["spec"]["clusterIP"]
    ranges = wait_node(cluster, third, ready=True).spec.pod_cidrs

    began = time.monotonic()
    cluster.wherry("node stop", third)
    assert f"{third}\tstopped" in cluster.wherry("node ls").out
    wait_node(cluster, third, ready=False, within=40)
    cluster.until(kinds.ENDPOINT_SLICES, lambda s: third not in served_on(s), namespace=namespace, within=40)
    rescheduled = cluster.until(
        kinds.PODS,
        lambda pods: sum(
            p.spec.node_name != third and p.status.phase == "Running" and p.metadata.labels.get("app") == "app"
            for p in pods
        ) == 3,
        namespace=namespace, within=40,
    )  # fmt: skip
    cluster.until(
        kinds.ENDPOINT_SLICES,
        lambda s: sum(e.conditions.ready for each in s for e in each.endpoints) == 3 and third not in served_on(s),
        namespace=namespace, within=max(1.0, 40 - (time.monotonic() - began)),
    )  # fmt: skip
    assert rescheduled
    assert len(visits.call(cluster, namespace, "caller", f"http://{address}/", 10)) == 10
    row = cluster.kubectl("get", "node", third, "--no-headers").out.split()
    assert row[1] == "NotReady"
    taints = {(t["key"], t["effect"]) for t in cluster.get("node", third)["spec"]["taints"]}
    assert ("node.kubernetes.io/unreachable", "NoExecute") in taints

    cluster.wherry("node start", third)
    node = wait_node(cluster, third, ready=True)
    assert node.spec.pod_cidrs == ranges
    cluster.until(kinds.NODES, lambda nodes: not [t for n in nodes if n.name == third for t in n.spec.taints])
    # What was evicted from it ends now that its agent can say so.
    cluster.until(
        kinds.PODS,
        lambda pods: not [p for p in pods if p.spec.node_name == third and p.metadata.deletion_timestamp],
        namespace=namespace,
    )
    cluster.apply(sleeper("again", nodeName=third), namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/again", "--timeout=30s")
    assert len(visits.call(cluster, namespace, "again", f"http://{address}/", 5)) == 5


def test_short_power_cut_costs_restarts_but_no_pod(cluster: Sandbox, namespace: str, third: str) -> None:
    """A node that is back before anybody noticed runs the same pods again, with their names and counts."""
    cluster.apply(deployment("app", 2, nodeName=third), sleeper("one", nodeName=third), namespace=namespace)
    cluster.kubectl("-n", namespace, "rollout", "status", "deploy/app", "--timeout=30s")
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/one", "--timeout=30s")
    before = {p["metadata"]["uid"] for p in cluster.get("-n", namespace, "pods")["items"]}
    cluster.wherry("node stop", third)
    cluster.wherry("node start", third)
    pods = cluster.until(
        kinds.PODS,
        lambda found: all(
            p.status.container_statuses and p.status.container_statuses[0].restart_count == 1
            and p.status.container_statuses[0].ready for p in found
        ),
        namespace=namespace,
    )  # fmt: skip
    assert {pod.metadata.uid for pod in pods} == before
    assert cluster.kubectl("-n", namespace, "exec", "one", "--", "echo", "here").out == "here\n"


def test_node_exec_sees_the_node(cluster: Sandbox) -> None:
    addresses = json.loads(cluster.wherry("node exec", "node-2", "--", "ip", "-j", "addr", "show", "eth0").out)
    assert "172.30.0.12" in [a["local"] for a in addresses[0]["addr_info"]]
    assert cluster.wherry("node exec", "node-2", "--", "sh", "-c", "hostname; exit 9", code=9).out == "node-2\n"
    assert "table inet wherry-services" in cluster.wherry("node exec", "node-1", "--", "nft", "list", "tables").out
    assert cluster.wherry("node exec", "node-1", "--", "cat", "/proc/sys/net/ipv4/ip_forward").out == "1\n"


def test_a_service_table_that_somebody_deletes_is_back_at_once(cluster: Sandbox) -> None:
    cluster.wherry("node exec", "node-1", "--", "nft", "delete", "table", "inet", "wherry-services")
    cluster.until(
        kinds.EVENTS,
        lambda events: any(
            one.reason == "ServiceRulesChanged" and one.involved_object.name == "node-1"
            and "the table was not there (by nft); it is repaired" in one.message for one in events
        ),
        namespace="default",
    )  # fmt: skip
    address = cluster.get("service", "kubernetes")["spec"]["clusterIP"]
    connect = f"import socket; socket.create_connection(({address!r}, 443), 5)"
    cluster.wherry("node exec", "node-1", "--", "python3", "-c", connect)


def test_a_node_whose_object_was_deleted_comes_back_with_its_pods(cluster: Sandbox, namespace: str, third: str) -> None:
    cluster.apply(sleeper("there", nodeName=third), deployment("app", 1, nodeName="node-1"), service("app", 80, 8080),
                  namespace=namespace)  # fmt: skip
    cluster.kubectl("-n", namespace, "rollout", "status", "deploy/app", "--timeout=30s")
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/there", "--timeout=30s")
    before = wait_node(cluster, third, ready=True)
    cluster.kubectl("delete", "node", third)
    found = cluster.until(
        kinds.NODES, lambda nodes: [n for n in nodes if n.name == third and n.uid != before.uid and is_ready(n)]
    )
    (after,) = [each for each in found if each.name == third]
    assert after.spec.pod_cidrs == before.spec.pod_cidrs
    address = cluster.get("-n", namespace, "service", "app")["spec"]["clusterIP"]
    assert len(visits.call(cluster, namespace, "there", f"http://{address}/", 3)) == 3
    events = cluster.kubectl("get", "events", f"--field-selector=involvedObject.name={third}").out
    for words in (f"Removing Node {third} from Controller", f"Registered Node {third} in Controller",
                  f"Node {third} status is now: NodeReady"):  # fmt: skip
        assert words in events
