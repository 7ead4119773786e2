"""Claims and volumes: which one a claim gets, and all phases of both with the real API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workloads.make import meta, node, of
from tests.workloads.world import World, world
from wherry.kube import kinds
from wherry.kube.errors import ApiError
from wherry.kube.keys import Key
from wherry.kube.objects import PersistentVolume, PersistentVolumeClaim, StorageClass
from wherry.workloads.storage.matching import best_match, mismatch, reachable
from wherry.workloads.storage.names import LOCAL_DATA, LOCAL_PATH, NODE_DIRECTORY, SELECTED_NODE
from wherry.workloads.storage.provision import refusal, volume_of

DIRECTORY = "/var/lib/wherry/storage"


def claim_spec(size: str = "1Gi", **more: Any) -> dict[str, Any]:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **more}


def volume_spec(size: str = "1Gi", **more: Any) -> dict[str, Any]:
    return {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "hostPath": {"path": "/srv/x"}, **more}


def claim(**spec: Any) -> PersistentVolumeClaim:
    return of(PersistentVolumeClaim, {"metadata": meta("data", "default"), "spec": claim_spec(**spec)})


def volume(
    name: str, *, phase: str = "Available", labels: dict[str, str] | None = None, **spec: Any
) -> PersistentVolume:
    metadata = meta(name, labels=labels or {})
    return of(PersistentVolume, {"metadata": metadata, "spec": volume_spec(**spec), "status": {"phase": phase}})


def affinity(*values: str) -> dict[str, Any]:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [*values]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


TAKEN = {"claimRef": {"namespace": "default", "name": "other", "uid": "u"}}
ASIDE = {"claimRef": {"namespace": "default", "name": "data"}}


@pytest.mark.parametrize(
    ("asked", "offered", "expected"),
    [
        ({}, [volume("big", size="5Gi"), volume("small", size="2Gi")], "small"),
        ({}, [volume("tiny", size="1Mi")], None),
        ({}, [volume("b"), volume("a")], "a"),
        ({}, [volume("classy", storageClassName="fast")], None),
        ({"storageClassName": "fast"}, [volume("plain"), volume("classy", storageClassName="fast")], "classy"),
        ({}, [volume("taken", **TAKEN)], None),
        ({}, [volume("small"), volume("aside", size="9Gi", **ASIDE)], "aside"),
        ({}, [volume("released", phase="Released")], None),
        ({}, [volume("block", volumeMode="Block")], None),
        ({"accessModes": ["ReadWriteMany"]}, [volume("single")], None),
        ({"selector": {"matchLabels": {"disk": "ssd"}}}, [volume("x"), volume("y", labels={"disk": "ssd"})], "y"),
    ],
)
def test_the_smallest_fitting_volume(
    asked: dict[str, Any], offered: list[PersistentVolume], expected: str | None
) -> None:
    found = best_match(claim(**asked), offered, waits=False, node=None)
    assert (found.name if found else None) == expected


def test_a_waiting_claim_gets_only_what_is_set_aside_for_it() -> None:
    offered = [volume("free"), volume("aside", **ASIDE)]
    found = best_match(claim(), offered, waits=True, node=None)
    assert found is not None
    assert found.name == "aside"
    assert best_match(claim(), offered[:1], waits=True, node=None) is None


def test_a_volume_must_be_reachable_from_the_chosen_node() -> None:
    here, there = volume("here", nodeAffinity=affinity("a")), volume("there", nodeAffinity=affinity("b"))
    chosen = node("a", labels={"kubernetes.io/hostname": "a"})
    found = best_match(claim(), [there, here], waits=False, node=chosen)
    assert found is here
    assert not reachable(there, chosen)


def test_why_a_named_volume_does_not_fit() -> None:
    assert mismatch(volume("v"), claim()) == ""
    assert mismatch(volume("v", size="1Mi"), claim()) == "requested PV is too small"
    assert mismatch(volume("v", storageClassName="x"), claim()) == "storageClassName does not match"
    assert mismatch(volume("v", volumeMode="Block"), claim()) == "incompatible volumeMode"
    assert mismatch(volume("v"), claim(accessModes=["ReadWriteMany"])) == "incompatible accessMode"


def test_a_local_volume_lies_on_its_node() -> None:
    found = of(StorageClass, {"metadata": meta(LOCAL_PATH), "provisioner": "p", "reclaimPolicy": "Retain"})
    made = volume_of(claim(), found, node("n", labels={"kubernetes.io/hostname": "host-n"}), DIRECTORY)
    assert made["spec"]["hostPath"]["path"] == f"{DIRECTORY}/pvc-uid-data_default_data"
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert made["spec"]["nodeAffinity"] == affinity("host-n")
    assert LOCAL_DATA in made["metadata"]["finalizers"]
    assert refusal(claim(), "n") == ""
    assert "no node was specified" in refusal(claim(), "")
    assert "access modes" in refusal(claim(accessModes=["ReadWriteMany"]), "n")


class Storage:
    """Claims and volumes of a world."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.claims = w.view(kinds.PERSISTENT_VOLUME_CLAIMS)
        self.volumes = w.view(kinds.PERSISTENT_VOLUMES)
        self.classes = w.view(kinds.STORAGE_CLASSES)

    async def claim(self, name: str, **spec: Any) -> None:
        await self.w.create(kinds.PERSISTENT_VOLUME_CLAIMS, name, spec=claim_spec(**spec))

    async def volume(self, name: str, **spec: Any) -> None:
        await self.w.create(kinds.PERSISTENT_VOLUMES, name, None, spec=volume_spec(**spec))

    def phase(self, name: str) -> tuple[str, str]:
        found: PersistentVolumeClaim | None = self.claims.get(Key("default", name))
        return (found.status.phase, found.spec.volume_name) if found else ("", "")

    def state(self, name: str) -> str:
        found: PersistentVolume | None = self.volumes.get(Key("", name))
        return found.status.phase if found else ""


