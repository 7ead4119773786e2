"""Follows the server on the scheduler's behalf: keeps its picture of the cluster, and brings waiting pods back.

A pod that found no node is tried again when something changes that one of the filters which refused it looks at; where
the change is about one node, only if that node could take the pod now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from wherry.kube import kinds
from wherry.kube.informer import Informers
from wherry.kube.objects import Namespace, Node, Pod, Service
from wherry.workloads.scheduler import filters
from wherry.workloads.scheduler.filters import Filter
from wherry.workloads.scheduler.model import Cluster, NodeInfo, PodInfo, pod_info
from wherry.workloads.scheduler.queue import SchedulingQueue

_ALL = frozenset(Filter)
_ROOM = frozenset({Filter.PORTS, Filter.FIT})
_NEIGHBOURS = frozenset({Filter.SPREAD, Filter.PODS})
_VOLUMES = frozenset({Filter.VOLUMES})

_log = logging.getLogger(__name__)


class View:
    """Handlers of the scheduler's informers.

    ``assumed`` holds the pods that count on a node although the server does not say so yet; ``told`` what waiting pods
    were told, forgotten here with the pod.
    """

    def __init__(self, cluster: Cluster, queue: SchedulingQueue, scheduler: str, told: dict[str, Any]) -> None:
        self._cluster = cluster
        self._queue = queue
        self._scheduler = scheduler
        self._told = told
        self.assumed: set[str] = set()
        self._storage_changed = asyncio.Event()

    def follow(self, informers: Informers) -> None:
        """Have the handlers called."""
        informers.informer(kinds.NAMESPACES).add_handler(self._namespace_changed)
        informers.informer(kinds.SERVICES).add_handler(self._service_changed)
        informers.informer(kinds.NODES).add_handler(self._node_changed)
        informers.informer(kinds.PERSISTENT_VOLUME_CLAIMS).add_handler(self._storage)
        informers.informer(kinds.PERSISTENT_VOLUMES).add_handler(self._storage)
        informers.informer(kinds.STORAGE_CLASSES).add_handler(self._storage)
        informers.informer(kinds.PODS).add_handler(self._pod_changed)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition over claims, volumes and classes holds; raises what it raises."""
        while not condition():
            self._storage_changed.clear()
            await self._storage_changed.wait()

    def freed(self, node: str) -> None:
        """A pod left a node."""
        self._could_help(node, _ROOM)
        self._queue.retry(_NEIGHBOURS | _VOLUMES)

    # -- pods ----------------------------------------------------------------------------------------------------

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None or new.finished:
            gone = new or old
            if gone is not None:
                self._pod_gone(gone)
        elif new.spec.node_name:
            self._pod_placed(old, new)
        elif new.spec.scheduler_name == self._scheduler:
            self._pod_pending(old, new)

    def _forget(self, uid: str) -> None:
        self._queue.remove(uid)
        self.assumed.discard(uid)
        self._told.pop(uid, None)
        room = self._cluster.nominated.pop(uid, None)
        if room is not None and self._cluster.node_of(uid) is None:
            # What was kept for the pod is free for others.
            self._could_help(room.nominated, _ROOM)

    def _pod_gone(self, pod: Pod) -> None:
        self._forget(pod.uid)
        node = self._cluster.node_of(pod.uid)
        if node is not None:
            self._cluster.remove(pod.uid)
            self.freed(node)
        # A pod that waits for its claims' volumes looks whether it is still there.
        self._storage_changed.set()

    def _pod_placed(self, old: Pod | None, new: Pod) -> None:
        there = self._cluster.node_of(new.uid) == new.spec.node_name
        if not there and (info := _reduce(new)):
            self._cluster.place(info, new.spec.node_name)
        self._forget(new.uid)
        if there and old is not None and _same(old, new):
            return
        if info := _reduce(new):
            self._cluster.place(info, new.spec.node_name)
            self._queue.retry(_NEIGHBOURS)

    def _pod_pending(self, old: Pod | None, new: Pod) -> None:
        if new.deleting:
            self._forget(new.uid)
        elif new.uid not in self.assumed and (info := _reduce(new)):
            before = old.status.nominated_node_name if old is not None else ""
            if info.nominated != before:
                self._cluster.nominate(info, info.nominated)
            if old is not None and new.uid in self._queue and _same(old, new):
                self._queue.refresh(info)
            else:
                self._queue.add(info)

    # -- everything else -----------------------------------------------------------------------------------------

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self._cluster.remove_node(old.name)
                self._queue.retry(_ALL)
            return
        try:
            self._cluster.set_node(new)
        except ValueError as error:
            _log.warning("node %s: not usable: %s", new.name, error)
            self._cluster.remove_node(new.name)
            return
        if old is None:
            self._queue.retry(_ALL)
            return
        if old.labels != new.labels:
            self._queue.retry(_NEIGHBOURS | _VOLUMES)
        elif old.spec == new.spec and old.status.allocatable == new.status.allocatable:
            return
        self._could_help(new.name, _ALL)

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is None:
            if old is not None:
                self._cluster.namespaces.pop(old.name, None)
        elif self._cluster.namespaces.get(new.name) != new.labels:
            self._cluster.namespaces[new.name] = new.labels
            self._queue.retry(frozenset({Filter.PODS}))

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        """Only where pods go best depends on services: no waiting pod is tried again."""
        if new is not None:
            self._cluster.services.setdefault(new.namespace, {})[new.name] = new.spec.selector
        elif old is not None and (there := self._cluster.services.get(old.namespace)) is not None:
            there.pop(old.name, None)
            if not there:
                del self._cluster.services[old.namespace]

    def _storage(self, old: object | None, new: object | None) -> None:
        self._storage_changed.set()
        self._queue.retry(_VOLUMES)

    def _could_help(self, node: str, changed: frozenset[Filter]) -> None:
        """Try waiting pods again that this node alone would now take."""
        info = self._cluster.node(node)
        if info is not None:
            self._queue.retry(changed, partial(_takes, info))


def _takes(info: NodeInfo, pod: PodInfo) -> bool:
    """Whether the node could take the pod, perhaps once less important ones have left it."""
    rejection = filters.reject(pod, info)
    if rejection is None:
        return True
    return rejection.removable and pod.preempts and any(each.priority < pod.priority for each in info.pods.values())


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
