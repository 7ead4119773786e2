"""A two-node sandbox: time to ready, idle cost, pods, and what a service costs a connection."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.cluster import Cluster
from bench.report import report

STARTS = 3
PODS = 300
SINGLE_PODS = 20
IDLE_SECONDS = 20.0

#: Connects and closes, by turns straight to the pod and through the service, as the machine's load changes meanwhile;
#: prints a pair of rates for each round.
CONNECTS = """
import socket, struct, sys, time
# Closing by a reset leaves no port in TIME_WAIT; after some 14,000 of those, finding a free one takes milliseconds.
RESET = struct.pack("ii", 1, 0)
def rate(host, port):
    n, end = 0, time.monotonic() + 0.3
    while time.monotonic() < end:
        with socket.create_connection((host, port), 5) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        n += 1
    return n / 0.3
pod, service = sys.argv[1].rsplit(":", 1), sys.argv[2].rsplit(":", 1)
for _ in range(20):
    print(rate(pod[0], int(pod[1])), rate(service[0], int(service[1])))
"""


def measure() -> None:
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as home:
        cluster = Cluster(Path(home))
        try:
            _starts(cluster)
            _idle(cluster)
            _single_pods(cluster)
            _many_pods(cluster)
            _connects(cluster)
        finally:
            cluster.down()


def _starts(cluster: Cluster) -> None:
    times = []
    for attempt in range(STARTS):
        times.append(cluster.up())
        if attempt < STARTS - 1:
            cluster.down()
    report("up_two_nodes_ready", statistics.median(times), "s", target=3, runs=[round(t, 2) for t in times])


def _idle(cluster: Cluster) -> None:
    cluster.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
    before, began = cluster.cpu(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    used = cluster.cpu() - before
    report("idle_cpu", 100 * used / (time.monotonic() - began), "% of a core", target=2)
    for field in ("Pss", "Rss"):
        parts = cluster.memory(field)
        by_part = {name: round(size / (1 << 20), 1) for name, size in parts.items()}
        report(f"idle_memory_{field.lower()}", sum(parts.values()) / (1 << 20), "MB", target=250, parts=by_part)


def _pod(name: str) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": "bench.example/web:1",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _single_pods(cluster: Cluster) -> None:
    api = cluster.api()
    times = []
    for number in range(SINGLE_PODS):
        name = f"single-{number}"
        began = time.monotonic()
        api.create("/api/v1/namespaces/default/pods", _pod(name))
        for event in api.watch(
            f"/api/v1/namespaces/default/pods?watch=1&fieldSelector=metadata.name={name}", timeout=30
        ):
            if _ready(event["object"]):
                times.append(time.monotonic() - began)
                break
        else:
            raise SystemExit(f"bench: pod {name} was not Ready within 30 s")
    report("pod_create_to_ready_p50", statistics.median(times) * 1000, "ms", target=150, worst=round(max(times) * 1000))
    cluster.kubectl("delete", "pods", "--all", "--wait")


def _many_pods(cluster: Cluster) -> None:
    before = sum(cluster.memory("Pss").values())
    template = {"metadata": {"labels": {"app": "many"}}, "spec": _pod("x")["spec"]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "many"},
        "spec": {"replicas": PODS, "selector": {"matchLabels": {"app": "many"}}, "template": template},
    }
    api = cluster.api()
    began = time.monotonic()
    api.create("/apis/apps/v1/namespaces/default/deployments", deployment)
    path = "/apis/apps/v1/namespaces/default/deployments?watch=1&fieldSelector=metadata.name=many"
    for event in api.watch(path, timeout=120):
        if event["object"].get("status", {}).get("readyReplicas", 0) == PODS:
            break
    else:
        raise SystemExit(f"bench: {PODS} pods were not Ready within 120 s")
    report(f"pods_{PODS}_ready", time.monotonic() - began, "s", target=10)
    after = sum(cluster.memory("Pss").values())
    report("memory_per_stand_in_pod", (after - before) / PODS / (1 << 20), "MB", target=0.5)
    began = time.monotonic()
    cluster.kubectl("delete", "deployment", "many", "--cascade=foreground", "--timeout=120s")
    report(f"pods_{PODS}_deleted", time.monotonic() - began, "s")


def _connects(cluster: Cluster) -> None:
    server = _pod("server")
    server["metadata"]["labels"] = {"app": "server"}
    server["spec"]["nodeName"] = "node-1"
    client = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"},
        "spec": {
            "nodeName": "node-2", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "python:3", "command": ["sleep", "infinity"]}],
        },
    }  # fmt: skip
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }  # fmt: skip
    cluster.kubectl(
        "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": [server, client, service]})
    )
    cluster.kubectl("wait", "--for=condition=Ready", "pod/server", "pod/client", "--timeout=30s")
    api = cluster.api()
    pod = api.get("/api/v1/namespaces/default/pods/server")["status"]["podIP"]
    virtual = api.get("/api/v1/namespaces/default/services/server")["spec"]["clusterIP"]
    said = cluster.kubectl("exec", "client", "--", "python3", "-c", CONNECTS, f"{pod}:8080", f"{virtual}:80")
    rounds = [[float(rate) for rate in line.split()] for line in said.splitlines()]
    direct, through = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(service / straight for straight, service in rounds)
    report(
        "connect_rate_through_service",
        through,
        "connects/s",
        peer=direct,
        peer_name="pod to pod",
        ratio=round(ratio, 3),
        target_ratio=0.9,
    )


def _ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))
