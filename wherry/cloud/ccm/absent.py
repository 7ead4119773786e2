"""Says what is wrong where nodes wait for a cloud controller and this cluster runs none (--disable-cloud-controller).

Such nodes take no pods, and nothing in Kubernetes says why beyond the name of a taint. An external cloud controller
usually comes within seconds, so nothing is said before it had its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from wherry.cloud.ccm import names
from wherry.cloud.ccm.compile import tainted
from wherry.kube import kinds
from wherry.kube.controller import Controller, Result
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Node, Pod

REASON = "NoCloudController"
PATIENCE = 5.0
"""Seconds a node may wait before it is said."""


def said_of_node(waited: float) -> str:
    """What a node's event and the log say."""
    return (
        f"no cloud controller has made this node known for {waited:.0f} s, and until one does nothing is scheduled "
        f"on it (taint {names.UNINITIALIZED}): the embedded one is off (--disable-cloud-controller); deploy that of "
        "your cloud provider, or start the servers without that flag"
    )


def said_of_pod(nodes: list[str]) -> str:
    """What the event of a pod that finds no node says."""
    return (
        f"node(s) {', '.join(sorted(nodes))} wait for a cloud controller (taint {names.UNINITIALIZED}), and none runs: "
        "the embedded one is off (--disable-cloud-controller)"
    )


def waiting_for_node(pod: Pod) -> bool:
    """Whether the scheduler found no node for the pod."""
    condition = next((each for each in pod.status.conditions if each.type == "PodScheduled"), None)
    return not pod.spec.node_name and not pod.deleting and condition is not None and condition.reason == "Unschedulable"


class AbsentCloudController(Controller):
    """Warns, once for each node and each pod that suffers; ``patience`` is in seconds."""

    name = "cloud-controller-absent"

    def __init__(
        self,
        informers: Informers,
        recorder: EventRecorder,
        *,
        patience: float = PATIENCE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._recorder = recorder
        self._patience = patience
        self._monotonic = monotonic
        self._since: dict[str, float] = {}
        self._told: set[str] = set()
        self._told_pods: set[str] = set()
        self._nodes = informers.informer(kinds.NODES)
        self._nodes.add_handler(self._node_changed)
        self._pods = informers.informer(kinds.PODS)
        self._pods.add_handler(self._pod_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if any(node is not None and tainted(node) for node in (old, new)):
            self.enqueue(old, new)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            self._told_pods.discard(old.uid if old is not None else "")
        elif self._since and waiting_for_node(new) and new.uid not in self._told_pods:
            for name in self._since:
                self.queue.add(Key("", name))

    async def prepare(self) -> None:
        """Wait for nodes and pods."""
        await self._nodes.synced()
        await self._pods.synced()

    async def reconcile(self, key: Key) -> Result | None:
        """Say it of a node that has waited too long, and of the pods that wait with it."""
        node = self._nodes.get(key)
        if node is None or not tainted(node):
            self._since.pop(key.name, None)
            self._told.discard(key.name)
            return None
        now = self._monotonic()
        waited = now - self._since.setdefault(node.name, now)
        if waited < self._patience:
            return Result(requeue_after=self._patience - waited)
        if node.name not in self._told:
            self._told.add(node.name)
            self._log.warning("node %s: %s", node.name, said_of_node(waited))
            self._recorder.event(node, "Warning", REASON, said_of_node(waited))
        for pod in self._pods.list():
            if waiting_for_node(pod) and pod.uid not in self._told_pods:
                self._told_pods.add(pod.uid)
                self._recorder.event(pod, "Warning", REASON, said_of_pod(list(self._since)))
        return None
