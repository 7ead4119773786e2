"""Local volumes on this node's disk: removes the directory of a volume that is being deleted.

The volume carries a finalizer from its beginning, so nothing is forgotten when the agent or the whole node is down in
between: it takes the finalizer off once the directory is gone, and whatever happens before can be repeated.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, RetryAfter
from wherry.kube.errors import NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import PersistentVolume
from wherry.workloads.storage.names import LOCAL_DATA, LOCAL_NODE, VOLUME_PROTECTION

_RETRY = 15.0


class LocalVolumes(Controller):
    """Works on the volumes of this node; ``directory`` holds them and nothing outside of it is touched."""

    name = "local-volumes"

    def __init__(
        self, client: Client, informers: Informers, recorder: EventRecorder, *, node: str, directory: Path
    ) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self._node = node
        self._directory = directory
        self._volumes = informers.informer(kinds.PERSISTENT_VOLUMES)
        self._volumes.add_handler(self._on_volume)

    def _on_volume(self, old: PersistentVolume | None, new: PersistentVolume | None) -> None:
        if new is not None and new.deleting and new.metadata.annotations.get(LOCAL_NODE) == self._node:
            self.queue.add(new.key)

    async def prepare(self) -> None:
        """Wait for the copy."""
        await self._volumes.synced()

    async def reconcile(self, key: Key) -> None:
        """Remove what a volume holds, unless it is to be kept, and let the volume go."""
        volume = self._volumes.get(key)
        if volume is None or not volume.deleting or LOCAL_DATA not in volume.metadata.finalizers:
            return
        if VOLUME_PROTECTION in volume.metadata.finalizers:
            return  # a claim may still be bound to it
        if volume.spec.persistent_volume_reclaim_policy == "Delete" and volume.spec.host_path is not None:
            path = Path(volume.spec.host_path.path)
            if path.parent == self._directory:
                await self._remove(volume, path)
        kept = [one for one in volume.metadata.finalizers if one != LOCAL_DATA]
        metadata = {"resourceVersion": volume.metadata.resource_version, "finalizers": kept or None}
        try:
            await self._client.patch(kinds.PERSISTENT_VOLUMES, volume.name, {"metadata": metadata})
        except NotFound:
            return

    async def _remove(self, volume: PersistentVolume, path: Path) -> None:
        try:
            await asyncio.to_thread(shutil.rmtree, path)
        except FileNotFoundError:
            return
        except OSError as error:
            text = f"failed to delete {path}: {error.strerror}"
            self._recorder.event(volume, "Warning", "VolumeFailedDelete", text)
            raise RetryAfter(_RETRY, text) from error
