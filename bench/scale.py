"""A thousand stand-in pods over three nodes: time to Ready, memory more than empty, and a list of them all."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.cluster import Cluster
from bench.report import report

NODES = 3
PODS = 1000
LISTS = 5
#: A /24 a node and 250 pods a node are the sandbox's usual sizes; a third of a thousand needs more of both.
FLAGS = (
    "--kubelet-arg=max-pods=400",
    "--kube-controller-manager-arg=node-cidr-mask-size=22",
)


def measure() -> None:
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as home:
        cluster = Cluster(Path(home))
        try:
            cluster.up(*FLAGS, nodes=NODES)
            _fill(cluster)
            _list(cluster)
            _empty(cluster)
        finally:
            cluster.down()


def _deployment() -> dict[str, Any]:
    container = {"name": "web", "image": "bench.example/web:1", "ports": [{"containerPort": 8080}]}
    template = {
        "metadata": {"labels": {"app": "many"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "many"},
        "spec": {"replicas": PODS, "selector": {"matchLabels": {"app": "many"}}, "template": template},
    }


def _fill(cluster: Cluster) -> None:
    before = {field: sum(cluster.memory(field).values()) for field in ("Rss", "Pss")}
    began = time.monotonic()
    api = cluster.api()
    api.create("/apis/apps/v1/namespaces/default/deployments", _deployment())
    cluster.kubectl("rollout", "status", "deployment/many", "--timeout=120s")
    took = time.monotonic() - began
    report("pods_1000_all_ready", took, "s", nodes=NODES, pods=PODS)
    for field, empty in before.items():
        parts = cluster.memory(field)
        by_part = {name: round(size / (1 << 20), 1) for name, size in parts.items()}
        more = (sum(parts.values()) - empty) / (1 << 20)
        report(f"pods_1000_memory_more_{field.lower()}", more, "MB", target=500, parts=by_part)


def _list(cluster: Cluster) -> None:
    times = []
    for _ in range(LISTS):
        began = time.monotonic()
        cluster.kubectl("get", "pods", "-A")
        times.append(time.monotonic() - began)
    report("pods_1000_kubectl_get_all", statistics.median(times), "s", target=1, worst=round(max(times), 3))


def _empty(cluster: Cluster) -> None:
    began = time.monotonic()
    cluster.kubectl("delete", "deployment/many", "--cascade=foreground", "--timeout=120s")
    report("pods_1000_all_deleted", time.monotonic() - began, "s")
