"""The scheduler's edge: watches what placement depends on, binds pods, makes room, and says why others wait."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.errors import ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Pod
from wherry.kube.times import format_time
from wherry.workloads.scheduler.compile import Placed, Unschedulable, schedule
from wherry.workloads.scheduler.filters import Filter
from wherry.workloads.scheduler.model import Cluster, PodInfo
from wherry.workloads.scheduler.preemption import Budget, Candidate, budget_of
from wherry.workloads.scheduler.queue import SchedulingQueue
from wherry.workloads.scheduler.view import View
from wherry.workloads.scheduler.volumes import Storage, bound
from wherry.workloads.scheduler.writer import Writer
from wherry.workloads.storage.names import SELECTED_NODE

SCHEDULER_NAME = "default-scheduler"

_BREATH = 0.005
"""Seconds of uninterrupted scheduling after which the event loop gets a turn."""

_VOLUMES_WITHIN = 600.0
"""Seconds that the claims of a placed pod may take to be bound, as kube-scheduler's ``bindTimeoutSeconds``."""

_GATED = "Scheduling is blocked due to non-empty scheduling gates"

_log = logging.getLogger(__name__)


class _VolumesFailed(Exception):
    """The claims of a placed pod were not bound."""


class Scheduler:
    """Binds the pods that name this scheduler.

    Pods count on their node from the moment of the decision, so a burst is placed without waiting for the watch; a
    binding that fails takes the pod back off and tries again later.
    """

    name = "scheduler"

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        scheduler_name: str = SCHEDULER_NAME,
    ) -> None:
        self._recorder = recorder
        self._scheduler_name = scheduler_name
        self._writer = Writer(client)
        self.cluster = Cluster()
        self.queue = SchedulingQueue(time.monotonic)
        self._told: dict[str, tuple[str, str]] = {}
        self._reports: dict[str, asyncio.Task[None]] = {}
        self._pods = informers.informer(kinds.PODS)
        self._budgets = informers.informer(kinds.POD_DISRUPTION_BUDGETS)
        self._claims = informers.informer(kinds.PERSISTENT_VOLUME_CLAIMS)
        self._volumes = informers.informer(kinds.PERSISTENT_VOLUMES)
        classes = informers.informer(kinds.STORAGE_CLASSES)
        self._storage = Storage(self._claims.get, self._volumes.get, classes.get, self._volumes.list)
        self._view = View(self.cluster, self.queue, scheduler_name, self._told)
        self._view.follow(informers)
        nodes, namespaces = informers.informer(kinds.NODES), informers.informer(kinds.NAMESPACES)
        services = informers.informer(kinds.SERVICES)
        self._synced = (nodes, namespaces, services, self._budgets, self._claims, self._volumes, classes, self._pods)

    async def run(self) -> None:
        """Schedule until cancelled."""
        for informer in self._synced:
            await informer.synced()
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            started = loop.time()
            while True:
                pod = self.queue.pop()
                if pod is None:
                    await self.queue.wait()
                    started = loop.time()
                    continue
                self._attempt(group, pod)
                if loop.time() - started > _BREATH:
                    await asyncio.sleep(0)
                    started = loop.time()

    # -- deciding ------------------------------------------------------------------------------------------------

    def _attempt(self, group: asyncio.TaskGroup, pod: PodInfo) -> None:
        if pod.spec.scheduling_gates:
            self.queue.park(pod.uid, frozenset())
            self._tell(group, pod, "SchedulingGated", _GATED, pod.nominated)
            return
        if nominated := self.cluster.nominated.get(pod.uid):
            pod = replace(pod, nominated=nominated.nominated)
        try:
            outcome = schedule(pod, self.cluster, self._guards(), self._storage)
        except Exception:
            _log.exception("%s: cannot be scheduled", pod.key)
            self.queue.back_off(pod.uid)
            return
        match outcome:
            case Placed(node):
                self._view.assumed.add(pod.uid)
                self.cluster.place(pod, node)
                self.cluster.nominate(pod, "")
                self.queue.retry(frozenset({Filter.PODS}))
                group.create_task(self._bind(pod, outcome), name=f"bind {pod.key}")
            case Unschedulable():
                self.queue.park(pod.uid, outcome.filters)
                self._wait(group, pod, outcome)

    def _guards(self) -> Iterator[Budget]:
        return (guard for each in self._budgets.list() if (guard := budget_of(each)) is not None)

    def _wait(self, group: asyncio.TaskGroup, pod: PodInfo, outcome: Unschedulable) -> None:
        """The pod stays pending: note for which node, if others leave one for it, and say why."""
        nominated = pod.nominated if outcome.keeps else ""
        if outcome.room is not None:
            nominated = outcome.room.node
            group.create_task(self._clear(group, pod, outcome.room), name=f"make room for {pod.key}")
        self.cluster.nominate(pod, nominated)
        self._tell(group, pod, "Unschedulable", outcome.message, nominated)

    async def _clear(self, group: asyncio.TaskGroup, pod: PodInfo, room: Candidate) -> None:
        """Delete the pods that make room."""
        for other in [*self.cluster.nominated.values()]:
            if other.nominated == room.node and other.priority < pod.priority:
                # Their room is taken; they find another.
                self.cluster.nominate(other, "")
                self._report(group, other, {"nominatedNodeName": None})
        victims = [found for each in room.victims if (found := self._current(each)) is not None and not found.deleting]
        for victim in victims:
            text = f"Preempted by pod {pod.uid} on node {room.node}"
            try:
                await self._writer.preempt(victim, self._scheduler_name)
            except ApiError as error:
                _log.info("%s: %s does not make room: %s", pod.key, victim.key, error)
                self.cluster.nominate(pod, "")
                self.queue.add(pod)
                return
            self._recorder.event(victim, "Normal", "Preempted", text)

    # -- binding -------------------------------------------------------------------------------------------------

    async def _bind(self, pod: PodInfo, placed: Placed) -> None:
        if report := self._reports.get(pod.uid):
            await asyncio.wait({report})
        try:
            if placed.waiting:
                await self._bind_volumes(pod, placed)
            await self._writer.bind(pod, placed.node)
        except (ApiError, _VolumesFailed) as error:
            self._unbound(pod, placed.node, error)
        else:
            self._view.assumed.discard(pod.uid)
            self._told.pop(pod.uid, None)
            self.queue.remove(pod.uid)
            self._event(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {placed.node}")

    async def _bind_volumes(self, pod: PodInfo, placed: Placed) -> None:
        """Tell the claims where their pod will run, and wait until all of them have their volumes."""
        keys = [Key(pod.key.namespace, name) for name in placed.waiting]
        for key in keys:
            claim = self._claims.get(key)
            if claim is not None and claim.metadata.annotations.get(SELECTED_NODE) != placed.node:
                await self._writer.select_node(key, placed.node)
        try:
            async with asyncio.timeout(_VOLUMES_WITHIN):
                await self._view.until(lambda: all(self._has_volume(pod, key, placed.node) for key in keys))
        except TimeoutError:
            raise _VolumesFailed("binding volumes: context deadline exceeded") from None

    def _has_volume(self, pod: PodInfo, key: Key, node: str) -> bool:
        if pod.uid not in self._view.assumed:
            raise _VolumesFailed("the pod is gone")
        claim = self._claims.get(key)
        if claim is None:
            raise _VolumesFailed(f'binding volumes: persistentvolumeclaim "{key.name}" not found')
        chosen = claim.metadata.annotations.get(SELECTED_NODE, node)
        if chosen != node:
            raise _VolumesFailed(f'binding volumes: selected-node annotation value "{chosen}" not set to "{node}"')
        return bound(claim)

    def _unbound(self, pod: PodInfo, node: str, error: Exception) -> None:
        """Take an assumed pod off its node again, unless the watch has meanwhile shown it there."""
        if pod.uid not in self._view.assumed:
            return
        self._view.assumed.discard(pod.uid)
        self.cluster.remove(pod.uid)
        self._view.freed(node)
        if isinstance(error, NotFound):
            self.queue.remove(pod.uid)
            return
        _log.info("%s: binding to %s failed: %s", pod.key, node, error)
        self.queue.back_off(pod.uid)
        text = str(error) if isinstance(error, _VolumesFailed) else f"binding rejected: {error}"
        self._event(pod, "Warning", "FailedScheduling", text)

    # -- reporting -----------------------------------------------------------------------------------------------

    def _tell(self, group: asyncio.TaskGroup, pod: PodInfo, reason: str, message: str, nominated: str) -> None:
        """Put the reason into the pod's status (and an event), once per message."""
        if self._told.get(pod.uid) == (message, nominated):
            return
        self._told[pod.uid] = (message, nominated)
        if reason == "Unschedulable":
            self._event(pod, "Warning", "FailedScheduling", message)
        current = self._current(pod)
        known = current.status.condition("PodScheduled") if current is not None else None
        status: dict[str, Any] = {}
        if known is None or (known.status, known.reason, known.message) != ("False", reason, message):
            condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
            if known is None or known.status != "False":
                condition["lastTransitionTime"] = format_time(time.time())
            status["conditions"] = [condition]
        if nominated != pod.nominated or (current is not None and nominated != current.status.nominated_node_name):
            status["nominatedNodeName"] = nominated or None
        if status:
            self._report(group, pod, status)

    def _report(self, group: asyncio.TaskGroup, pod: PodInfo, status: dict[str, Any]) -> None:
        earlier = self._reports.get(pod.uid)
        write: Coroutine[Any, Any, None] = self._write_report(pod, status, earlier)
        self._reports[pod.uid] = group.create_task(write, name=f"report {pod.key}")

    async def _write_report(self, pod: PodInfo, status: dict[str, Any], earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        try:
            await self._writer.report(pod, status)
        except ApiError as error:
            # The next attempt tells again; a pod that is gone needs no word.
            self._told.pop(pod.uid, None)
            if not isinstance(error, NotFound):
                _log.info("%s: reason not reported: %s", pod.key, error)
        finally:
            if self._reports.get(pod.uid) is asyncio.current_task():
                del self._reports[pod.uid]

    def _current(self, pod: PodInfo) -> Pod | None:
        """The pod as last seen; None when it is gone."""
        current = self._pods.get(pod.key)
        return current if current is not None and current.uid == pod.uid else None

    def _event(self, pod: PodInfo, type_: str, reason: str, message: str) -> None:
        current = self._current(pod)
        if current is not None:
            self._recorder.event(current, type_, reason, message)
