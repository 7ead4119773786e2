"""How pods, claims and volumes refer to each other. Pure."""

from __future__ import annotations

from typing import Any

from wherry.kube.objects import Node, PersistentVolume, PersistentVolumeClaim, Pod
from wherry.workloads.storage import names

CLAIM_INDEX = "claims"
"""Name of the index of pods by the claims they use, for :func:`claims_of`."""


def claims_of(pod: Pod) -> tuple[str, ...]:
    """Index function: ``namespace/name`` of the claims that a pod uses."""
    found = []
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            found.append(f"{pod.namespace}/{volume.persistent_volume_claim.claim_name}")
        elif volume.ephemeral is not None:
            found.append(f"{pod.namespace}/{pod.name}-{volume.name}")
    return tuple(found)


def storage_of(node: Node) -> str:
    """The directory that a node offers for local volumes, or nothing."""
    return node.metadata.annotations.get(names.NODE_DIRECTORY, "")


def reference_to(claim: PersistentVolumeClaim) -> dict[str, str]:
    """What a volume says of its claim."""
    return {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": claim.namespace,
        "name": claim.name,
        "uid": claim.uid,
        "resourceVersion": claim.metadata.resource_version,
    }


def versioned(obj: PersistentVolume | PersistentVolumeClaim, patch: dict[str, Any]) -> dict[str, Any]:
    """The patch, refused by the server where the object is no longer what was decided upon."""
    metadata = {**patch.get("metadata", {}), "resourceVersion": obj.metadata.resource_version}
    return {**patch, "metadata": metadata}
