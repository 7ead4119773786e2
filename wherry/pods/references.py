"""Live copies of just those objects that pods of this node refer to: config maps, secrets, claims and volumes.

Each object is watched on its own for as long as some pod needs it, so that a node neither sees nor holds more than its
pods use. Pods of one namespace that name the same object share one watch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from wherry.kube.client import Client
from wherry.kube.informer import Informer
from wherry.kube.keys import Key
from wherry.kube.kinds import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, SECRETS, Kind
from wherry.pods.sources import Reference, Sources

_KINDS: dict[str, Kind[Any]] = {
    "ConfigMap": CONFIG_MAPS,
    "Secret": SECRETS,
    "PersistentVolumeClaim": PERSISTENT_VOLUME_CLAIMS,
    "PersistentVolume": PERSISTENT_VOLUMES,
}


class _Watch:
    """One watched object and the pods that need it."""

    def __init__(self, informer: Informer[Any], task: asyncio.Task[None]) -> None:
        self.informer = informer
        self.task = task
        self.users: dict[str, Callable[[], None]] = {}

    def notify(self, _old: object, _new: object) -> None:
        for notice in list(self.users.values()):
            notice()


class _Target(NamedTuple):
    namespace: str
    reference: Reference


class References:
    """The referenced objects of one node. `run` must be running before anything is held."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._watches: dict[_Target, _Watch] = {}
        self._held: dict[str, set[_Target]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._running = asyncio.Event()

    async def run(self) -> None:
        """Follow the objects until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._running.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    async def running(self) -> None:
        """Wait until `run` runs."""
        await self._running.wait()

    def hold(self, pod_uid: str, namespace: str, references: frozenset[Reference], changed: Callable[[], None]) -> None:
        """Follow exactly these objects for a pod; `changed` is called whenever one of them changes."""
        wanted = {_Target(namespace if _KINDS[one.kind].namespaced else "", one) for one in references}
        had = self._held.get(pod_uid, set())
        for target in wanted:
            watch = self._watches.get(target) or self._start(target)
            watch.users[pod_uid] = changed
        for target in had - wanted:
            self._drop(target, pod_uid)
        if wanted:
            self._held[pod_uid] = wanted
        else:
            self._held.pop(pod_uid, None)

    def release(self, pod_uid: str) -> None:
        """Forget a pod, and the objects that only it needed."""
        for target in self._held.pop(pod_uid, set()):
            self._drop(target, pod_uid)

    async def synced(self, pod_uid: str) -> None:
        """Wait until every object the pod needs is known to exist or not to."""
        for target in list(self._held.get(pod_uid, ())):
            watch = self._watches.get(target)
            if watch is not None:
                await watch.informer.synced()

    def has_synced(self, pod_uid: str) -> bool:
        """Tell whether `synced` would return at once."""
        return all(self._watches[target].informer.has_synced for target in self._held.get(pod_uid, ()))

    def sources(self, pod_uid: str) -> Sources:
        """Return the pod's objects as they are now."""
        by_kind: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
        for target in self._held.get(pod_uid, ()):
            found = self._watches[target].informer.get(Key(target.namespace, target.reference.name))
            if found is not None:
                by_kind[target.reference.kind][target.reference.name] = found
        return Sources(*by_kind.values())

    def __len__(self) -> int:
        return len(self._watches)

    def _start(self, target: _Target) -> _Watch:
        if self._group is None:
            raise RuntimeError("References.run is not running")
        informer: Informer[Any] = Informer(
            self._client,
            _KINDS[target.reference.kind],
            namespace=target.namespace or None,
            field_selector=f"metadata.name={target.reference.name}",
        )
        name = f"watch {target.reference.kind} {target.namespace}/{target.reference.name}"
        watch = _Watch(informer, self._group.create_task(informer.run(), name=name))
        informer.add_handler(watch.notify)
        self._watches[target] = watch
        return watch

    def _drop(self, target: _Target, pod_uid: str) -> None:
        watch = self._watches[target]
        watch.users.pop(pod_uid, None)
        if not watch.users:
            watch.task.cancel()
            del self._watches[target]
