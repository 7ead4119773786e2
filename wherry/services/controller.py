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
from wherry.kube.kinds import ENDPOINT_SLICES, NODES, PODS, SERVICES
from wherry.kube.objects import EndpointSlice, Node, Pod, Service
from wherry.net.types import IPAddress
from wherry.services import forwarders
from wherry.services.apply import PART, ServiceTable
from wherry.services.claims import Denied
from wherry.services.compile import compile_service
from wherry.services.health import HealthChecks
from wherry.services.model import NO_SERVICE, ServiceState
from wherry.services.names import TABLE, Ranges
from wherry.services.sctp import sctp_trouble
from wherry.services.topology import Place

_log = logging.getLogger(__name__)

_BY_SERVICE: Final = "service"
_ZONE: Final = "topology.kubernetes.io/zone"
_NO_RANGES: Final = Ranges()
_FATAL: Final = frozenset((NftErrorKind.MISSING, NftErrorKind.DENIED, NftErrorKind.UNSUPPORTED))
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
_REPAIR_SECONDS: Final = 1.0
"""Between two repairs, where two programs fight for the table."""


class ServicesController:
    """Keeps one node's table ``inet wherry-services`` as the services of the cluster want it.

    Everything that became dirty while a commit was under way goes into the next one. A commit that the kernel refuses
    is halved until the guilty service is alone; it gets an event and is tried again with growing pauses, the others
    are served. The kernel tells when somebody else changes the table. Then (at once, but not more often than every
    second), after a doubt about what the kernel holds, and every ``resync_seconds``, all of it is read back; where
    it was not as it was left, that is repaired, and the log and an event on the node say so.

    ``ranges`` are the pod and service ranges and those of node ports, ``node_ips`` the node's own addresses,
    ``netns_path`` the node's namespace where it is not the process's own. Health-check node ports are opened in the
    process's own namespace.
    """

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        node_name: str,
        node_ips: Iterable[IPAddress] = (),
        ranges: Ranges = _NO_RANGES,
        netns_path: str | os.PathLike[str] | None = None,
        resync_seconds: float = 600.0,
    ) -> None:
        self._recorder = recorder
        self._place = Place(node_name)
        self._interfaces: dict[str, tuple[IPAddress, ...]] = {}
        self._node_ips = tuple(node_ips)
        self._resync_seconds = resync_seconds
        self._table = ServiceTable(netns_path, ranges=ranges)
        self._health = HealthChecks(self._health_failed)
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINT_SLICES)
        self._slices.add_index(_BY_SERVICE, lambda slice_: [str(_service_of(slice_))] if slice_.service_name else [])
        self._pods = informers.informer(PODS, field_selector=f"spec.nodeName={node_name}")
        self._pods.add_index(_BY_SERVICE, lambda pod: [str(key)] if (key := forwarders.service_of(pod)) else [])
        self._nodes = informers.informer(NODES, field_selector=f"metadata.name={node_name}")
        self._dirty: dict[Key, None] = {}
        self._wake = asyncio.Event()
        self._failures: dict[Key, int] = {}
        self._denied: dict[Key, tuple[Denied, ...]] = {}
        self._without_sctp: set[Key] = set()
        self._ready = asyncio.Event()
        self._harmed = False
        self._verified_at = 0.0
        self.repairs = 0
        """How often the table was found changed by someone else."""

    async def ready(self) -> None:
        """Wait until the table is complete for the first time."""
        await self._ready.wait()

    async def run(self) -> None:
        """Keep the table right until cancelled; it stays when this ends. Raises NftError when nft cannot work here."""
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)
        for informer in (self._services, self._slices, self._nodes, self._pods):
            await informer.synced()
        try:
            self._table.watch(self._noticed_harm)
            while True:
                await self._sync()
                self._ready.set()
                while await self._follow() and await self._verify():
                    pass
        finally:
            self._health.close()
            await self._table.close()

    async def _follow(self) -> bool:
        """Write changes as they come, until it is time to read back; False when what the kernel holds is in doubt."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._resync_seconds
        while True:
            if self._harmed:
                deadline = min(deadline, self._verified_at + _REPAIR_SECONDS)
            if clock() >= deadline:
                return True
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wake.wait()
            except TimeoutError:
                return True
            keys = [*self._dirty][:PART]
            for key in keys:
                del self._dirty[key]
            if not self._dirty:
                self._wake.clear()
            if keys and not await self._update({key: self._compile(key) for key in keys}):
                return False

    async def _verify(self) -> bool:
        """Read back what was written and repair it; False when that failed."""
        self._harmed = False
        harm = self._table.harm()
        try:
            found = await self._table.verify(elements_only=harm is None or harm.elements_only)
        except NftError as error:
            if error.kind in _FATAL:
                raise
            _log.warning("services: cannot check the table: %s", error)
            return False
        self._verified_at = asyncio.get_running_loop().time()
        if found:
            by = f" (by {', '.join(sorted(harm.programs))})" if harm is not None and harm.programs else ""
            self._alarm(f"{found}{by}; it is repaired")
        await self._health.update({})
        return True

    def _alarm(self, found: str) -> None:
        self.repairs += 1
        found = f"{found} (repair {self.repairs} since the start)"
        _log.warning("services: table inet %s was changed by someone else: %s", TABLE, found)
        if (node := self._nodes.get(Key("", self._place.node))) is not None:
            text = f"Table inet {TABLE} of this node was changed by someone else: {found}"
            self._recorder.event(node, "Warning", "ServiceRulesChanged", text)

    async def _sync(self) -> None:
        """Read back and write what is missing or wrong, however often it takes."""
        pause = _FIRST_PAUSE
        elements_only = True
        while True:
            self._dirty.clear()
            self._wake.clear()
            self._harmed = False
            if (harm := self._table.harm()) is not None:
                elements_only &= harm.elements_only
            states: dict[Key, ServiceState] = {}
            for number, service in enumerate(self._services.list()):
                if number % PART == 0:
                    await asyncio.sleep(0)  # others of this loop have heartbeats to send
                states[service.key] = self._compile(service.key)
            try:
                good = await self._load({}, states, elements_only=elements_only)
            except NftError as error:
                if error.kind in _FATAL:
                    raise
                _log.warning("services: cannot load the table, again in %g s: %s", pause, error)
            else:
                self._health.healthy = True
                await self._written(dict.fromkeys(self._health.keys(), NO_SERVICE) | good)
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _written(self, states: dict[Key, ServiceState]) -> None:
        """Do what follows the commit of these services: health checks, and word of what they did not get."""
        await self._health.update(states)
        for key in states:
            denied = self._table.denied(key)
            if denied and denied != self._denied.get(key) and (service := self._services.get(key)) is not None:
                taken = ", ".join(f"{one.frontend} is {one.owner}'s" for one in denied)
                text = f"Addresses and ports that another service has were left out: {taken}"
                self._recorder.event(service, "Warning", "FrontendTaken", text)
            if denied:
                self._denied[key] = denied
            else:
                self._denied.pop(key, None)
            self._tell_of_sctp(key, states[key])

    def _tell_of_sctp(self, key: Key, state: ServiceState) -> None:
        """Tell a Service once that nobody here can serve or call a port of it, although packets find their way."""
        if not any(frontend.protocol == "sctp" for frontend in state.frontends):
            self._without_sctp.discard(key)
            return
        service = self._services.get(key)
        if key not in self._without_sctp and service is not None and (why := sctp_trouble()):
            self._without_sctp.add(key)
            text = f"No program on node {self._place.node} can serve or call its SCTP ports: {why}"
            self._recorder.event(service, "Warning", "ProtocolUnavailable", text)

    async def _load(
        self, good: dict[Key, ServiceState], states: dict[Key, ServiceState], *, elements_only: bool
    ) -> dict[Key, ServiceState]:
        """Make the table hold what is good and these; returns all of them but those the kernel refuses."""
        try:
            await self._table.sync(good | states, elements_only=elements_only)
        except NftError as error:
            if error.kind is not NftErrorKind.INVALID or not states:
                raise
            if len(states) == 1:
                self._refused(next(iter(states)), error)
                return good
            for half in _halves(states):
                good = await self._load(good, half, elements_only=elements_only)
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
                self._health.healthy = False
                if error.kind is NftErrorKind.LOST:
                    _log.warning("services: reading the table back: %s", error)
                else:
                    self._alarm(f"{error}; it is written again")
                return False
            if len(states) == 1:
                self._refused(next(iter(states)), error)
                return True
            first, second = _halves(states)
            return await self._update(first) and await self._update(second)
        for key in states:
            self._failures.pop(key, None)
        await self._written(states)
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
        slices = self._slices.by_index(_BY_SERVICE, str(key))
        pods = self._pods.by_index(_BY_SERVICE, str(key))
        listening = forwarders.listening(pods, self._node_ips, self._interfaces)
        return compile_service(service, slices, place=self._place, node_ips=self._node_ips, listening=listening)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        for service in (old, new):
            if service is not None:
                self._mark(service.key)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for slice_ in (old, new):
            if slice_ is not None and slice_.service_name:
                self._mark(_service_of(slice_))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is not None and (key := forwarders.service_of(pod)) is not None:
                self._mark(key)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        """Choose endpoints anew where the node turns out to be in another zone; follow its interfaces' addresses."""
        if new is None:
            return
        interfaces = forwarders.interfaces_of(new)
        if interfaces != self._interfaces:
            self._interfaces = interfaces
            for pod in self._pods.list():
                if (key := forwarders.service_of(pod)) is not None:
                    self._mark(key)
        if (zone := new.labels.get(_ZONE, "")) == self._place.zone:
            return
        self._place = self._place._replace(zone=zone)
        for service in self._services.list():
            self._mark(service.key)

    def _health_failed(self, key: Key, port: int, error: OSError) -> None:
        text = f"node {self._place.node} failed to start healthcheck {str(key)!r} on port {port}: {error.strerror}"
        _log.warning("services: %s", text)
        if (service := self._services.get(key)) is not None:
            self._recorder.event(service, "Warning", "FailedToStartServiceHealthcheck", text)

    def _noticed_harm(self) -> None:
        self._harmed = True
        self._wake.set()

    def _mark(self, key: Key) -> None:
        self._dirty[key] = None
        self._wake.set()


def _halves(states: dict[Key, ServiceState]) -> tuple[dict[Key, ServiceState], dict[Key, ServiceState]]:
    items = [*states.items()]
    middle = len(items) // 2
    return dict(items[:middle]), dict(items[middle:])


def _service_of(slice_: EndpointSlice) -> Key:
    return Key(slice_.namespace, slice_.service_name)