async def test_static_volumes_from_binding_to_release() -> None:
    async with world() as w:
        s = Storage(w)
        await s.volume("small", size="2Gi")
        await s.volume("large", size="9Gi")
        await s.volume("doomed", size="3Gi", storageClassName="x", persistentVolumeReclaimPolicy="Delete")
        await s.claim("data", storageClassName="")
        await s.claim("named", storageClassName="", volumeName="large")
        await s.claim("greedy", storageClassName="", volumeName="small")
        await s.claim("poor", storageClassName="", size="99Gi")
        await s.claim("x", storageClassName="x")
        await w.until(lambda: s.phase("data") == ("Bound", "small"))
        await w.until(lambda: s.phase("named") == ("Bound", "large"))
        await w.until(lambda: s.phase("x") == ("Bound", "doomed"))
        await w.until(lambda: {"FailedBinding"} <= w.reasons("poor") & w.reasons("greedy"))
        assert (s.phase("poor"), s.phase("greedy")) == (("Pending", ""), ("Pending", "small"))
        bound = s.claims.get(Key("default", "data"))
        assert bound.status.capacity == {"storage": "2Gi"}

        # A bound volume stays until its claim has gone; the claim goes, as no pod uses it.
        await w.client.delete(kinds.PERSISTENT_VOLUMES, "large")
        await w.until(lambda: s.volumes.get(Key("", "large")).deleting)
        for name in ("data", "named", "x"):
            await w.client.delete(kinds.PERSISTENT_VOLUME_CLAIMS, name, namespace="default")
        await w.until(lambda: s.volumes.get(Key("", "large")) is None)
        # `greedy` was waiting for the volume by name, which is not given to it with the old data on it.
        await w.until(lambda: s.state("small") == "Released")
        await w.until(lambda: s.state("doomed") == "Failed")
        await w.until(lambda: "VolumeFailedDelete" in w.reasons("doomed"))


