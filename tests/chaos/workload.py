"""What runs while everything is being broken: two StatefulSets whose members guard their identity, and company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import DaemonSet, Deployment
from wherry.workloads.kinds import STATEFUL_SETS, StatefulSet

NAMESPACE = "chaos"
STATEFULSETS = ("ordered", "parallel")
DEPLOYMENTS = ("web", "api")

#: Holds a lock of the machine for as long as the member runs; whoever finds it held is a second one of its name.
_MEMBER = """
exec 9>>/guard/$HOSTNAME.lock
if ! flock --nonblock 9; then echo "$HOSTNAME" >> /guard/twice; fi
trap 'exit 0' TERM
while :; do sleep 1 & wait $!; done
"""


def apply(cluster: Sandbox, guard: Path) -> None:
    """Make the namespace and all that runs in it; members lock files in ``guard``."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    objects = [
        _deployment("web", 6),
        _deployment("api", 3),
        _daemonset("watcher"),
        _service("web"),
        _service("ordered"),
    ]
    policies = {"ordered": "OrderedReady", "parallel": "Parallel"}
    cluster.apply(*objects, *(_statefulset(name, policies[name], guard) for name in STATEFULSETS), namespace=NAMESPACE)


def doubled(guard: Path) -> list[str]:
    """Members of a StatefulSet of which two ran at one time."""
    twice = guard / "twice"
    return sorted(set(twice.read_text().split())) if twice.exists() else []


def await_settled(cluster: Sandbox, within: float) -> None:
    """Wait until everything that runs is complete and up to date. Raises AssertionError with what is not."""
    cluster.until(kinds.NODES, lambda nodes: all(_sound(node) for node in nodes), within=within)
    cluster.until(kinds.DEPLOYMENTS, lambda all_: all(map(_deployed, all_)), namespace=NAMESPACE, within=within)
    cluster.until(STATEFUL_SETS, lambda all_: all(map(_complete, all_)), namespace=NAMESPACE, within=within)
    cluster.until(kinds.DAEMON_SETS, lambda all_: all(map(_everywhere, all_)), namespace=NAMESPACE, within=within)
    cluster.until(
        kinds.PODS, lambda pods: not any(pod.metadata.deletion_timestamp for pod in pods), within=within
    )  # fmt: skip


def _sound(node: Any) -> bool:
    return not node.spec.taints and any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)


def _deployed(deployment: Deployment) -> bool:
    status, wanted = deployment.status, deployment.spec.replicas
    current = status.observed_generation == deployment.metadata.generation
    return current and status.replicas == status.updated_replicas == status.available_replicas == wanted


def _complete(statefulset: StatefulSet) -> bool:
    status, wanted = statefulset.status, statefulset.spec.replicas
    current = status.observed_generation == statefulset.metadata.generation
    return current and status.replicas == status.updated_replicas == status.available_replicas == wanted


def _everywhere(daemonset: DaemonSet) -> bool:
    status = daemonset.status
    current = status.observed_generation == daemonset.metadata.generation
    return current and status.updated_number_scheduled == status.number_available == status.desired_number_scheduled


def _stand_in(name: str) -> dict[str, Any]:
    container = {"name": "main", "image": "example.com/server:1", "ports": [{"containerPort": 8080}]}
    return {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }


def _deployment(name: str, replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": _stand_in(name),
            "progressDeadlineSeconds": 3600,
        },
    }  # fmt: skip


def _daemonset(name: str) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": {"app": name}}, "template": _stand_in(name)}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name}, "spec": spec}


def _statefulset(name: str, policy: str, guard: Path) -> dict[str, Any]:
    container = {
        "name": "main", "image": "busybox:1.36", "command": ["sh", "-c", _MEMBER],
        "volumeMounts": [{"name": "guard", "mountPath": "/guard"}],
    }  # fmt: skip
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 2, "containers": [container],
            "volumes": [{"name": "guard", "hostPath": {"path": str(guard), "type": "Directory"}}],
        },
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
        "spec": {
            "serviceName": name, "replicas": 3, "podManagementPolicy": policy,
            "selector": {"matchLabels": {"app": name}}, "template": template,
        },
    }  # fmt: skip


def _service(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    if name in STATEFULSETS:
        spec["clusterIP"] = "None"
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
