"""Volumes behind claims, volumes of a set size, and volumes that belong to a group."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wherry.kernel import netns
from wherry.kube.kinds import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from wherry.kube.objects import EmptyDirVolume, Pod
from wherry.kube.objects.storage import PersistentVolume, PersistentVolumeClaim
from wherry.pods.sources import Reference, Sources, pod_references
from wherry.pods.testing.node import Node, container
from wherry.pods.testing.node import pod as pod_json
from wherry.pods.volumes import atomic, claims, ownership
from wherry.pods.volumes.manager import make_empty, open_beneath, remove_tree
from wherry.pods.volumes.payload import File, MountError

UNMOUNTED = (
    "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: "
    "error processing PVC default/data: "
)


def pod(**source: Any) -> Pod:
    found = pod_json(volumes=[{"name": "v", **(source or {"persistentVolumeClaim": {"claimName": "data"}})}])
    found["metadata"]["uid"] = "u-1"
    return msgspec.convert(found, Pod)


def claim(name: str = "data", *, phase: str = "Bound", **metadata: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", "uid": "c-1", **metadata}
    return {"metadata": meta, "spec": {"volumeName": "pv-1"}, "status": {"phase": phase}}


def volume(path: str, *, uid: str = "c-1", kind: str = "hostPath", **fields: Any) -> dict[str, Any]:
    spec = {kind: {"path": path, **fields}, "claimRef": {"uid": uid}}
    return {"metadata": {"name": "pv-1"}, "spec": spec, "status": {"phase": "Bound"}}


def sources(claim_: dict[str, Any] | None, volume_: dict[str, Any] | None) -> Sources:
    return Sources(
        claims={} if claim_ is None else {claim_["metadata"]["name"]: msgspec.convert(claim_, PersistentVolumeClaim)},
        volumes={} if volume_ is None else {"pv-1": msgspec.convert(volume_, PersistentVolume)},
    )


def test_a_claim_leads_to_a_path() -> None:
    known = sources(claim(), volume("/data"))
    subject = pod()
    assert pod_references(subject) == {Reference("PersistentVolumeClaim", "data")}
    assert Reference("PersistentVolume", "pv-1") in pod_references(subject, known)
    assert claims.node_path(claims.persistent_volume(subject, subject.spec.volumes[0], known)).path == "/data"


@pytest.mark.parametrize(
    ("claim_", "volume_", "text"),
    [
        (None, None, 'failed to fetch PVC from API server: persistentvolumeclaims "data" not found'),
        (claim(phase="Pending"), None, "PVC is not bound"),
        (claim(deletionTimestamp="2026-01-01T00:00:00Z"), None, "PVC is being deleted"),
        (claim(), None, 'failed to fetch PV pv-1 from API server: persistentvolumes "pv-1" not found'),
        (
            claim(),
            volume("/d", uid="other"),
            "PVC default/data is bound to PV pv-1, but PV doesn't refer to it",
        ),
    ],
)
def test_a_claim_that_leads_nowhere_says_why(
    claim_: dict[str, Any] | None, volume_: dict[str, Any] | None, text: str
) -> None:
    subject = pod()
    with pytest.raises(MountError) as raised:
        claims.persistent_volume(subject, subject.spec.volumes[0], sources(claim_, volume_))
    assert str(raised.value) == UNMOUNTED + text


def test_an_ephemeral_volume_takes_only_a_claim_of_its_own() -> None:
    subject = pod(ephemeral={})
    foreign = sources(claim("web-v"), volume("/data"))
    with pytest.raises(MountError, match="was not created for pod default/web"):
        claims.persistent_volume(subject, subject.spec.volumes[0], foreign)
    owner = {"kind": "Pod", "name": "web", "uid": "u-1", "controller": True}
    own = sources(claim("web-v", ownerReferences=[owner]), volume("/data"))
    assert claims.persistent_volume(subject, subject.spec.volumes[0], own).name == "pv-1"


async def test_a_pod_waits_for_its_claim_and_is_told(node: Node) -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    async with node.running():
        node.put(
            pod_json(containers=[container(image="busybox", command=["sleep"], volumeMounts=mounts)], volumes=volumes)
        )
        assert "persistentvolumeclaims" in await node.until_event("FailedMount")
        path = node.directory / "storage" / "one"
        made = node.server.put(PERSISTENT_VOLUME_CLAIMS.as_dict(), claim())
        uid = made["metadata"]["uid"]
        node.server.put(PERSISTENT_VOLUMES.as_dict(), volume(str(path), uid=uid, type="DirectoryOrCreate"))
        await node.until_ready()
        assert node.runtime.running()["web"].mounts[-1].source == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o777


@pytest.mark.netns
def test_a_volume_in_memory_has_its_size_and_goes(tmp_path: Path) -> None:
    root = tmp_path / "u-1"
    make_empty(root / "v", EmptyDirVolume(medium="Memory", size_limit="64Ki"), None)
    with pytest.raises(OSError, match="No space left"):
        (root / "v" / "big").write_bytes(b"x" * (1 << 20))
    remove_tree(root)
    assert not root.exists()


@pytest.mark.skipif(os.geteuid() != 0 or netns.in_user_namespace(), reason="there are no other groups here")
def test_a_group_owns_what_it_is_given(tmp_path: Path) -> None:
    atomic.write(tmp_path / "c", {"key": File(b"1", 0o400)}, group=2000)
    assert not atomic.write(tmp_path / "c", {"key": File(b"1", 0o400)}, group=2000)
    found = (tmp_path / "c" / "key").stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (2000, 0o440)
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "sub" / "f").write_text("1")
    ownership.give(tmp_path / "d", 2000, always=False)
    assert (tmp_path / "d" / "sub" / "f").stat().st_gid == 2000
    (tmp_path / "d" / "late").touch()
    ownership.give(tmp_path / "d", 2000, always=False)
    assert (tmp_path / "d" / "late").stat().st_gid == 2000  # by the directory's setgid bit


def test_a_file_of_a_volume_is_read_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"A='1'")
    with open_beneath(tmp_path, "d/f") as file:
        assert file.read() == b"A='1'"
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "out").symlink_to("/etc")
    for path in ("link", "out/passwd", "d/../../x", "d/none"):
        with pytest.raises(OSError, match=path.split("/")[0]):
            open_beneath(tmp_path, path)
