"""Gives every node its pod ranges (`spec.podCIDRs`), one of each cluster CIDR; the classical range allocator.

* Ranges that nodes have already are recorded before the first new one is handed out, so a restart cannot give one
  twice. A range that a node has is never changed.
* A range is given back when its node is deleted, and goes round before it is handed out again.
* When nothing is free the node gets the event `CIDRNotAvailable`, and is served as soon as another node goes.
* What was chosen for a node stays chosen while writing it fails, so retries do not leak ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from wherry.ipam.model import MASK_SIZES, NodeRanges
from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller
from wherry.kube.errors import NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Node
from wherry.net.errors import Exhausted
from wherry.net.types import IPNetwork


class IpamController(Controller):
    """Node range allocation; run by one process of a cluster at a time.

    `mask_sizes` is the prefix length of a node's range by IP version. Raises ValueError as `NodeRanges` does, and
    where there is no cluster CIDR.
    """

    name = "ipam"

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        cluster_cidrs: Iterable[IPNetwork],
        service_cidrs: Iterable[IPNetwork] = (),
        mask_sizes: Mapping[int, int] = MASK_SIZES,
    ) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        prefixes = tuple(cluster_cidrs)
        if not prefixes:
            raise ValueError("no cluster CIDR to give nodes ranges from")
        self._ranges = NodeRanges(prefixes, mask_sizes=mask_sizes, service_cidrs=service_cidrs)
        self._unserved: set[Key] = set()
        self._nodes = informers.informer(kinds.NODES)
        self._nodes.add_handler(self._changed)

    def _changed(self, old: Node | None, new: Node | None) -> None:
        """Queue a node that came, went, or whose ranges changed; heartbeats do not concern us."""
        if old is None or new is None or old.spec.pod_cidrs != new.spec.pod_cidrs:
            self.enqueue(old, new)

    async def prepare(self) -> None:
        """Record what all nodes have before anything is handed out."""
        await self._nodes.synced()
        for node in self._nodes.list():
            self._record(node)

    async def reconcile(self, key: Key) -> None:
        """Make a node have its ranges, or give back what a deleted one had."""
        node = self._nodes.get(key)
        if node is None:
            self._unserved.discard(key)
            if self._ranges.release(key.name):
                self._serve_waiting()
        elif node.spec.pod_cidrs:
            self._unserved.discard(key)
            self._record(node)
        else:
            await self._assign(key, node)

    async def _assign(self, key: Key, node: Node) -> None:
        try:
            ranges = self._ranges.allocate(node.name, node.uid)
        except Exhausted as error:
            self._unserved.add(key)
            message = f"Node {node.name} status is now: CIDRNotAvailable: {error}"
            self._recorder.event(node, "Normal", "CIDRNotAvailable", message)
            self._log.warning("%s: no pod range: %s", node.name, error)
            return
        self._unserved.discard(key)
        texts = [str(network) for network in ranges]
        # The uid makes the write fail for a node that was deleted and made anew meanwhile.
        patch = {"metadata": {"uid": node.uid}, "spec": {"podCIDR": texts[0], "podCIDRs": texts}}
        try:
            await self._client.patch(kinds.NODES, node.name, patch)
        except NotFound:  # The news of its deletion is on its way, and gives the ranges back.
            return
        self._log.info("%s: pod ranges %s", node.name, ", ".join(texts))

    def _record(self, node: Node) -> None:
        if not node.spec.pod_cidrs:
            return
        had = self._ranges.owner(node.name)
        try:
            ranges = tuple(ip_network(text, strict=False) for text in node.spec.pod_cidrs)
        except ValueError as error:
            problems = [str(error)]
        else:
            problems = self._ranges.occupy(node.name, node.uid, ranges)
            if had is not None and had.ranges != ranges:
                self._serve_waiting()
        for problem in problems:
            self._log.warning("%s: %s", node.name, problem)
            self._recorder.event(node, "Warning", "CIDRNotUsable", f"Pod range of node {node.name}: {problem}")

    def _serve_waiting(self) -> None:
        """Something became free: look again at every node that got nothing."""
        for key in self._unserved:
            self.queue.add(key)
