"""Node ports, load balancer and external addresses, and the port that load balancers ask about health."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster import visits
from tests.cluster.manifests import pod, service, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube.kinds import ENDPOINT_SLICES
from wherry.kube.objects import EndpointSlice

EXTERNAL = "198.51.100.17"
HEALTH = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.headers["X-Load-Balancing-Endpoint-Weight"], answer.read().decode())
"""


@pytest.fixture
def addresses(cluster: Sandbox) -> dict[str, str]:
    return {
        node["metadata"]["name"]: node["status"]["addresses"][0]["address"] for node in cluster.get("nodes")["items"]
    }


@pytest.fixture
def web(cluster: Sandbox, namespace: str) -> dict[str, Any]:
    """A load balancer with policy Local, whose only pod is on node-1, and clients on both nodes."""
    front = service("web", 18443, 8080, type="LoadBalancer", externalTrafficPolicy="Local", externalIPs=[EXTERNAL])
    server = pod("web", image="registry.example/web:1", container={"ports": [{"containerPort": 8080}]},
                 nodeName="node-1")  # fmt: skip
    clients = (sleeper(f"on-{node}", nodeName=node) for node in ("node-1", "node-2"))
    cluster.apply(front, server, *clients, sleeper("host-2", nodeName="node-2", hostNetwork=True), namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/web", "pod/on-node-1", "pod/on-node-2",
                    "pod/host-2", "--timeout=30s")  # fmt: skip
    cluster.until(ENDPOINT_SLICES, _ready, namespace=namespace)
    found: dict[str, Any] = cluster.get("-n", namespace, "service", "web")["spec"]
    return found


def _ready(slices: list[EndpointSlice]) -> bool:
    return any(end.conditions.ready for one in slices for end in one.endpoints or ())


def client_seen(cluster: Sandbox, namespace: str, where: str, address: str, port: int) -> str:
    answer = visits.call(cluster, namespace, where, visits.url("http", address, port))[0]
    assert answer["pod"] == "web"
    return str(answer["client"]).rpartition(":")[0]


def health(cluster: Sandbox, namespace: str, where: str, address: str, port: int) -> tuple[int, int, Any]:
    argv = ("-n", namespace, "exec", where, "--", "python3", "-c", HEALTH, visits.url("http", address, port))
    status, weight, body = cluster.kubectl(*argv).out.split(" ", 2)
    return int(status), int(weight), json.loads(body)


def test_a_service_is_reached_by_ports_of_nodes_and_external_addresses(
    cluster: Sandbox, namespace: str, addresses: dict[str, str], web: dict[str, Any]
) -> None:
    port = web["ports"][0]["nodePort"]
    # from outside: the client's address is kept, and only the node that has the pod answers
    assert client_seen(cluster, namespace, "host-2", addresses["node-1"], port) == addresses["node-2"]
    # clients in the cluster use all endpoints, whichever node they ask
    for where in ("on-node-1", "on-node-2"):
        client_seen(cluster, namespace, where, addresses["node-1"], port)
        client_seen(cluster, namespace, where, EXTERNAL, 18443)
    client_seen(cluster, namespace, "host-2", addresses["node-2"], port)
    here = health(cluster, namespace, "on-node-2", addresses["node-1"], web["healthCheckNodePort"])
    there = health(cluster, namespace, "on-node-1", addresses["node-2"], web["healthCheckNodePort"])
    named = {"namespace": namespace, "name": "web"}
    assert here == (200, 1, {"service": named, "localEndpoints": 1, "serviceProxyHealthy": True})
    assert there == (503, 0, {"service": named, "localEndpoints": 0, "serviceProxyHealthy": True})
