"""Claims of generic ephemeral volumes: made for a pod, gone with it (KEP-1698)."""

from __future__ import annotations

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Terminal
from wherry.kube.errors import AlreadyExists, ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Pod


class EphemeralVolumes(Controller):
    """Works on pods; a claim is named after pod and volume and owned by the pod."""

    name = "ephemeral-volume"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self._pods = informers.informer(kinds.PODS)
        self._claims = informers.informer(kinds.PERSISTENT_VOLUME_CLAIMS)
        self._pods.add_handler(self._on_pod)

    def _on_pod(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None and not new.deleting and any(one.ephemeral is not None for one in new.spec.volumes):
            self.queue.add(new.key)

    async def prepare(self) -> None:
        """Wait for both copies."""
        await self._pods.synced()
        await self._claims.synced()

    async def reconcile(self, key: Key) -> None:
        """Make the claims that a pod lacks."""
        pod = self._pods.get(key)
        if pod is None or pod.deleting:
            return
        missing = []
        for volume in pod.spec.volumes:
            if volume.ephemeral is None:
                continue
            claim = self._claims.get(Key(pod.namespace, f"{pod.name}-{volume.name}"))
            if claim is None:
                missing.append(volume.name)
            elif not any(owner.uid == pod.uid for owner in claim.metadata.owner_references):
                raise Terminal(f'PVC "{claim.namespace}/{claim.name}" was not created for the pod')
        if missing:
            await self._make(pod, missing)

    async def _make(self, pod: Pod, missing: list[str]) -> None:
        try:
            whole = await self._client.get(kinds.PODS, pod.name, namespace=pod.namespace, raw=True)
        except NotFound:
            return
        for volume in whole["spec"].get("volumes") or ():
            if volume["name"] not in missing:
                continue
            template = volume["ephemeral"]["volumeClaimTemplate"]
            metadata = template.get("metadata") or {}
            owner = {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": pod.name,
                "uid": pod.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
            claim = {
                "metadata": {
                    "name": f"{pod.name}-{volume['name']}",
                    "namespace": pod.namespace,
                    "ownerReferences": [owner],
                    "labels": metadata.get("labels") or {},
                    "annotations": metadata.get("annotations") or {},
                },
                "spec": template["spec"],
            }
            try:
                await self._client.create(kinds.PERSISTENT_VOLUME_CLAIMS.as_dict(), claim)
            except AlreadyExists:
                continue
            except ApiError as error:
                text = f"ephemeral volume controller: create PVC {claim['metadata']['name']}: {error}"
                self._recorder.event(pod, "Warning", "FailedBinding", text)
                raise
