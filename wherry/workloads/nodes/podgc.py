"""Pods whose node is gone are removed by force: nobody is left who could stop them.

So are ending pods of a node that somebody vouches is switched off, by the taint ``node.kubernetes.io/out-of-service``
(KEP-2268).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller
from wherry.kube.errors import NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Node, Pod
from wherry.workloads import placement
from wherry.workloads.indexes import NODE_INDEX, node_values
from wherry.workloads.nodes.disruption import disrupt

QUARANTINE = 5.0
"""Default seconds between a node's disappearance and that of its pods, for a node that is only made anew."""


class PodCollector(Controller):
    """Works on names of nodes that pods are bound to and that do not exist, or are out of service."""

    name = "podgc"

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        quarantine: float = QUARANTINE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._client = client
        self._quarantine = quarantine
        self._clock = clock
        self._nodes = informers.informer(kinds.NODES)
        self._pods = informers.informer(kinds.PODS)
        self._pods.add_index(NODE_INDEX, node_values)
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)

    async def prepare(self) -> None:
        """Wait for nodes and pods, then look at pods that were bound to missing nodes before."""
        await self._nodes.synced()
        await self._pods.synced()
        for pod in self._pods.list():
            self._pod_changed(None, pod)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None and old is not None:
            self.queue.add_after(old.key, self._quarantine)
        elif new is not None and _out_of_service(new):
            self.queue.add(new.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None or not new.spec.node_name or not self._nodes.has_synced:
            return
        key = Key("", new.spec.node_name)
        node = self._nodes.get(key)
        if node is None:
            self.queue.add_after(key, self._quarantine)
        elif new.deleting and _out_of_service(node):
            self.queue.add(key)

    async def reconcile(self, key: Key) -> None:
        """Remove the pods of a node, once the server confirms that it does not exist."""
        node = self._nodes.get(key)
        pods = self._pods.by_index(NODE_INDEX, key.name)
        if node is not None:
            for pod in pods if _out_of_service(node) else ():
                if pod.deleting:
                    await disrupt(self._client, pod, reason="", message="", now=self._clock(), phase="Failed", grace=0)
            return
        if not pods:
            return
        try:
            await self._client.get(kinds.NODES, key.name)
        except NotFound:
            message = "PodGC: node no longer exists"
            for pod in pods:
                now = self._clock()
                await disrupt(
                    self._client, pod, reason="DeletionByPodGC", message=message, now=now, phase="Failed", grace=0
                )


def _out_of_service(node: Node) -> bool:
    return not node.ready and any(taint.key == placement.TAINT_OUT_OF_SERVICE for taint in node.spec.taints)
