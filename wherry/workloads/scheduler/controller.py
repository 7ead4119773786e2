"""The scheduler's edge: watches pods, nodes and namespaces, binds pods and says why others wait."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.errors import ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.objects import Namespace, Node, Pod
from wherry.kube.times import format_time
from wherry.workloads.scheduler import filters
from wherry.workloads.scheduler.compile import Placed, Unschedulable, schedule
from wherry.workloads.scheduler.filters import Filter
from wherry.workloads.scheduler.model import Cluster, NodeInfo, PodInfo, pod_info
from wherry.workloads.scheduler.queue import SchedulingQueue

SCHEDULER_NAME = "default-scheduler"

_ALL = frozenset(Filter)
_ROOM = frozenset({Filter.PORTS, Filter.FIT})
_NEIGHBOURS = frozenset({Filter.SPREAD, Filter.PODS})
_WRITERS = 32
"""How many bindings and status patches may be under way at once."""

_BREATH = 0.005
"""Seconds of uninterrupted scheduling after which the event loop gets a turn."""

_GATED = "Scheduling is blocked due to non-empty scheduling gates"

_log = logging.getLogger(__name__)


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
        self._client = client
        self._recorder = recorder
        self._scheduler_name = scheduler_name
        self.cluster = Cluster()
        self.queue = SchedulingQueue(time.monotonic)
        self._assumed: set[str] = set()
        self._told: dict[str, str] = {}
        self._reports: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_WRITERS)
        self._pods = informers.informer(kinds.PODS)
        self._nodes = informers.informer(kinds.NODES)
        self._namespaces = informers.informer(kinds.NAMESPACES)
        self._namespaces.add_handler(self._namespace_changed)
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)

    async def run(self) -> None:
        """Schedule until cancelled."""
        for informer in (self._nodes, self._namespaces, self._pods):
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
            self._tell(group, pod, "SchedulingGated", _GATED)
            return
        try:
            outcome = schedule(pod, self.cluster)
        except Exception:
            _log.exception("%s: cannot be scheduled", pod.key)
            self.queue.back_off(pod.uid)
            return
        match outcome:
            case Placed(node):
                self._assumed.add(pod.uid)
                self.cluster.place(pod, node)
                self.queue.retry(frozenset({Filter.PODS}))
                group.create_task(self._bind(pod, node), name=f"bind {pod.key}")
            case Unschedulable(message, blocked):
                self.queue.park(pod.uid, blocked)
                self._tell(group, pod, "Unschedulable", message)

    async def _bind(self, pod: PodInfo, node: str) -> None:
        if report := self._reports.get(pod.uid):
            await asyncio.wait({report})
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            async with self._slots:
                await self._client.create_subresource(
                    kinds.PODS, pod.key.name, "binding", body, namespace=pod.key.namespace
                )
        except ApiError as error:
            self._unbound(pod, node, error)
        else:
            self._assumed.discard(pod.uid)
            self._told.pop(pod.uid, None)
            self.queue.remove(pod.uid)
            self._event(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}")

    def _unbound(self, pod: PodInfo, node: str, error: ApiError) -> None:
        """Take an assumed pod off its node again, unless the watch has meanwhile shown it there."""
        if pod.uid not in self._assumed:
            return
        self._assumed.discard(pod.uid)
        self.cluster.remove(pod.uid)
        self._freed(node)
        if isinstance(error, NotFound):
            self.queue.remove(pod.uid)
            return
        _log.info("%s: binding to %s failed: %s", pod.key, node, error)
        self.queue.back_off(pod.uid)
        self._event(pod, "Warning", "FailedScheduling", f"binding rejected: {error}")

    # -- reporting -----------------------------------------------------------------------------------------------

    def _tell(self, group: asyncio.TaskGroup, pod: PodInfo, reason: str, message: str) -> None:
        """Put the reason into the pod's condition (and an event), once per message."""
        if self._told.get(pod.uid) == message:
            return
        self._told[pod.uid] = message
        if reason == "Unschedulable":
            self._event(pod, "Warning", "FailedScheduling", message)
        current = self._pods.get(pod.key)
        known = current.status.condition("PodScheduled") if current and current.uid == pod.uid else None
        if known and (known.status, known.reason, known.message) == ("False", reason, message):
            return
        condition: dict[str, Any] = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        if known is None or known.status != "False":
            condition["lastTransitionTime"] = format_time(time.time())
        earlier = self._reports.get(pod.uid)
        self._reports[pod.uid] = group.create_task(self._report(pod, condition, earlier), name=f"report {pod.key}")

    async def _report(self, pod: PodInfo, condition: dict[str, Any], earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        patch = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        try:
            async with self._slots:
                await self._client.patch(
                    kinds.PODS,
                    pod.key.name,
                    patch,
                    namespace=pod.key.namespace,
                    subresource="status",
                    type="strategic",
                )
        except ApiError as error:
            # The next attempt tells again; a pod that is gone needs no word.
            self._told.pop(pod.uid, None)
            if not isinstance(error, NotFound):
                _log.info("%s: reason not reported: %s", pod.key, error)
        finally:
            if self._reports.get(pod.uid) is asyncio.current_task():
                del self._reports[pod.uid]

    def _event(self, pod: PodInfo, type_: str, reason: str, message: str) -> None:
        current = self._pods.get(pod.key)
        if current is not None and current.uid == pod.uid:
            self._recorder.event(current, type_, reason, message)

    # -- what changed --------------------------------------------------------------------------------------------

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None or new.finished:
            gone = new or old
            if gone is not None:
                self._pod_gone(gone)
        elif new.spec.node_name:
            self._pod_placed(old, new)
        elif new.spec.scheduler_name == self._scheduler_name:
            self._pod_pending(old, new)

    def _pod_gone(self, pod: Pod) -> None:
        self.queue.remove(pod.uid)
        self._assumed.discard(pod.uid)
        self._told.pop(pod.uid, None)
        node = self.cluster.node_of(pod.uid)
        if node is not None:
            self.cluster.remove(pod.uid)
            self._freed(node)

    def _pod_placed(self, old: Pod | None, new: Pod) -> None:
        self.queue.remove(new.uid)
        self._assumed.discard(new.uid)
        self._told.pop(new.uid, None)
        if self.cluster.node_of(new.uid) == new.spec.node_name and old is not None and _same(old, new):
            return
        if info := _reduce(new):
            self.cluster.place(info, new.spec.node_name)
            self.queue.retry(_NEIGHBOURS)

    def _pod_pending(self, old: Pod | None, new: Pod) -> None:
        if new.deleting:
            self.queue.remove(new.uid)
        elif new.uid not in self._assumed and (info := _reduce(new)):
            if old is not None and new.uid in self.queue and _same(old, new):
                self.queue.refresh(info)
            else:
                self.queue.add(info)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self.cluster.remove_node(old.name)
                self.queue.retry(_ALL)
            return
        try:
            self.cluster.set_node(new)
        except ValueError as error:
            _log.warning("node %s: not usable: %s", new.name, error)
            self.cluster.remove_node(new.name)
            return
        if old is None:
            self.queue.retry(_ALL)
            return
        if old.labels != new.labels:
            self.queue.retry(_NEIGHBOURS)
        elif old.spec == new.spec and old.status.allocatable == new.status.allocatable:
            return
        self._could_help(new.name, _ALL)

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is None:
            if old is not None:
                self.cluster.namespaces.pop(old.name, None)
        elif self.cluster.namespaces.get(new.name) != new.labels:
            self.cluster.namespaces[new.name] = new.labels
            self.queue.retry(frozenset({Filter.PODS}))

    def _freed(self, node: str) -> None:
        self._could_help(node, _ROOM)
        self.queue.retry(_NEIGHBOURS)

    def _could_help(self, node: str, changed: frozenset[Filter]) -> None:
        """Try waiting pods again that this node alone would now take."""
        info = self.cluster.node(node)
        if info is not None:
            self.queue.retry(changed, partial(_takes, info))


def _takes(info: NodeInfo, pod: PodInfo) -> bool:
    return filters.reject(pod, info) is None


def _same(old: Pod, new: Pod) -> bool:
    """Whether nothing that placement depends on differs."""
    return old.deleting == new.deleting and old.labels == new.labels and old.spec == new.spec


def _reduce(pod: Pod) -> PodInfo | None:
    """The pod as placement sees it; None, with a word in the log, for one that makes no sense."""
    try:
        return pod_info(pod)
    except ValueError as error:
        _log.warning("pod %s: not schedulable: %s", pod.key, error)
        return None
