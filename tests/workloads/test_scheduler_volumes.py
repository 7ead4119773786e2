"""Claims and nodes: tables, and a volume that is bound for its first consumer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workloads.make import meta, node, of, pod
from tests.workloads.world import world
from wherry.kube import kinds
from wherry.kube.keys import Key
from wherry.kube.objects import PersistentVolume, PersistentVolumeClaim, StorageClass
from wherry.workloads.scheduler.compile import Placed, schedule
from wherry.workloads.scheduler.model import Cluster, pod_info
from wherry.workloads.scheduler.volumes import Storage
from wherry.workloads.storage.names import SELECTED_NODE


def only_on(name: str) -> dict[str, Any]:
    rule = {"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}


def claim(phase: str = "Pending", **more: Any) -> PersistentVolumeClaim:
    metadata = meta("data", "default", **more.pop("metadata", {}))
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **more}
    return of(PersistentVolumeClaim, {"metadata": metadata, "spec": spec, "status": {"phase": phase}})


def volume(**more: Any) -> PersistentVolume:
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "late", **more}
    return of(PersistentVolume, {"metadata": meta("v"), "spec": spec, "status": {"phase": "Available"}})


def storage(*objects: Any, provisioner: str = "kubernetes.io/no-provisioner", **more: Any) -> Storage:
    late = {"provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer", **more}
    classes = {"late": of(StorageClass, {"metadata": meta("late"), **late})}
    claims = {each.key: each for each in objects if isinstance(each, PersistentVolumeClaim)}
    volumes = {each.key: each for each in objects if isinstance(each, PersistentVolume)}
    return Storage(claims.get, volumes.get, lambda key: classes.get(key.name), volumes.values)


def place(there: Storage, *others: Any) -> Placed | str:
    state = Cluster()
    for name in ("a", "b"):
        state.set_node(node(name))
    for each in others:
        state.place(pod_info(each), "a")
    wanted = pod("p", volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}])
    outcome = schedule(pod_info(wanted), state, (), there)
    return outcome if isinstance(outcome, Placed) else outcome.message


NONE = "0/2 nodes are available: "
HOPELESS = (
    "no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (storage(), f'{NONE}persistentvolumeclaim "data" not found. not found'),
        (storage(claim()), f"{NONE}pod has unbound immediate PersistentVolumeClaims. not found"),
        (storage(claim(volumeName="v")), f"{NONE}pod has unbound immediate PersistentVolumeClaims. not found"),
        (
            storage(claim(metadata={"deletionTimestamp": "2023-11-14T22:13:20Z"})),
            f'{NONE}persistentvolumeclaim "data" is being deleted. not found',
        ),
        (
            storage(claim("Lost", volumeName="v")),
            f'{NONE}persistentvolumeclaim "data" bound to non-existent persistentvolume "v". not found',
        ),
        (storage(claim("Bound", volumeName="v"), volume(nodeAffinity=only_on("b"))), Placed("b")),
        (
            storage(claim("Bound", volumeName="v"), volume(nodeAffinity=only_on("z"))),
            f"{NONE}2 node(s) didn't match PersistentVolume's node affinity. {HOPELESS}",
        ),
        (
            storage(claim("Bound", volumeName="v")),
            f"{NONE}2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s). {HOPELESS}",
        ),
        (
            storage(claim(storageClassName="late")),
            f"{NONE}2 node(s) didn't find available persistent volumes to bind. {HOPELESS}",
        ),
        (
            storage(claim(storageClassName="late"), volume(nodeAffinity=only_on("b"))),
            Placed("b", ("data",)),
        ),
        (
            storage(claim(storageClassName="late", metadata={"annotations": {SELECTED_NODE: "b"}}), provisioner="x/y"),
            Placed("b", ("data",)),
        ),
        (
            storage(
                claim(storageClassName="late"),
                provisioner="x/y",
                allowedTopologies=[{"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["b"]}]}],
            ),
            Placed("b", ("data",)),
        ),
    ],
)
def test_claims_decide_with(there: Storage, expected: Placed | str) -> None:
    assert place(there) == expected


def test_a_claim_of_one_pod_serves_no_second() -> None:
    there = storage(claim("Bound", volumeName="v", accessModes=["ReadWriteOncePod"]), volume())
    user = pod("user", on="a", volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}])
    assert "ReadWriteOncePod access mode" in str(place(there, user))
    assert isinstance(place(there), Placed)


async def test_a_claim_is_bound_where_its_first_pod_runs() -> None:
    async with world() as there:
        claims = there.view(kinds.PERSISTENT_VOLUME_CLAIMS)
        for name in ("n1", "n2"):
            await there.add_node(name)
        late = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
        await there.create(kinds.STORAGE_CLASSES, "late", None, **late)
        spec = {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "local": {"path": "/data"}, "nodeAffinity": only_on("n2"),
        }  # fmt: skip
        await there.create(kinds.PERSISTENT_VOLUMES, "v", None, spec=spec)
        asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        pod_spec = {
            "containers": [{"name": "main", "image": "app"}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
        }
        key = Key("default", "user")
        await there.create(kinds.PODS, "user", spec=pod_spec)
        await there.until(lambda: (p := there.pods.get(key)) and p.status.condition("PodScheduled"))
        said = there.pods.get(key).status.condition("PodScheduled")
        assert said.message == '0/2 nodes are available: persistentvolumeclaim "data" not found. not found'
        await there.create(kinds.PERSISTENT_VOLUME_CLAIMS, "data", spec={**asked, "storageClassName": "late"})
        await there.until(lambda: there.pods.get(key).spec.node_name)
        found = claims.get(Key("default", "data"))
        assert there.pods.get(key).spec.node_name == "n2"
        assert found is not None
        assert found.metadata.annotations[SELECTED_NODE] == "n2"
        assert found.status.phase == "Bound"
