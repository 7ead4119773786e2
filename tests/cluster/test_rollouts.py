"""Rollouts of deployments as `kubectl rollout` drives and shows them."""

from __future__ import annotations

from typing import Any

from tests.cluster.manifests import deployment
from tests.cluster.sandbox import Sandbox
from wherry.kube.kinds import Kind
from wherry.kube.objects import Deployment

DEPLOYMENTS = Kind("apps", "v1", "Deployment", "deployments", True, Deployment)


def conditions(cluster: Sandbox, namespace: str, name: str) -> dict[str, tuple[str, str, str]]:
    status = cluster.get("-n", namespace, "deployment", name)["status"]
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in status["conditions"]}


def images(cluster: Sandbox, namespace: str, name: str) -> dict[str, int]:
    """Pods asked for by image, over all replica sets of a deployment that have any."""
    sets = cluster.get("-n", namespace, "replicasets", "-l", f"app={name}")["items"]
    return {
        each["spec"]["template"]["spec"]["containers"][0]["image"]: each["spec"]["replicas"]
        for each in sets
        if each["spec"]["replicas"]
    }


def test_rollout_commands(cluster: Sandbox, namespace: str) -> None:
    def rollout(*arguments: str, code: int | None = 0) -> str:
        said = cluster.kubectl("-n", namespace, "rollout", *arguments, code=code)
        return said.out + said.err

    def settled() -> None:
        assert 'deployment "web" successfully rolled out' in rollout("status", "deploy/web", "--timeout=30s")

    cluster.apply(deployment("web", 2), namespace=namespace)
    cluster.kubectl("-n", namespace, "annotate", "deploy/web", "kubernetes.io/change-cause=first")
    settled()
    assert conditions(cluster, namespace, "web") == {
        "Available": ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        "Progressing": ("True", "NewReplicaSetAvailable",
                        f'ReplicaSet "{current(cluster, namespace)}" has successfully progressed.'),
    }  # fmt: skip

    cluster.kubectl("-n", namespace, "set", "image", "deploy/web", "main=registry.example/web:2")
    cluster.kubectl("-n", namespace, "annotate", "--overwrite", "deploy/web", "kubernetes.io/change-cause=second")
    settled()
    assert images(cluster, namespace, "web") == {"registry.example/web:2": 2}
    history = rollout("history", "deploy/web")
    assert [line.split() for line in history.splitlines()[1:4]] == [
        ["REVISION", "CHANGE-CAUSE"],
        ["1", "first"],
        ["2", "second"],
    ]
    assert "registry.example/web:1" in rollout("history", "deploy/web", "--revision=1")

    # Undone, the first template is the newest revision, with its own cause.
    rollout("undo", "deploy/web")
    settled()
    assert images(cluster, namespace, "web") == {"registry.example/web:1": 2}
    assert [line.split() for line in rollout("history", "deploy/web").splitlines()[2:4]] == [
        ["2", "second"],
        ["3", "first"],
    ]
    rollout("undo", "deploy/web", "--to-revision=2")
    settled()
    assert images(cluster, namespace, "web") == {"registry.example/web:2": 2}
    assert "unable to find specified revision 7" in rollout("undo", "deploy/web", "--to-revision=7", code=1)

    # Paused, it scales but does not roll; resumed, it does.
    rollout("pause", "deploy/web")
    cluster.kubectl("-n", namespace, "set", "image", "deploy/web", "main=registry.example/web:3")
    cluster.kubectl("-n", namespace, "scale", "deploy/web", "--replicas=3")
    cluster.until(DEPLOYMENTS, lambda found: [each for each in found if each.status.ready_replicas == 3],
                  namespace=namespace)  # fmt: skip
    assert images(cluster, namespace, "web") == {"registry.example/web:2": 3}
    assert conditions(cluster, namespace, "web")["Progressing"] == (
        "Unknown",
        "DeploymentPaused",
        "Deployment is paused",
    )
    rollout("resume", "deploy/web")
    settled()
    assert images(cluster, namespace, "web") == {"registry.example/web:3": 3}

    before = {each["metadata"]["uid"] for each in pods(cluster, namespace)}
    rollout("restart", "deploy/web")
    settled()
    assert not before & {each["metadata"]["uid"] for each in pods(cluster, namespace) if not ending(each)}
    events = cluster.kubectl("-n", namespace, "get", "events", "--field-selector=reason=ScalingReplicaSet").out
    assert f"Scaled up replica set {current(cluster, namespace)} from 0 to 1" in events


def test_rollouts_that_do_not_succeed(cluster: Sandbox, namespace: str) -> None:
    never = {"readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1}, "image": "busybox:1.37",
             "command": ["sleep", "infinity"]}  # fmt: skip
    stuck = deployment("stuck", 2, container=never)
    stuck["spec"]["progressDeadlineSeconds"] = 2
    recreate = deployment("fresh", 2)
    recreate["spec"]["strategy"] = {"type": "Recreate"}
    refused = deployment("refused", 1, serviceAccountName="nobody")
    cluster.apply(recreate, stuck, refused, namespace=namespace)

    said = cluster.kubectl("-n", namespace, "rollout", "status", "deploy/stuck", code=1).err
    assert 'deployment "stuck" exceeded its progress deadline' in said
    found = conditions(cluster, namespace, "stuck")
    assert found["Available"][:2] == ("False", "MinimumReplicasUnavailable")
    (name,) = [each["metadata"]["name"] for each in replica_sets(cluster, namespace, "stuck")]
    assert found["Progressing"] == (
        "False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.'
    )  # fmt: skip

    failure = conditions(cluster, namespace, "refused")["ReplicaFailure"]
    assert failure[:2] == ("True", "FailedCreate")
    assert "error looking up service account" in failure[2]

    cluster.kubectl("-n", namespace, "rollout", "status", "deploy/fresh", "--timeout=30s")
    old = {each["metadata"]["uid"] for each in pods(cluster, namespace, "fresh")}
    cluster.kubectl("-n", namespace, "set", "image", "deploy/fresh", "main=registry.example/fresh:2")
    cluster.kubectl("-n", namespace, "rollout", "status", "deploy/fresh", "--timeout=30s")
    now = {each["metadata"]["uid"] for each in pods(cluster, namespace, "fresh")}
    assert len(now) == 2
    assert not now & old, "none of the old pods was left when the new ones were made"


def replica_sets(cluster: Sandbox, namespace: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("-n", namespace, "replicasets", "-l", f"app={name}")["items"]
    return found


def current(cluster: Sandbox, namespace: str) -> str:
    """The name of the one replica set of `web` that has pods."""
    (name,) = [each["metadata"]["name"] for each in replica_sets(cluster, namespace, "web") if each["spec"]["replicas"]]
    return str(name)


def pods(cluster: Sandbox, namespace: str, name: str = "web") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("-n", namespace, "pods", "-l", f"app={name}")["items"]
    return found


def ending(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]
