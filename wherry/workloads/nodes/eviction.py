"""Pods leave a node whose NoExecute taints they do not tolerate, or no longer do."""

from __future__ import annotations

import time
from collections.abc import Callable

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Node, Pod
from wherry.kube.times import parse_time
from wherry.workloads import placement, podstate
from wherry.workloads.indexes import NODE_INDEX, node_values
from wherry.workloads.nodes import compile
from wherry.workloads.nodes.disruption import disrupt


class TaintEvictionController(Controller):
    """Looks at every pod on a node with NoExecute taints, now and when its toleration runs out."""

    name = "taint-eviction"
    workers = 8

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._nodes = informers.informer(kinds.NODES)
        self._pods = informers.informer(kinds.PODS)
        self._pods.add_index(NODE_INDEX, node_values)
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)

    async def prepare(self) -> None:
        """Wait for nodes and pods."""
        await self._nodes.synced()
        await self._pods.synced()

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None and _evicting(new) and (old is None or old.spec.taints != new.spec.taints):
            for pod in self._pods.by_index(NODE_INDEX, new.name):
                self.queue.add(pod.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None or not new.spec.node_name or new.deleting:
            return
        if old is not None and old.spec.node_name and old.spec.tolerations == new.spec.tolerations:
            return
        node = self._nodes.get(Key("", new.spec.node_name))
        if node is not None and _evicting(node):
            self.queue.add(new.key)

    async def reconcile(self, key: Key) -> Result | None:
        """Let the pod stay, look again later, or delete it."""
        pod = self._pods.get(key)
        if pod is None or pod.deleting or pod.finished:
            return None
        node = self._nodes.get(Key("", pod.spec.node_name))
        if node is None:
            return None
        match compile.verdict(pod, node.spec.taints, _since(pod), self._clock()):
            case compile.Stay(None):
                return None
            case compile.Stay(float(seconds)):
                return Result(requeue_after=seconds)
        await self._evict(pod)
        return None

    async def _evict(self, pod: Pod) -> None:
        self._recorder.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {pod.key}")
        message = "Taint manager: deleting due to NoExecute taint"
        await disrupt(self._client, pod, reason="DeletionByTaintManager", message=message, now=self._clock())


def _evicting(node: Node) -> bool:
    return any(taint.effect == placement.NO_EXECUTE for taint in node.spec.taints)


def _since(pod: Pod) -> float:
    """When the pod came to its node."""
    scheduled = pod.status.condition("PodScheduled")
    if scheduled is not None and scheduled.status == "True" and scheduled.last_transition_time:
        return parse_time(scheduled.last_transition_time)
    return podstate.created_at(pod)
