"""Volumes of the default class: directories on the disk of the node where the first pod that uses them runs.

As K3s' local-path provisioner does it: the volume is a `hostPath` below the node's storage directory with an affinity
to that node. The node's kubelet makes the directory when a pod first mounts it, the node's agent removes it when the
volume goes (`wherry.agent.storage`).
"""

from __future__ import annotations

from typing import Any

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller
from wherry.kube.errors import AlreadyExists, ApiError
from wherry.kube.events import EventRecorder
from wherry.kube.keys import Key
from wherry.kube.objects import Node, PersistentVolumeClaim, StorageClass
from wherry.workloads.storage import names
from wherry.workloads.storage.references import reference_to

_CLASS = {
    "metadata": {"name": names.LOCAL_PATH, "annotations": {names.DEFAULT_CLASS: "true"}},
    "provisioner": names.LOCAL_PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
}
_MODES = frozenset({"ReadWriteOnce", "ReadWriteOncePod"})


def refusal(claim: PersistentVolumeClaim, selected: str) -> str:
    """Why no local volume can be made for a claim; empty where one can."""
    if claim.spec.selector is not None:
        return "claim.Spec.Selector is not supported"
    if not set(claim.spec.access_modes) <= _MODES:
        return "NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes"
    if claim.spec.volume_mode == "Block":
        return "block volumes are not supported"
    if not selected:
        return "configuration error, no node was specified"
    return ""


def volume_of(claim: PersistentVolumeClaim, found: StorageClass, node: Node, directory: str) -> dict[str, Any]:
    """The volume that a claim gets on a node, as plain data. Pure."""
    name = f"pvc-{claim.uid}"
    hostname = node.labels.get("kubernetes.io/hostname", node.name)
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [hostname]}
    return {
        "metadata": {
            "name": name,
            "annotations": {names.PROVISIONED_BY: names.LOCAL_PROVISIONER, names.LOCAL_NODE: node.name},
            "finalizers": [names.VOLUME_PROTECTION, names.LOCAL_DATA],
        },
        "spec": {
            "capacity": {"storage": claim.spec.resources.requests.get("storage", "0")},
            "accessModes": list(claim.spec.access_modes),
            "persistentVolumeReclaimPolicy": found.reclaim_policy or "Delete",
            "storageClassName": found.name,
            "volumeMode": claim.spec.volume_mode or "Filesystem",
            "claimRef": reference_to(claim),
            "hostPath": {
                "path": f"{directory}/{name}_{claim.namespace}_{claim.name}",
                "type": "DirectoryOrCreate",
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
        },
    }


class LocalProvisioner(Controller):
    """Makes the class, once, and volumes as the binder asks for them; whatever it does may be repeated."""

    name = "local-path-provisioner"

    def __init__(self, client: Client, recorder: EventRecorder) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self.queue.add(Key("", names.LOCAL_PATH))

    async def reconcile(self, key: Key) -> None:
        """Make the default class where it is missing; one that was changed or is no longer the default stays so."""
        try:
            await self._client.create(kinds.STORAGE_CLASSES.as_dict(), _CLASS)
        except AlreadyExists:
            return

    async def provision(
        self, claim: PersistentVolumeClaim, found: StorageClass, selected: str, node: Node | None
    ) -> None:
        """Make the volume for a claim, which binding then finds set aside for it."""
        if why := refusal(claim, selected):
            self._failed(claim, found, why)
            return
        if node is None:
            # Let the scheduler choose another one.
            patch = {
                "metadata": {
                    "resourceVersion": claim.metadata.resource_version,
                    "annotations": {names.SELECTED_NODE: None},
                }
            }
            await self._client.patch(kinds.PERSISTENT_VOLUME_CLAIMS, claim.name, patch, namespace=claim.namespace)
            self._failed(claim, found, f'node "{selected}" not found')
            return
        directory = node.metadata.annotations.get(names.NODE_DIRECTORY)
        if not directory:
            self._failed(claim, found, f"node {node.name} offers no directory for local volumes")
            return
        text = f'External provisioner is provisioning volume for claim "{claim.namespace}/{claim.name}"'
        self._recorder.event(claim, "Normal", "Provisioning", text)
        volume = volume_of(claim, found, node, directory)
        try:
            await self._client.create(kinds.PERSISTENT_VOLUMES.as_dict(), volume)
        except AlreadyExists:
            return
        except ApiError as error:
            self._failed(claim, found, str(error))
            raise
        text = f"Successfully provisioned volume {volume['metadata']['name']}"
        self._recorder.event(claim, "Normal", "ProvisioningSucceeded", text)

    def _failed(self, claim: PersistentVolumeClaim, found: StorageClass, why: str) -> None:
        text = f'failed to provision volume with StorageClass "{found.name}": {why}'
        self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
