"""Nodes and the cloud controller on a whole cluster: what kubectl shows of them, with it and without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.manifests import sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import Node

UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"


def external(nodes: list[Node], name: str) -> tuple[str, ...]:
    return next(node.addresses("ExternalIP") for node in nodes if node.name == name)


def test_promise_24_and_26_nodes_are_known_and_their_addresses_follow(cluster: Sandbox) -> None:
    (node,) = (each for each in cluster.get("nodes")["items"] if each["metadata"]["name"] == "node-1")
    assert node["spec"]["providerID"] == "k3s://node-1"
    assert UNINITIALIZED not in [taint["key"] for taint in node["spec"].get("taints", [])]
    assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "k3s"
    assert [address["type"] for address in node["status"]["addresses"]] == ["InternalIP", "InternalIP", "Hostname"]
    assert json.loads(node["metadata"]["annotations"]["k3s.io/node-args"])[0] == "up"
    assert len(node["metadata"]["annotations"]["k3s.io/node-config-hash"]) == 56
    assert "Node synced successfully" in cluster.kubectl("get", "events", "--field-selector=reason=Synced").out
    cluster.kubectl("annotate", "node", "node-1", "k3s.io/external-ip=203.0.113.7,203.0.113.8")
    try:
        cluster.until(kinds.NODES, lambda found: external(found, "node-1") == ("203.0.113.7", "203.0.113.8"), within=5)
        row = cluster.kubectl("get", "node", "node-1", "-o", "wide", "--no-headers").out.split()
        assert row[5:7] == ["172.30.0.11", "203.0.113.7"]
    finally:
        cluster.kubectl("annotate", "node", "node-1", "k3s.io/external-ip-")
    cluster.until(kinds.NODES, lambda found: external(found, "node-1") == (), within=5)
    # What the agent says itself it says again.
    cluster.kubectl("annotate", "--overwrite", "node", "node-1", "k3s.io/internal-ip=192.0.2.1")
    before = node["metadata"]["annotations"]["k3s.io/internal-ip"]
    cluster.until(kinds.NODES, lambda found: before in [n.metadata.annotations["k3s.io/internal-ip"] for n in found])
    cluster.until(
        kinds.NODES, lambda found: "172.30.0.11" in [a for n in found for a in n.addresses("InternalIP")], within=5
    )


def test_promise_25_one_lease_for_cloud_controller_and_load_balancers(cluster: Sandbox) -> None:
    lease = cluster.get("-n", "kube-system", "lease", "k3s-cloud-controller-manager")
    assert lease["spec"]["holderIdentity"]


@pytest.fixture(scope="module")
def without(home: Path) -> Iterator[Sandbox]:
    """A cluster of one node whose cloud controller is off, with nothing in its place."""
    sandbox = Sandbox(home, "cloudless")
    sandbox.up("--nodes", "1", "--disable-cloud-controller", "--kubelet-arg", "cloud-provider=external")
    yield sandbox
    sandbox.wherry("down")


def test_promise_27_and_28_what_waits_for_a_cloud_controller_says_so_and_another_takes_over(without: Sandbox) -> None:
    without.apply(sleeper("waits"))
    pods = without.until(kinds.PODS, lambda found: [p for p in found if p.status.conditions])
    (scheduled,) = (each for each in pods[0].status.conditions if each.type == "PodScheduled")
    assert scheduled.status == "False"
    assert scheduled.message.startswith("0/1 nodes are available: 1 node(s) had untolerated taint(s).")
    status = without.wherry("status", code=1).out
    assert "NOT healthy" in status
    assert f"nothing is scheduled on node-1: taint {UNINITIALIZED} waits for a cloud controller" in status
    told = without.until(
        kinds.EVENTS,
        lambda found: {e.involved_object.kind for e in found if e.reason == "NoCloudController"} == {"Node", "Pod"},
    )
    (event,) = (e for e in told if e.reason == "NoCloudController" and e.involved_object.kind == "Pod")
    assert f"node(s) node-1 wait for a cloud controller (taint {UNINITIALIZED}), and none runs" in event.message
    assert "--disable-cloud-controller" in (without.directory / "log/controllers.log").read_text()
    # What an external one does.
    addresses = [{"type": "InternalIP", "address": "172.30.0.11"}, {"type": "ExternalIP", "address": "203.0.113.9"}]
    without.kubectl("patch", "node", "node-1", "--subresource=status", "--type=merge", "-p",
                    str({"status": {"addresses": addresses}}).replace("'", '"'))  # fmt: skip
    without.kubectl("patch", "node", "node-1", "-p", '{"spec":{"providerID":"other://1"}}')
    without.kubectl("taint", "node", "node-1", f"{UNINITIALIZED}-")
    without.kubectl("wait", "--for=condition=Ready", "pod/waits", "--timeout=30s")
    node = without.get("node", "node-1")
    assert (node["spec"]["providerID"], node["status"]["addresses"]) == ("other://1", addresses)
    assert without.status()["healthy"]
