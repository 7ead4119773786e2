"""Ports of a node that lead to a pod."""

from __future__ import annotations

import pytest

from tests.cluster import visits
from tests.cluster.manifests import pod, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube.kinds import PODS


def server(name: str, *ports: dict[str, object], node: str = "node-1") -> dict[str, object]:
    return pod(name, image="registry.example/server:1", container={"ports": list(ports)}, nodeName=node)


@pytest.fixture
def addresses(cluster: Sandbox) -> dict[str, str]:
    return {
        node["metadata"]["name"]: node["status"]["addresses"][0]["address"] for node in cluster.get("nodes")["items"]
    }


def answers(cluster: Sandbox, namespace: str, client: str, url: str) -> str:
    return str(visits.call(cluster, namespace, client, url)[0].get("pod"))


def test_a_host_port_is_reached_from_everywhere(cluster: Sandbox, namespace: str, addresses: dict[str, str]) -> None:
    cluster.apply(
        server("web", {"containerPort": 80, "hostPort": 18080}, {"containerPort": 81, "hostPort": 18081,
               "hostIP": addresses["node-1"]}, {"containerPort": 90, "hostPort": 19090, "protocol": "UDP"}),
        sleeper("same", nodeName="node-1"), sleeper("other", nodeName="node-2"),
        sleeper("host", nodeName="node-1", hostNetwork=True),
        namespace=namespace,
    )  # fmt: skip
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s")
    here = addresses["node-1"]
    for client in ("same", "other", "host"):
        assert answers(cluster, namespace, client, f"http://{here}:18080/") == "web"
    assert answers(cluster, namespace, "other", f"http://{here}:18081/") == "web"
    assert answers(cluster, namespace, "host", "http://127.0.0.1:18080/") == "web"
    assert visits.call(cluster, namespace, "other", f"udp://{here}:19090/")
    # A port taken by hand is refused by the node, and is free again once its pod is gone.
    cluster.apply(server("second", {"containerPort": 80, "hostPort": 18080}), namespace=namespace)
    cluster.until(PODS, lambda pods: any(p.status.reason == "NodePorts" for p in pods), namespace=namespace)
    status = cluster.get("-n", namespace, "pod", "second")["status"]
    assert status["phase"] == "Failed"
    assert status["message"] == (
        "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    )
    cluster.kubectl("-n", namespace, "delete", "pod", "web", "second")
    cluster.apply(server("third", {"containerPort": 80, "hostPort": 18080}), namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/third", "--timeout=30s")
    assert answers(cluster, namespace, "other", f"http://{here}:18080/") == "third"
