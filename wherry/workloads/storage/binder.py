"""Binds claims to volumes, follows both through their phases, and keeps what is in use.

One controller works on both kinds: a key without a namespace is a volume, one with a namespace a claim. It has one
worker, and each of its writes carries the version it was decided upon: what rested on an outdated copy fails with a
conflict and is decided anew.

A binding has four steps, each of which can be the last before a crash: the volume's reference to the claim, the
volume's phase, the claim's reference to the volume, the claim's phase. Whoever finds it unfinished goes on.
"""

from __future__ import annotations

from typing import Any

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller
from wherry.kube.errors import NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import (
    Node,
    ObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    StorageClass,
)
from wherry.workloads.storage import names
from wherry.workloads.storage.matching import best_match, class_of, is_for, mismatch
from wherry.workloads.storage.provision import LocalProvisioner
from wherry.workloads.storage.references import CLAIM_INDEX, claims_of, reference_to, storage_of, versioned

_WAITING = "waiting for first consumer to be created before binding"
_NOTHING = "no persistent volumes available for this claim and no storage class is set"
_NO_REFERENCE = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
_NO_VOLUME = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
_MISBOUND = "Two claims are bound to the same volume, this one is bound incorrectly"


class VolumeBinder(Controller):
    """See the module; ``local`` makes volumes of the default class, None where that is disabled."""

    name = "persistentvolume-binder"

    def __init__(
        self, client: Client, informers: Informers, recorder: EventRecorder, *, local: LocalProvisioner | None
    ) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self._local = local
        self._volumes = informers.informer(kinds.PERSISTENT_VOLUMES)
        self._claims = informers.informer(kinds.PERSISTENT_VOLUME_CLAIMS)
        self._classes = informers.informer(kinds.STORAGE_CLASSES)
        self._pods = informers.informer(kinds.PODS)
        self._nodes = informers.informer(kinds.NODES)
        self._pods.add_index(CLAIM_INDEX, claims_of)
        self._claims.add_handler(self._on_claim)
        self._volumes.add_handler(self._on_volume)
        self._classes.add_handler(self._on_class)
        self._pods.add_handler(self._on_pod)
        self._nodes.add_handler(self._on_node)

    async def prepare(self) -> None:
        """Wait until everything a decision rests on is there."""
        for informer in (self._volumes, self._claims, self._classes, self._pods, self._nodes):
            await informer.synced()

    # -- what concerns whom ----------------------------------------------------------------------------------------

    def _on_claim(self, old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None) -> None:
        self.enqueue(old, new)
        if old is not None and old.spec.volume_name and new is None:
            self.queue.add(Key("", old.spec.volume_name))

    def _on_volume(self, old: PersistentVolume | None, new: PersistentVolume | None) -> None:
        for volume in (old, new):
            if volume is None:
                continue
            self.queue.add(volume.key)
            if volume.spec.claim_ref is not None:
                self.queue.add(Key(volume.spec.claim_ref.namespace, volume.spec.claim_ref.name))
        if new is not None and (new.spec.claim_ref is None or old is None):
            self._queue_unbound(class_of(new))
        gone = (new or old).name if (new or old) else ""  # type: ignore[union-attr]  # one of them is there
        for claim in self._claims.list():
            if claim.spec.volume_name == gone and (old is None or new is None):
                self.queue.add(claim.key)

    def _on_class(self, old: StorageClass | None, new: StorageClass | None) -> None:
        if new is not None:
            self._queue_unbound(new.name)

    def _on_pod(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        if pod is not None and pod.spec.volumes:
            for text in claims_of(pod):
                key = Key(*text.split("/", 1))
                claim = self._claims.get(key)
                if claim is not None and (claim.deleting or claim.status.phase != "Bound"):
                    self.queue.add(key)

    def _on_node(self, old: Node | None, new: Node | None) -> None:
        node = new or old
        if node is None or (old is not None and new is not None and storage_of(old) == storage_of(new)):
            return
        for claim in self._claims.list():
            if claim.metadata.annotations.get(names.SELECTED_NODE) == node.name and not claim.spec.volume_name:
                self.queue.add(claim.key)
        for volume in self._volumes.list():
            if volume.deleting and volume.metadata.annotations.get(names.LOCAL_NODE) == node.name:
                self.queue.add(volume.key)

    def _queue_unbound(self, class_name: str) -> None:
        for claim in self._claims.list():
            if claim.status.phase != "Bound" and class_of(claim) == class_name:
                self.queue.add(claim.key)

    async def reconcile(self, key: Key) -> None:
        """Bring one claim or volume a step on."""
        if key.namespace:
            claim = self._claims.get(key)
            if claim is not None:
                await self._claim(claim)
            return
        volume = self._volumes.get(key)
        if volume is not None:
            await self._volume(volume)

    # -- claims ----------------------------------------------------------------------------------------------------

    async def _claim(self, claim: PersistentVolumeClaim) -> None:
        if claim.deleting:
            if names.CLAIM_PROTECTION in claim.metadata.finalizers and not await self._used(claim):
                await self._drop_finalizer(kinds.PERSISTENT_VOLUME_CLAIMS, claim, names.CLAIM_PROTECTION)
            return
        if names.BIND_COMPLETED in claim.metadata.annotations:
            await self._bound(claim)
        elif claim.spec.volume_name:
            await self._asked(claim)
        else:
            await self._unbound(claim)

    async def _used(self, claim: PersistentVolumeClaim) -> bool:
        """Whether a pod that was placed uses the claim; asked twice, as the copy may be behind."""
        text = f"{claim.namespace}/{claim.name}"
        if any(pod.spec.node_name for pod in self._pods.by_index(CLAIM_INDEX, text)):
            return True
        there = await self._client.list(kinds.PODS, namespace=claim.namespace)
        return any(pod.spec.node_name and text in claims_of(pod) for pod in there.items)

    async def _unbound(self, claim: PersistentVolumeClaim) -> None:
        name = class_of(claim)
        found = self._classes.get(Key("", name)) if name else None
        late = found is not None and found.volume_binding_mode == "WaitForFirstConsumer"
        selected = claim.metadata.annotations.get(names.SELECTED_NODE, "")
        node = self._nodes.get(Key("", selected)) if late and selected else None
        volume = best_match(claim, self._volumes.list(), waits=late and not selected, node=node)
        if volume is not None:
            await self._bind(volume, claim)
            return
        await self._claim_phase(claim, "Pending")
        if late and not selected:
            self._say_waiting(claim)
        elif not name:
            self._recorder.event(claim, "Normal", "FailedBinding", _NOTHING)
        elif found is None:
            text = f'storageclass.storage.k8s.io "{name}" not found'
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
        else:
            await self._provision(claim, found, selected)

    def _say_waiting(self, claim: PersistentVolumeClaim) -> None:
        pods = self._pods.by_index(CLAIM_INDEX, f"{claim.namespace}/{claim.name}")
        waiting = sorted(pod.name for pod in pods if not pod.spec.node_name and not pod.deleting)
        if not waiting:
            self._recorder.event(claim, "Normal", "WaitForFirstConsumer", _WAITING)
            return
        what = f"pod {waiting[0]}" if len(waiting) == 1 else f"pods {','.join(waiting)}"
        self._recorder.event(claim, "Normal", "WaitForPodScheduled", f"waiting for {what} to be scheduled")

    async def _provision(self, claim: PersistentVolumeClaim, found: StorageClass, selected: str) -> None:
        if found.provisioner.startswith("kubernetes.io/"):
            text = "no volume plugin matched"
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return
        annotations = claim.metadata.annotations
        if annotations.get(names.STORAGE_PROVISIONER) != found.provisioner:
            said = dict.fromkeys((names.STORAGE_PROVISIONER, names.BETA_STORAGE_PROVISIONER), found.provisioner)
            await self._patch_claim(claim, {"metadata": {"annotations": said}})
            text = (
                f"Waiting for a volume to be created either by the external provisioner '{found.provisioner}' or "
                "manually by the system administrator. If volume creation is delayed, please verify that the "
                "provisioner is running and correctly registered."
            )
            self._recorder.event(claim, "Normal", "ExternalProvisioning", text)
            return  # the change of the claim brings it back
        if self._local is not None and found.provisioner == names.LOCAL_PROVISIONER:
            await self._local.provision(claim, found, selected, self._nodes.get(Key("", selected)))

    async def _asked(self, claim: PersistentVolumeClaim) -> None:
        """A claim that names its volume."""
        volume = self._volumes.get(Key("", claim.spec.volume_name))
        if volume is None:
            await self._claim_phase(claim, "Pending")
        elif is_for(volume, claim):
            await self._bind(volume, claim)
        elif volume.spec.claim_ref is not None:
            await self._claim_phase(claim, "Pending")
            text = f'volume "{volume.name}" already bound to a different claim.'
            self._recorder.event(claim, "Warning", "FailedBinding", text)
        elif why := mismatch(volume, claim):
            await self._claim_phase(claim, "Pending")
            text = f'Cannot bind to requested volume "{volume.name}": {why}'
            self._recorder.event(claim, "Warning", "VolumeMismatch", text)
        else:
            await self._bind(volume, claim)

    async def _bound(self, claim: PersistentVolumeClaim) -> None:
        volume = self._volumes.get(Key("", claim.spec.volume_name)) if claim.spec.volume_name else None
        if volume is None:
            text = _NO_VOLUME if claim.spec.volume_name else _NO_REFERENCE
            await self._lose(claim, "ClaimLost", text)
        elif volume.spec.claim_ref is None or is_for(volume, claim):
            await self._bind(volume, claim)
        else:
            await self._lose(claim, "ClaimMisbound", _MISBOUND)

    async def _lose(self, claim: PersistentVolumeClaim, reason: str, text: str) -> None:
        if claim.status.phase != "Lost":
            self._recorder.event(claim, "Warning", reason, text)
        await self._claim_phase(claim, "Lost")

    async def _claim_phase(self, claim: PersistentVolumeClaim, phase: str) -> None:
        if claim.status.phase != phase:
            patch = versioned(claim, {"status": {"phase": phase}})
            await self._client.patch(
                kinds.PERSISTENT_VOLUME_CLAIMS, claim.name, patch, namespace=claim.namespace, subresource="status"
            )

    async def _patch_claim(self, claim: PersistentVolumeClaim, patch: dict[str, Any]) -> PersistentVolumeClaim:
        return await self._client.patch(
            kinds.PERSISTENT_VOLUME_CLAIMS, claim.name, versioned(claim, patch), namespace=claim.namespace
        )

    # -- binding ---------------------------------------------------------------------------------------------------

    async def _bind(self, volume: PersistentVolume, claim: PersistentVolumeClaim) -> None:
        """Go through the steps that are not done yet."""
        reference = volume.spec.claim_ref
        if reference is None or reference.uid != claim.uid:
            change: dict[str, Any] = {"spec": {"claimRef": reference_to(claim)}}
            if reference is None:
                change["metadata"] = {"annotations": {names.BOUND_BY_CONTROLLER: "yes"}}
            volume = await self._client.patch(kinds.PERSISTENT_VOLUMES, volume.name, versioned(volume, change))
        await self._volume_phase(volume, "Bound")
        if claim.spec.volume_name != volume.name or names.BIND_COMPLETED not in claim.metadata.annotations:
            annotations = {names.BIND_COMPLETED: "yes"}
            if claim.spec.volume_name != volume.name:
                annotations[names.BOUND_BY_CONTROLLER] = "yes"
            patch = {"metadata": {"annotations": annotations}, "spec": {"volumeName": volume.name}}
            claim = await self._patch_claim(claim, patch)
        current = claim.status
        if (current.phase, current.access_modes) != ("Bound", volume.spec.access_modes) or not current.capacity:
            status = {
                "phase": "Bound",
                "accessModes": list(volume.spec.access_modes),
                "capacity": dict(volume.spec.capacity),
            }
            await self._client.patch(
                kinds.PERSISTENT_VOLUME_CLAIMS,
                claim.name,
                versioned(claim, {"status": status}),
                namespace=claim.namespace,
                subresource="status",
            )

    # -- volumes ---------------------------------------------------------------------------------------------------

    async def _volume(self, volume: PersistentVolume) -> None:
        if volume.deleting:
            await self._volume_leaves(volume)
            return
        reference = volume.spec.claim_ref
        if reference is None or not reference.uid:
            await self._volume_phase(volume, "Available")
            if reference is not None:
                self.queue.add(Key(reference.namespace, reference.name))
            return
        claim = await self._claim_of(reference)
        if claim is None:
            if volume.status.phase not in ("Released", "Failed"):
                volume = await self._volume_phase(volume, "Released")
            await self._reclaim(volume)
        elif not claim.spec.volume_name:
            self.queue.add(claim.key)
        elif claim.spec.volume_name == volume.name:
            await self._volume_phase(volume, "Bound")
        elif names.PROVISIONED_BY in volume.metadata.annotations:
            # Made for a claim that found another one meanwhile.
            await self._reclaim(await self._volume_phase(volume, "Released"))
        else:
            await self._unbind(volume)

    async def _claim_of(self, reference: ObjectReference) -> PersistentVolumeClaim | None:
        """The claim a volume refers to; the server has the last word on one that seems to be gone."""
        claim = self._claims.get(Key(reference.namespace, reference.name))
        if claim is None or claim.uid != reference.uid:
            try:
                claim = await self._client.get(
                    kinds.PERSISTENT_VOLUME_CLAIMS, reference.name, namespace=reference.namespace
                )
            except NotFound:
                return None
        return claim if claim.uid == reference.uid else None

    async def _volume_leaves(self, volume: PersistentVolume) -> None:
        """A volume that is being deleted stays while a claim is bound to it."""
        reference = volume.spec.claim_ref
        claim = await self._claim_of(reference) if reference is not None and reference.uid else None
        if claim is not None and claim.spec.volume_name == volume.name:
            return
        if names.VOLUME_PROTECTION in volume.metadata.finalizers:
            await self._drop_finalizer(kinds.PERSISTENT_VOLUMES, volume, names.VOLUME_PROTECTION)
        elif names.LOCAL_DATA in volume.metadata.finalizers:
            node = volume.metadata.annotations.get(names.LOCAL_NODE, "")
            if self._nodes.get(Key("", node)) is None:
                # The disk left with its node: nobody else can remove what lies there.
                await self._drop_finalizer(kinds.PERSISTENT_VOLUMES, volume, names.LOCAL_DATA)

    async def _reclaim(self, volume: PersistentVolume) -> None:
        policy = volume.spec.persistent_volume_reclaim_policy
        if policy == "Retain" or volume.status.phase == "Failed":
            return
        if policy == "Recycle":
            await self._fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
        elif volume.metadata.annotations.get(names.PROVISIONED_BY) == names.LOCAL_PROVISIONER:
            try:
                await self._client.delete(kinds.PERSISTENT_VOLUMES, volume.name, uid=volume.uid)
            except NotFound:
                return
        elif names.PROVISIONED_BY not in volume.metadata.annotations:
            text = f'error getting deleter volume plugin for volume "{volume.name}": no deletable volume plugin matched'
            await self._fail(volume, "VolumeFailedDelete", text)

    async def _fail(self, volume: PersistentVolume, reason: str, text: str) -> None:
        self._recorder.event(volume, "Warning", reason, text)
        await self._volume_phase(volume, "Failed", text)

    async def _unbind(self, volume: PersistentVolume) -> None:
        """Free a volume whose claim is bound to another one; what its owner set aside stays set aside."""
        if names.BOUND_BY_CONTROLLER in volume.metadata.annotations:
            change: dict[str, Any] = {
                "metadata": {"annotations": {names.BOUND_BY_CONTROLLER: None}},
                "spec": {"claimRef": None},
            }
        else:
            change = {"spec": {"claimRef": {"uid": None}}}
        volume = await self._client.patch(kinds.PERSISTENT_VOLUMES, volume.name, versioned(volume, change))
        await self._volume_phase(volume, "Available")

    async def _volume_phase(self, volume: PersistentVolume, phase: str, message: str = "") -> PersistentVolume:
        if volume.status.phase == phase:
            return volume
        patch = versioned(volume, {"status": {"phase": phase, "message": message or None}})
        return await self._client.patch(kinds.PERSISTENT_VOLUMES, volume.name, patch, subresource="status")

    async def _drop_finalizer(
        self, kind: kinds.Kind[Any], obj: PersistentVolume | PersistentVolumeClaim, finalizer: str
    ) -> None:
        kept = [one for one in obj.metadata.finalizers if one != finalizer]
        patch = versioned(obj, {"metadata": {"finalizers": kept or None}})
        try:
            await self._client.patch(kind, obj.name, patch, namespace=obj.namespace)
        except NotFound:
            return