async def test_a_local_volume_from_its_first_consumer_to_its_end() -> None:
    async with world() as w:
        s = Storage(w)
        await w.add_node("a")
        annotation = {"metadata": {"annotations": {NODE_DIRECTORY: DIRECTORY}}}
        await w.client.patch(kinds.NODES, "a", annotation)
        await w.until(lambda: s.classes.get(Key("", LOCAL_PATH)))
        await s.claim("data")
        await w.until(lambda: "WaitForFirstConsumer" in w.reasons("data"))
        assert s.claims.get(Key("default", "data")).spec.storage_class_name == LOCAL_PATH
        selected = {"metadata": {"annotations": {SELECTED_NODE: "a"}}}
        await w.client.patch(kinds.PERSISTENT_VOLUME_CLAIMS, "data", selected, namespace="default")
        await w.until(lambda: s.phase("data")[0] == "Bound")
        made: PersistentVolume = s.volumes.list()[0]
        assert made.spec.host_path is not None
        assert made.spec.host_path.path.startswith(f"{DIRECTORY}/pvc-")
        assert (made.status.phase, made.spec.persistent_volume_reclaim_policy) == ("Bound", "Delete")
        await w.until(lambda: {"ExternalProvisioning", "Provisioning", "ProvisioningSucceeded"} <= w.reasons("data"))

        # Placed pods hold their claims back; the volume then waits for its node to remove what it holds.
        mount = {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}
        spec = {"containers": [{"name": "main", "image": "x"}], "volumes": [mount], "nodeName": "a"}
        await w.create(kinds.PODS, "user", spec=spec)
        await w.until(lambda: w.pods.get(Key("default", "user")).ready)
        await w.client.delete(kinds.PERSISTENT_VOLUME_CLAIMS, "data", namespace="default")
        await w.until(lambda: s.claims.get(Key("default", "data")).deleting)
        await w.client.delete(kinds.PODS, "user", namespace="default")
        await w.until(lambda: not s.claims.list())
        await w.until(lambda: [one.metadata.finalizers for one in s.volumes.list()] == [(LOCAL_DATA,)])
        # The disk is gone with its node: nobody is waited for.
        await w.client.delete(kinds.NODES, "a")
        await w.until(lambda: not s.volumes.list())


async def test_a_claim_that_loses_its_volume_says_so() -> None:
    async with world() as w:
        s = Storage(w)
        await s.volume("v")
        await s.claim("data", storageClassName="")
        await w.until(lambda: s.phase("data") == ("Bound", "v"))
        await w.client.delete(kinds.PERSISTENT_VOLUMES, "v")
        await w.client.patch(kinds.PERSISTENT_VOLUMES, "v", {"metadata": {"finalizers": None}})
        await w.until(lambda: s.phase("data")[0] == "Lost")
        await w.until(lambda: "ClaimLost" in w.reasons("data"))


async def test_ephemeral_volumes_have_claims_that_go_with_their_pod() -> None:
    async with world() as w:
        s = Storage(w)
        source = {"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": claim_spec(storageClassName="")}}
        spec = {"containers": [{"name": "main", "image": "x"}], "volumes": [{"name": "scratch", "ephemeral": source}]}
        await w.create(kinds.PODS, "user", spec=spec)
        await w.until(lambda: s.claims.get(Key("default", "user-scratch")))
        made: PersistentVolumeClaim = s.claims.list()[0]
        assert made.labels == {"a": "b"}
        assert made.metadata.controller is not None
        await w.client.delete(kinds.PODS, "user", namespace="default")
        await w.until(lambda: not s.claims.list())


async def test_a_claim_grows_only_where_its_class_allows_it() -> None:
    async with world() as w:
        s = Storage(w)
        await s.volume("v")
        await s.claim("data", storageClassName="")
        await w.until(lambda: s.phase("data")[0] == "Bound")
        larger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        with pytest.raises(ApiError, match="only dynamically provisioned pvc can be resized"):
            await w.client.patch(kinds.PERSISTENT_VOLUME_CLAIMS, "data", larger, namespace="default")
