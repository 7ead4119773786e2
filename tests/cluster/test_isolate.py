"""Network partitions made by `wherry node isolate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import visits
from tests.cluster.manifests import deployment, service, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import Node, Pod

CALL = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1).close()"


@pytest.fixture
def split(home: Path) -> Iterator[Sandbox]:
    """A cluster of its own that finds a silent node in three seconds, so that the shared one's nodes stay sound."""
    sandbox = Sandbox(home, "split")
    sandbox.up(
        "--nodes", "3", "--kube-controller-manager-arg", "node-monitor-grace-period=3s",
        "--kubelet-arg", "node-lease-renew-interval=1s",
    )  # fmt: skip
    yield sandbox
    sandbox.wherry("down")


def status_of(sandbox: Sandbox, node: str) -> dict[str, object]:
    return next(each for each in sandbox.status()["nodes"] if each["name"] == node)


def ready(node: Node) -> str:
    condition = node.status.condition("Ready")
    return condition.status if condition else ""


def wait_ready(sandbox: Sandbox, name: str, status: str) -> None:
    sandbox.until(kinds.NODES, lambda nodes: [each for each in nodes if each.name == name and ready(each) == status])


def reaches(sandbox: Sandbox, node: str, address: str, port: int) -> bool:
    """Whether a connection from a node to an address comes about within a second."""
    said = sandbox.wherry("node exec", node, "--", "python3", "-c", CALL, address, str(port), code=None)
    assert said.code in (0, 1), said
    return said.code == 0


def test_an_isolated_node_loses_its_pods_and_is_taken_back(split: Sandbox) -> None:
    address = {each["name"]: each["addresses"] for each in split.status()["nodes"]}
    kubelet, api = 10250, ("172.30.0.1", 6443)
    soon = [{"key": f"node.kubernetes.io/{trouble}", "operator": "Exists", "effect": "NoExecute",
             "tolerationSeconds": 1} for trouble in ("unreachable", "not-ready")]  # fmt: skip
    prefer = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "preference": {"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-3"]}]}}]}}  # fmt: skip
    split.apply(
        deployment("app", 1, affinity=prefer, tolerations=soon), service("app", 80, 8080),
        sleeper("near", nodeName="node-3", tolerations=[{"operator": "Exists"}]), sleeper("far", nodeName="node-1"),
    )  # fmt: skip
    split.kubectl("rollout", "status", "deploy/app", "--timeout=30s")
    split.kubectl("wait", "--for=condition=Ready", "pod/near", "pod/far", "--timeout=30s")
    (first,) = split.get("pods", "-l", "app=app")["items"]
    assert first["spec"]["nodeName"] == "node-3"
    target = first["status"]["podIP"]
    assert reaches(split, "node-3", *api)
    assert reaches(split, "node-1", address["node-3"][1], kubelet)

    # From one other node: only that one does not get through, in neither direction, nor do its pods.
    assert split.wherry("node isolate", "node-3", "--from", "node-1").out == "node node-3 isolated from node-1\n"
    assert not reaches(split, "node-1", address["node-3"][0], kubelet)
    assert not reaches(split, "node-3", address["node-1"][1], kubelet)
    assert not reaches(split, "node-1", target, 8080)
    assert reaches(split, "node-2", address["node-3"][0], kubelet)
    assert reaches(split, "node-3", *api)
    assert status_of(split, "node-1")["isolatedFrom"] == ["node-3"]

    # From everything, twice: the second time changes nothing.
    for _ in range(2):
        split.wherry("node isolate", "node-3")
    assert not reaches(split, "node-3", *api)
    assert not reaches(split, "node-2", address["node-3"][0], kubelet)
    assert reaches(split, "node-3", target, 8080), "what is on the node itself goes on"
    assert "isolated from control-plane,nodes" in split.wherry("node ls").out
    assert "Ready,isolated-from:control-plane,nodes" in split.wherry("status").out
    wait_ready(split, "node-3", "Unknown")

    def moved(pods: list[Pod]) -> list[Pod]:
        return [each for each in pods if each.labels["app"] == "app" and each.ready and each.spec.node_name != "node-3"]

    split.until(kinds.PODS, moved, namespace="default")
    service_ip = split.get("service", "app")["spec"]["clusterIP"]
    assert len(visits.call(split, "default", "far", f"http://{service_ip}/", 3)) == 3

    # Healed: the node is ready, the pod that was replaced ends there, the one that stayed never noticed.
    split.wherry("node rejoin", "node-3")
    wait_ready(split, "node-3", "True")
    split.until(kinds.PODS, lambda pods: not [each for each in pods if each.uid == first["metadata"]["uid"]])
    split.until(kinds.NODES, lambda nodes: not [each for each in nodes if each.spec.taints])
    assert reaches(split, "node-1", address["node-3"][0], kubelet)
    assert status_of(split, "node-3")["isolatedFrom"] == []
    assert split.get("pod", "near")["status"]["containerStatuses"][0]["restartCount"] == 0
    assert len(visits.call(split, "default", "near", f"http://{service_ip}/", 3)) == 3

    # Only from the control plane: it counts as lost while its pods are reached as before.
    split.wherry("node isolate", "node-3", "--from", "control-plane")
    assert not reaches(split, "node-3", *api)
    assert reaches(split, "node-3", address["node-2"][0], kubelet)
    split.wherry("node rejoin", "node-3")
    assert reaches(split, "node-3", *api)


def test_what_cannot_be_isolated(cluster: Sandbox) -> None:
    said = cluster.wherry("node isolate", "node-1", "--from", "nobody", code=1).err
    assert "there is no node 'nobody'; nodes: node-1, node-2" in said
    assert "node node-1 cannot be cut from itself" in cluster.wherry(
        "node isolate", "node-1", "--from", "node-1", code=1
    ).err  # fmt: skip
    assert "means a part of the cluster" in cluster.wherry("node add", "nodes", code=1).err
    assert status_of(cluster, "node-1")["isolatedFrom"] == []
