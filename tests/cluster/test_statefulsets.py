"""Stateful sets and daemon sets as a user of kubectl sees them, also while the controllers are killed."""

from __future__ import annotations

import os
import signal
from typing import Any

from tests.cluster.manifests import deployment
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import Pod


def stateful_set(name: str, replicas: int, **spec: Any) -> dict[str, Any]:
    """A stateful set of stand-ins that end fast."""
    made = deployment(name, replicas)
    made["kind"] = "StatefulSet"
    made["spec"] |= {"serviceName": name, **spec}
    return made


def daemon_set(name: str) -> dict[str, Any]:
    made = deployment(name, 0)
    made["kind"] = "DaemonSet"
    del made["spec"]["replicas"]
    return made


def images(pods: list[Pod]) -> list[str]:
    """The images of the ready pods that stay."""
    return [(each.spec.containers or ())[0].image for each in pods if each.ready and not each.deleting]


def test_rollout_history_undo_and_restart(cluster: Sandbox, namespace: str) -> None:
    def k(*arguments: str) -> str:
        return cluster.kubectl("-n", namespace, *arguments).out

    claims = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
               "resources": {"requests": {"storage": "1Mi"}}}}]  # fmt: skip
    cluster.apply(stateful_set("web", 2), daemon_set("agent"), stateful_set("wait", 1, volumeClaimTemplates=claims),
                  namespace=namespace)  # fmt: skip
    for what in ("statefulset/web", "daemonset/agent"):
        k("rollout", "status", what, "--timeout=30s")
        k("set", "image", what, "main=registry.example/new:2")
    for what in ("statefulset/web", "daemonset/agent"):
        k("rollout", "status", what, "--timeout=30s")
        assert [line.split()[0] for line in k("rollout", "history", what).splitlines()[2:] if line] == ["1", "2"]
        assert "registry.example/new:2" in k("rollout", "history", what, "--revision=2")
        assert "already matches revision 2" in k("rollout", "undo", what, "--to-revision=2")
        k("rollout", "undo", what)
    for what in ("statefulset/web", "daemonset/agent"):
        k("rollout", "status", what, "--timeout=30s")
        assert [line.split()[0] for line in k("rollout", "history", what).splitlines()[2:] if line] == ["2", "3"]
        k("rollout", "restart", what)
    for what in ("statefulset/web", "daemonset/agent"):
        k("rollout", "status", what, "--timeout=30s")
    pod = cluster.get("-n", namespace, "pod", "web-1")
    assert pod["spec"]["containers"][0]["image"] == "registry.example/web:1"
    assert "kubectl.kubernetes.io/restartedAt" in pod["metadata"]["annotations"]
    claim = cluster.get("-n", namespace, "pvc", "data-wait-0")
    assert claim["metadata"]["labels"] == {"app": "wait"}
    assert "create Pod web-0 in StatefulSet web successful" in k("describe", "statefulset", "web")


def test_killed_controllers_lose_no_order(cluster: Sandbox, namespace: str) -> None:
    """A roll-out goes on where it was: one pod at a time, none of them twice."""
    cluster.apply(stateful_set("db", 3), namespace=namespace)
    cluster.kubectl("-n", namespace, "rollout", "status", "statefulset/db", "--timeout=30s")
    before = cluster.pid("controllers")
    cluster.kubectl("-n", namespace, "set", "image", "statefulset/db", "main=registry.example/new:2")
    missing: list[int] = []

    def killed_and_done(pods: list[Pod]) -> bool:
        there = images(pods)
        missing.append(3 - len(there))
        if before not in killed and "registry.example/new:2" in there:
            os.kill(before, signal.SIGKILL)
            killed.add(before)
        return there == ["registry.example/new:2"] * 3

    killed: set[int] = set()
    cluster.until(kinds.PODS, killed_and_done, namespace=namespace)
    assert killed
    assert max(missing) == 1
    cluster.kubectl("-n", namespace, "rollout", "status", "statefulset/db", "--timeout=30s")
    found = cluster.get("-n", namespace, "statefulset", "db")["status"]
    assert found["currentRevision"] == found["updateRevision"]
    assert found["updatedReplicas"] == found["availableReplicas"] == 3
