"""The service data plane of one node: Services and EndpointSlices → :mod:`.compile` → :mod:`.apply`."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from typing import Final

from wherry.kernel.nft import NftError, NftErrorKind
from wherry.kube.client import Client
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.kinds import ENDPOINT_SLICES, SERVICES
from wherry.kube.objects import EndpointSlice, Service
from wherry.services.apply import ServiceTable
from wherry.services.compile import compile_service
from wherry.services.model import NO_SERVICE, ServiceState

_log = logging.getLogger(__name__)

_BY_SERVICE: Final = "service"
_FATAL: Final = frozenset((NftErrorKind.MISSING, NftErrorKind.DENIED, NftErrorKind.UNSUPPORTED))
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0


class ServicesController:
    """Keeps one node's table ``inet wherry-services`` as the services of the cluster want it.

    Everything that became dirty while a commit was under way goes into the next one. A commit that the kernel refuses
    is halved until the guilty service is alone; it gets an event and is tried again with growing pauses, the others
    are served. After a doubt about what the kernel holds, and every ``resync_seconds``, all of it is read back.

    ``cluster_cidrs`` are the pod ranges, ``service_cidrs`` those of service addresses, ``netns_path``
    the node's namespace where it is not the process's own.
    """

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        node_name: str,
        cluster_cidrs: Iterable[str] = (),
        service_cidrs: Iterable[str] = (),
        netns_path: str | os.PathLike[str] | None = None,
        resync_seconds: float = 600.0,
    ) -> None:
        self._recorder = recorder
        self._node = node_name
        self._resync_seconds = resync_seconds
        self._table = ServiceTable(netns_path, cluster_cidrs=tuple(cluster_cidrs), service_cidrs=tuple(service_cidrs))
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINT_SLICES)
        self._slices.add_index(_BY_SERVICE, lambda slice_: [str(_service_of(slice_))] if slice_.service_name else [])
        self._dirty: dict[Key, None] = {}
        self._wake = asyncio.Event()
        self._failures: dict[Key, int] = {}
        self._ready = asyncio.Event()

    async def ready(self) -> None:
        """Wait until the table is complete for the first time."""
        await self._ready.wait()

    async def run(self) -> None:
        """Keep the table right until cancelled; it stays when this ends. Raises NftError when nft cannot work here."""
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)
        await self._services.synced()
        await self._slices.synced()
        try:
            while True:
                await self._sync()
                self._ready.set()
                await self._follow()
        finally:
            await self._table.close()

    async def _follow(self) -> None:
        """Write changes as they come, until it is time to read back."""
        deadline = asyncio.get_running_loop().time() + self._resync_seconds
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wake.wait()
            except TimeoutError:
                return
            self._wake.clear()
            keys, self._dirty = self._dirty, {}
            if not await self._update({key: self._compile(key) for key in keys}):
                return

    async def _sync(self) -> None:
        """Read back and write what is missing or wrong, however often it takes."""
        pause = _FIRST_PAUSE
        while True:
            self._dirty.clear()
            self._wake.clear()
            try:
                await self._load({}, {service.key: self._compile(service.key) for service in self._services.list()})
            except NftError as error:
                if error.kind in _FATAL:
                    raise
                _log.warning("services: cannot load the table, again in %g s: %s", pause, error)
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _load(self, good: dict[Key, ServiceState], states: dict[Key, ServiceState]) -> dict[Key, ServiceState]:
        """Make the table hold what is good and these; returns all of them but those the kernel refuses."""
        try:
            await self._table.sync(good | states)
        except NftError as error:
            if error.kind is not NftErrorKind.INVALID or not states:
                raise
            if len(states) == 1:
                self._refused(next(iter(states)), error)
                return good
            for half in _halves(states):
                good = await self._load(good, half)
            return good
        return good | states

    async def _update(self, states: dict[Key, ServiceState]) -> bool:
        """Write some services; False when it is in doubt what the kernel holds."""
        try:
            await self._table.update(states)
        except NftError as error:
            if error.kind in _FATAL:
                raise
            if error.kind is not NftErrorKind.INVALID:
                _log.warning("services: the table is not as it was left, reading it back: %s", error)
                return False
            if len(states) == 1:
                self._refused(next(iter(states)), error)
                return True
            first, second = _halves(states)
            return await self._update(first) and await self._update(second)
        for key in states:
            self._failures.pop(key, None)
        return True

    def _refused(self, key: Key, error: NftError) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(_FIRST_PAUSE * 2.0 ** (failures - 1), _LONGEST_PAUSE)
        _log.warning("services: %s refused, again in %g s: %s", key, pause, error)
        if (service := self._services.get(key)) is not None:
            self._recorder.event(service, "Warning", "FailedSync", f"Service could not be written: {error}")
        asyncio.get_running_loop().call_later(pause, self._mark, key)

    def _compile(self, key: Key) -> ServiceState:
        service = self._services.get(key)
        if service is None:
            return NO_SERVICE
        return compile_service(service, self._slices.by_index(_BY_SERVICE, str(key)), node=self._node)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        for service in (old, new):
            if service is not None:
                self._mark(service.key)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for slice_ in (old, new):
            if slice_ is not None and slice_.service_name:
                self._mark(_service_of(slice_))

    def _mark(self, key: Key) -> None:
        self._dirty[key] = None
        self._wake.set()


def _halves(states: dict[Key, ServiceState]) -> tuple[dict[Key, ServiceState], dict[Key, ServiceState]]:
    items = [*states.items()]
    middle = len(items) // 2
    return dict(items[:middle]), dict(items[middle:])


def _service_of(slice_: EndpointSlice) -> Key:
    return Key(slice_.namespace, slice_.service_name)
