"""The node's own object: registration, status, heartbeat.

Written only when something changed, and once every `status_interval` even if not; between those a Lease in
`kube-node-lease` says that the node is alive (KEP-9). A Node object that someone deleted is made again, and annotations
by which the node tells of itself are written again where someone changed them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from wherry.kube.client import Client
from wherry.kube.errors import AlreadyExists, ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.kinds import LEASES, NODES
from wherry.kube.objects import Lease, LeaseSpec, Node, ObjectMeta, OwnerReference
from wherry.kube.times import format_micro_time
from wherry.pods.machine import Machine, read_machine, read_pressure
from wherry.pods.nodeobject import NodeSettings, news, node_object, node_status, status_difference

LEASE_NAMESPACE = "kube-node-lease"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_log = logging.getLogger(__name__)


class _Problem(NamedTuple):
    text: str
    after: float
    """From when on it counts for a node that is Ready, by the event loop's clock."""


class NodeController:
    """Registers one node and keeps its status and lease. `run` works until cancelled.

    `set_problem` lets other parts of the agent hold the node NotReady; until the node has a pod range it is NotReady
    by itself.
    """

    def __init__(
        self,
        client: Client,
        informers: Informers,
        *,
        settings: NodeSettings,
        recorder: EventRecorder | None = None,
        machine: Machine | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._settings = settings
        self._recorder = recorder
        self._machine = machine or read_machine(settings.name, settings.data_dir)
        self._clock = clock
        self._informer = informers.informer(NODES, field_selector=f"metadata.name={settings.name}")
        self._informer.add_handler(self._noticed)
        self._problems: dict[str, _Problem] = {}
        self._ranges_handlers: list[Callable[[tuple[str, ...]], None]] = []
        self._ranges: tuple[str, ...] = ()
        self._has_ranges = asyncio.Event()
        self._dirty = asyncio.Event()
        self._uid = ""

    @property
    def allocatable(self) -> dict[str, Any]:
        """What pods may use of the node."""
        return dict(self._machine.capacity(self._settings.max_pods))

    def set_problem(self, source: str, text: str | None, *, patience: float = 0.0) -> None:
        """Say what keeps the node from being ready, as one part sees it; None: nothing does any more.

        A node that is Ready stays so for ``patience`` seconds: where an agent only starts again its pods have never
        stopped, and no service should lose them. Call it from the event loop.
        """
        before = self._problems.get(source)
        if (before.text if before is not None else None) == text:
            return
        if text is None:
            self._problems.pop(source, None)
        else:
            loop = asyncio.get_running_loop()
            self._problems[source] = _Problem(text, loop.time() + patience)
            loop.call_later(patience, self._dirty.set)
        self._dirty.set()

    def on_ranges(self, handler: Callable[[tuple[str, ...]], None]) -> None:
        """Call `handler` with the node's pod ranges, now if they are known and whenever they change."""
        self._ranges_handlers.append(handler)
        if self._ranges:
            handler(self._ranges)

    async def ranges(self) -> tuple[str, ...]:
        """Wait until the node has its pod ranges and return them."""
        await self._has_ranges.wait()
        return self._ranges

    async def run(self) -> None:
        """Register, then follow the node's object until cancelled."""
        await self._insist(self._register, "register")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_status(), name="node status")
            group.create_task(self._keep_lease(), name="node lease")

    def _noticed(self, _old: Node | None, new: Node | None) -> None:
        if new is not None:
            ranges = new.spec.pod_cidrs or ((new.spec.pod_cidr,) if new.spec.pod_cidr else ())
            if ranges and ranges != self._ranges:
                self._ranges = ranges
                self._has_ranges.set()
                for handler in self._ranges_handlers:
                    handler(ranges)
        self._dirty.set()

    # -- object and status ---------------------------------------------------------------------------------------

    async def _register(self) -> None:
        wanted = node_object(self._settings, self._machine, self._ranges)
        try:
            made = await self._client.create(NODES, wanted)
            self._uid = made.uid
            return
        except AlreadyExists:
            found = await self._client.get(NODES, self._settings.name)
        self._uid = found.uid
        labels = {key: value for key, value in wanted.labels.items() if found.labels.get(key) != value}
        notes = wanted.metadata.annotations
        there = found.metadata.annotations
        annotations: dict[str, str | None] = {key: text for key, text in notes.items() if there.get(key) != text}
        annotations |= {key: None for key in self._settings.stale_annotations if key in there}
        if labels or annotations:
            patch = {"metadata": {"labels": labels, "annotations": annotations}}
            await self._client.patch(NODES, self._settings.name, patch)

    async def _keep_status(self) -> None:
        await self._informer.synced()
        loop = asyncio.get_running_loop()
        heartbeat_at = loop.time()
        self._dirty.set()
        while True:
            try:
                async with asyncio.timeout_at(heartbeat_at):
                    await self._dirty.wait()
            except TimeoutError:
                self._dirty.set()
            self._dirty.clear()
            due = loop.time() >= heartbeat_at
            await self._insist(partial(self._write_status, heartbeat=due), "write the status of")
            if due:
                heartbeat_at = loop.time() + self._settings.status_interval

    async def _write_status(self, *, heartbeat: bool) -> None:
        node = self._informer.get(Key("", self._settings.name))
        if node is None:
            # Either someone deleted the object or the cache has not seen it yet; registering settles both.
            await self._register()
            node = await self._client.get(NODES, self._settings.name)
        await self._restore_annotations(node)
        now = asyncio.get_running_loop().time()
        problems = [problem.text for problem in self._problems.values() if not node.ready or now >= problem.after]
        if not (node.spec.pod_cidrs or node.spec.pod_cidr):
            problems.append(
                "container runtime network not ready: no range of pod addresses has been given to this node"
            )
        wanted = node_status(
            self._settings,
            self._machine,
            node,
            pressure=read_pressure(self._settings.data_dir),
            problems=tuple(problems),
            now=self._clock(),
        )
        changed = status_difference(node, wanted, heartbeat=heartbeat)
        if changed:
            patch = {"status": changed}
            await self._client.patch(NODES, node.name, patch, subresource="status", type="strategic")
            if self._recorder is not None:
                for reason in news(node, wanted):
                    self._recorder.event(node, "Normal", reason, f"Node {node.name} status is now: {reason}")

    async def _restore_annotations(self, node: Node) -> None:
        """Say again what somebody has changed of what this node says of itself."""
        there = node.metadata.annotations
        changed = {key: text for key, text in self._settings.annotations.items() if there.get(key) != text}
        if changed:
            _log.info("node %s: writing again the annotations %s", node.name, ", ".join(sorted(changed)))
            await self._client.patch(NODES, node.name, {"metadata": {"annotations": changed}})

    # -- lease ---------------------------------------------------------------------------------------------------

    async def _keep_lease(self) -> None:
        while True:
            await self._insist(self._renew_lease, "renew the lease of")
            await asyncio.sleep(self._settings.lease_interval)

    async def _renew_lease(self) -> None:
        name = self._settings.name
        stamp = format_micro_time(self._clock())
        renewed = {"spec": {"renewTime": stamp, "holderIdentity": name}}
        try:
            await self._client.patch(LEASES, name, renewed, namespace=LEASE_NAMESPACE)
            return
        except NotFound:
            _log.debug("node %s has no lease yet", name)
        owner = OwnerReference(api_version="v1", kind="Node", name=name, uid=self._uid)
        lease = Lease(
            metadata=ObjectMeta(name=name, namespace=LEASE_NAMESPACE, owner_references=(owner,)),
            spec=LeaseSpec(holder_identity=name, lease_duration_seconds=self._settings.lease_seconds, renew_time=stamp),
        )
        await self._client.create(LEASES, lease)

    async def _insist(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        """Do it until it is done, however long the API is away."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await work()
                return
            except ApiError as error:
                _log.info("cannot %s node %s: %s", what, self._settings.name, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
