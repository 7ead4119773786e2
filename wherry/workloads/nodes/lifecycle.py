"""Nodes that stop reporting become Unknown, get taints and lose their ready pods; those that return are untainted."""

from __future__ import annotations

import time
from collections.abc import Callable

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.errors import NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Condition, Lease, Node, Pod
from wherry.kube.times import format_time
from wherry.workloads import templates
from wherry.workloads.indexes import NODE_INDEX, node_values
from wherry.workloads.nodes import compile

LEASE_NAMESPACE = "kube-node-lease"

GRACE = 40.0
"""Default seconds without a sign of life after which a node counts as unreachable."""

_OVERSLEPT = 2.0
"""A look at a node that comes this late (seconds) means this process stood still, not the node."""


class NodeLifecycleController(Controller):
    """Watches heartbeats: node leases, and the Ready condition's heartbeat time."""

    name = "node-lifecycle"
    workers = 2

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        grace: float = GRACE,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self._grace = grace
        self._clock = clock
        self._monotonic = monotonic
        self._heartbeats = compile.Heartbeats()
        self._silent: set[str] = set()
        self._due: dict[str, float] = {}
        self._marked: dict[str, str | None] = {}
        self._nodes = informers.informer(kinds.NODES)
        self._leases = informers.informer(kinds.LEASES, namespace=LEASE_NAMESPACE)
        self._pods = informers.informer(kinds.PODS)
        self._pods.add_index(NODE_INDEX, node_values)
        self._leases.add_handler(self._lease_changed)
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)

    async def prepare(self) -> None:
        """Wait for nodes, leases and pods."""
        for informer in (self._nodes, self._leases, self._pods):
            await informer.synced()

    # -- what changed --------------------------------------------------------------------------------------------

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        if new is not None:
            self._heartbeats.saw(new.name, lease=new.spec.renew_time or "", now=self._monotonic())
            if new.name in self._silent:
                self.queue.add(Key("", new.name))

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self._heartbeats.forget(old.name)
                self._silent.discard(old.name)
                self._due.pop(old.name, None)
                self._marked.pop(old.name, None)
            return
        ready = new.status.condition(compile.READY)
        if ready is not None and ready.status != "Unknown":
            self._heartbeats.saw(new.name, status=ready.last_heartbeat_time or "", now=self._monotonic())
        self.queue.add(new.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None and new.spec.node_name in self._silent and new.ready:
            self.queue.add(Key("", new.spec.node_name))

    # -- one node ------------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> Result | None:
        """Make conditions, taints and pods of one node say what is known of it."""
        node = self._nodes.get(key)
        if node is None:
            return None
        now = self._monotonic()
        if (due := self._due.get(node.name)) is not None and now > due + _OVERSLEPT:
            self._heartbeats.excuse_all(now)
        left = self._heartbeats.last(node.name, now) + self._grace - now
        changed: tuple[Condition, ...] = ()
        if left <= 0:
            self._silent.add(node.name)
            self._due.pop(node.name, None)
            changed = compile.silent_conditions(node, self._clock())
        else:
            self._heard_again(node.name)
            self._due[node.name] = now + left
        if changed:
            node = await self._report(node, changed)
        ready = compile.ready_status(node)
        await self._taint(node, ready)
        await self._mark_pods(node, ready)
        return Result(requeue_after=left) if left > 0 else None

    def _heard_again(self, name: str) -> None:
        """A node is back; while all were silent the others were spared, which ends now."""
        if name in self._silent:
            self._silent.discard(name)
            for other in self._silent:
                self.queue.add(Key("", other))

    async def _report(self, node: Node, conditions: tuple[Condition, ...]) -> Node:
        patch = {
            "metadata": {"uid": node.uid},
            "status": {"conditions": [templates.plain(each) for each in conditions]},
        }
        updated = await self._client.patch(kinds.NODES, node.name, patch, subresource="status", type="strategic")
        self._recorder.event(node, "Normal", "NodeNotReady", f"Node {node.name} status is now: NodeNotReady")
        return updated

    async def _taint(self, node: Node, ready: str | None) -> None:
        # With no node left to go to, evicting helps nobody: more likely it is this side that is cut off.
        everyone = all(each.name in self._silent for each in self._nodes.list())
        taints = compile.wanted_taints(node, ready, self._clock(), evict=ready != "Unknown" or not everyone)
        if taints == node.spec.taints:
            return
        patch = {
            "metadata": {"uid": node.uid, "resourceVersion": node.metadata.resource_version},
            "spec": {"taints": [templates.plain(each) for each in taints] or None},
        }
        await self._client.patch(kinds.NODES, node.name, patch)

    async def _mark_pods(self, node: Node, ready: str | None) -> None:
        """Take the pods of an unreachable node out of service; of a node that says it is not ready, once."""
        if ready in ("True", None):
            self._marked.pop(node.name, None)
            return
        condition = node.status.condition(compile.READY)
        since = condition.last_transition_time if condition else None
        if ready == "False" and self._marked.get(node.name, "") == since:
            return
        self._marked[node.name] = since
        stamp = format_time(self._clock())
        for pod in self._pods.by_index(NODE_INDEX, node.name):
            if not pod.ready:
                continue
            patch = {
                "metadata": {"uid": pod.uid},
                "status": {
                    "conditions": [{"type": compile.READY, "status": "False", "lastTransitionTime": stamp}],
                },
            }
            try:
                await self._client.patch(
                    kinds.PODS, pod.name, patch, namespace=pod.namespace, subresource="status", type="strategic"
                )
            except NotFound:
                continue
            self._recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")
