"""The ways in which things are broken, drawn at random from a seed; each can be made good again."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from tests.chaos.workload import DEPLOYMENTS, NAMESPACE, STATEFULSETS
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import Node

_PAUSE = (0.1, 1.5)
"""Seconds between two acts: some fall into the midst of what the one before set off."""
_OUTAGE = (0.5, 8.0)
"""Seconds a node stays off or cut off, on both sides of the time after which its pods are evicted."""
_SCALES = (0, 1, 2, 3, 4, 6)

_TEMPORARY = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: brief}
spec:
  replicas: 3
  selector: {matchLabels: {app: brief}}
  template:
    metadata: {labels: {app: brief}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: brief}
spec: {selector: {app: brief}, ports: [{port: 80}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: brief}
spec:
  completions: 3
  parallelism: 2
  completionMode: Indexed
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: busybox, command: ["true"]}]}
"""


class Mayhem:
    """Break a cluster for a while. ``acts`` tells what was done, for the message of a test that fails."""

    def __init__(self, cluster: Sandbox, seed: int) -> None:
        self.acts: list[str] = []
        self._cluster = cluster
        self._draw = random.Random(seed)
        self._nodes = [node.name for node in self._node_list()]
        self._amends: dict[str, tuple[float, Callable[[], object]]] = {}
        self._namespaces = 0

    def run(self, seconds: float) -> None:
        """Break things for that long, then make good what would not heal by itself."""
        ends = time.monotonic() + seconds
        deeds = [
            (6, self._delete_pod), (4, self._kill), (2, self._stop_node), (2, self._isolate_node), (2, self._scale),
            (2, self._restart), (2, self._brief_namespace), (1, self._cordon),
        ]  # fmt: skip
        weights, choices = zip(*deeds, strict=True)
        while time.monotonic() < ends:
            self._draw.choices(choices, weights)[0]()
            self._make_amends(lambda due: due < time.monotonic())
            time.sleep(self._draw.uniform(*_PAUSE))
        self._make_amends(lambda _: True)

    def _make_amends(self, which: Callable[[float], bool]) -> None:
        for node, (due, amend) in list(self._amends.items()):
            if which(due):
                del self._amends[node]
                amend()

    def _note(self, act: str) -> None:
        self.acts.append(f"{time.strftime('%H:%M:%S')} {act}")

    def _kubectl(self, *arguments: str, stdin: str = "") -> str:
        """What kubectl says; it may well fail while the API server is being restarted."""
        self._note(" ".join(arguments))
        return self._cluster.kubectl(*arguments, stdin=stdin, code=None).out

    def _delete_pod(self) -> None:
        found = self._cluster.kubectl("-n", NAMESPACE, "get", "pods", "-o", "name", code=None).out.split()
        if found:
            grace = self._draw.choice(((), ("--grace-period=1",), ("--grace-period=20",)))
            self._kubectl("-n", NAMESPACE, "delete", self._draw.choice(found), "--wait=false", *grace)

    def _kill(self) -> None:
        process = self._draw.choice([p for p in self._cluster.status()["processes"] if p["pid"]])
        self._note(f"kill -9 {process['name']}")
        with suppress(ProcessLookupError):
            os.kill(process["pid"], signal.SIGKILL)

    def _node(self) -> str:
        """A node that is well; the last one of those is left alone."""
        free = [node for node in self._nodes if node not in self._amends]
        return self._draw.choice(free) if len(free) > 1 else ""

    def _stop_node(self) -> None:
        if node := self._node():
            self._note(f"stop {node}")
            self._cluster.wherry("node stop", node)
            self._owe(node, lambda: self._cluster.wherry("node start", node))

    def _isolate_node(self) -> None:
        if node := self._node():
            self._note(f"isolate {node}")
            self._cluster.wherry("node isolate", node)
            self._owe(node, lambda: self._cluster.wherry("node rejoin", node))

    def _cordon(self) -> None:
        if node := self._node():
            self._kubectl("cordon", node)
            self._owe(node, lambda: self._cluster.kubectl("uncordon", node))

    def _owe(self, node: str, amend: Callable[[], object]) -> None:
        self._amends[node] = (time.monotonic() + self._draw.uniform(*_OUTAGE), amend)

    def _scale(self) -> None:
        kind, names = self._draw.choice((("deployment", DEPLOYMENTS), ("statefulset", STATEFULSETS)))
        replicas = self._draw.choice(_SCALES)
        self._kubectl("-n", NAMESPACE, "scale", f"{kind}/{self._draw.choice(names)}", f"--replicas={replicas}")

    def _restart(self) -> None:
        kind, names = self._draw.choice(
            (("deployment", DEPLOYMENTS), ("statefulset", STATEFULSETS), ("daemonset", ("watcher",)))
        )
        self._kubectl("-n", NAMESPACE, "rollout", "restart", f"{kind}/{self._draw.choice(names)}")

    def _brief_namespace(self) -> None:
        self._namespaces += 1
        name = f"brief-{self._namespaces}"
        self._kubectl("create", "namespace", name)
        self._kubectl("-n", name, "apply", "-f", "-", stdin=_TEMPORARY)
        self._kubectl("delete", "namespace", name, "--wait=false")

    def _node_list(self) -> list[Node]:
        return self._cluster.until(kinds.NODES, bool)
