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
from wherry.workloads.nodes import compile, zones

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
        rates: zones.Rates = zones.DEFAULT_RATES,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self._grace = grace
        self._rates = rates
        self._buckets = zones.Buckets()
        self._zones: dict[tuple[str, str], zones.Zone] = {}
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
        self._zones = zones.survey(self._nodes.list())

    # -- what changed --------------------------------------------------------------------------------------------

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        if new is not None:
            self._heartbeats.saw(new.name, lease=new.spec.renew_time or "", now=self._monotonic())
            if new.name in self._silent:
                self.queue.add(Key("", new.name))

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        self._survey(old, new)
        if new is None:
            if old is not None:
                self._event(old, "RemovingNode", f"Node {old.name} event: Removing Node {old.name} from Controller")
                self._heartbeats.forget(old.name)
                self._silent.discard(old.name)
                self._due.pop(old.name, None)
                self._marked.pop(old.name, None)
            return
        if old is None:
            self._event(new, "RegisteredNode", f"Node {new.name} event: Registered Node {new.name} in Controller")
        ready = new.status.condition(compile.READY)
        if ready is not None and ready.status != "Unknown":
            self._heartbeats.saw(new.name, status=ready.last_heartbeat_time or "", now=self._monotonic())
        self.queue.add(new.key)

    def _survey(self, old: Node | None, new: Node | None) -> None:
        """When a zone fails or recovers its other nodes' turn may have come, or gone."""
        if not self._nodes.has_synced or _bearing(old) == _bearing(new):
            return
        found = zones.survey(self._nodes.list())
        if found != self._zones:
            self._zones = found
            for node in self._nodes.list():
                if not node.ready:
                    self.queue.add(node.key)

    def _event(self, node: Node, reason: str, message: str) -> None:
        self._recorder.event(node, "Normal", reason, message)

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
            self._silent.discard(node.name)
            self._due[node.name] = now + left
        if changed:
            node = await self._report(node, changed)
        ready = compile.ready_status(node)
        turn_in = await self._taint(node, ready)
        await self._mark_pods(node, ready)
        waits = [each for each in (left if left > 0 else None, turn_in) if each is not None]
        return Result(requeue_after=min(waits)) if waits else None

    async def _report(self, node: Node, conditions: tuple[Condition, ...]) -> Node:
        patch = {
            "metadata": {"uid": node.uid},
            "status": {"conditions": [templates.plain(each) for each in conditions]},
        }
        updated = await self._client.patch(kinds.NODES, node.name, patch, subresource="status", type="strategic")
        self._event(node, "NodeNotReady", f"Node {node.name} status is now: NodeNotReady")
        return updated

    async def _taint(self, node: Node, ready: str | None) -> float | None:
        """Write the node's taints; the seconds until its turn to be cleared comes, None where that does not wait."""
        evict, rate, turn_in = False, 0.0, None
        zone = zones.zone_of(node)
        if ready not in ("True", None):
            # The cache may not show yet what was written a moment ago.
            found = zones.survey(node if each.name == node.name else each for each in self._nodes.list())
            if not zones.nothing_works(found):
                rate = found[zone].rate(self._rates) if zone in found and not compile.evicting(node) else 0.0
                left = self._buckets.left(zone, self._monotonic()) if rate else 0.0
                evict = compile.evicting(node) or (rate > 0 and not left)
                turn_in = left or None
        taints = compile.wanted_taints(node, ready, self._clock(), evict=evict)
        if taints == node.spec.taints:
            return turn_in
        patch = {
            "metadata": {"uid": node.uid, "resourceVersion": node.metadata.resource_version},
            "spec": {"taints": [templates.plain(each) for each in taints] or None},
        }
        await self._client.patch(kinds.NODES, node.name, patch)
        if evict and rate:
            self._buckets.spend(zone, rate, self._monotonic())
        return turn_in

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


def _bearing(node: Node | None) -> tuple[tuple[str, str], bool] | None:
    """What a node means for its zone."""
    return (zones.zone_of(node), node.ready) if node is not None else None
