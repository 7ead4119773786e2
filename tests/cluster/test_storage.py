"""Volumes that outlive their pods: the default class, a directory of the node, data from pod to pod, and its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cluster.manifests import sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import PersistentVolume


def claim(name: str, **spec: Any) -> dict[str, Any]:
    resources = {"requests": {"storage": "1Gi"}}
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources, **spec},
    }  # fmt: skip


def user(name: str, claimed: str, **spec: Any) -> dict[str, Any]:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": claimed}}
    mount = {"name": "data", "mountPath": "/data"}
    return sleeper(name, volumes=[volume], container={"volumeMounts": [mount]}, **spec)


def wait_ready(cluster: Sandbox, namespace: str, name: str) -> None:
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")


def test_data_stays_from_pod_to_pod_and_goes_with_its_claim(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(claim("data"), user("one", "data"), namespace=namespace)
    wait_ready(cluster, namespace, "one")
    cluster.kubectl("-n", namespace, "exec", "one", "--", "sh", "-c", "echo kept > /data/file")
    bound = cluster.get("-n", namespace, "pvc", "data")
    assert (bound["status"]["phase"], bound["spec"]["storageClassName"]) == ("Bound", "local-path")
    name = bound["spec"]["volumeName"]
    volume = cluster.get("pv", name)
    path = Path(volume["spec"]["hostPath"]["path"])
    assert (path / "file").read_text() == "kept\n"
    assert path.name == f"{name}_{namespace}_data"

    # The next pod follows the volume to its node, and finds what the first one left.
    cluster.kubectl("-n", namespace, "delete", "pod", "one", "--wait=true")
    cluster.apply(user("two", "data"), namespace=namespace)
    wait_ready(cluster, namespace, "two")
    assert cluster.kubectl("-n", namespace, "exec", "two", "--", "cat", "/data/file").out == "kept\n"

    # A claim in use stays until its pod is gone; the directory goes with the volume.
    cluster.kubectl("-n", namespace, "delete", "pvc", "data", "--wait=false")
    assert cluster.get("-n", namespace, "pvc", "data")["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    cluster.kubectl("-n", namespace, "delete", "pod", "two", "--wait=true")

    def gone(volumes: list[PersistentVolume]) -> bool:
        return not any(each.name == name for each in volumes)

    cluster.until(kinds.PERSISTENT_VOLUMES, gone)
    assert not path.exists()


def test_a_volume_of_a_path_is_bound_by_hand_and_released(cluster: Sandbox, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine\n")
    tmp_path.chmod(0o755)
    name = f"static-{namespace}"
    spec = {
        "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand",
        "hostPath": {"path": str(tmp_path)},
    }  # fmt: skip
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
    cluster.apply(volume, namespace=namespace)
    try:
        cluster.apply(
            claim("data", storageClassName="by-hand", volumeName=name), user("one", "data"), namespace=namespace
        )
        wait_ready(cluster, namespace, "one")
        assert cluster.kubectl("-n", namespace, "exec", "one", "--", "cat", "/data/file").out == "mine\n"
        cluster.kubectl("-n", namespace, "delete", "pod", "one", "--wait=true")
        cluster.kubectl("-n", namespace, "delete", "pvc", "data", "--wait=true")

        def released(volumes: list[PersistentVolume]) -> bool:
            return any(each.name == name and each.status.phase == "Released" for each in volumes)

        cluster.until(kinds.PERSISTENT_VOLUMES, released)
        assert (tmp_path / "file").read_text() == "mine\n"
    finally:
        cluster.kubectl("delete", "pv", name)
