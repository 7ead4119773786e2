"""Keeps one node's part of the pod network true to the Node objects.

Watches all nodes; compiles, applies the difference to what was applied last, and publishes this node's own end as
annotations. Once a minute, after an error and at the start it reads what the kernel really holds, so that what others
changed (or an earlier run left) is repaired, and only that. While nothing is known about this node (not registered, no
pod range yet) the kernel is left as it is: a restarted agent does not cut connections before its cache is full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from wherry.kernel.nft import Nft
from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Node
from wherry.net.types import IPAddress, IPNetwork
from wherry.overlay import annotations as notes
from wherry.overlay.apply import OverlayKernel, cleanup, commit_rules
from wherry.overlay.compile import compile_overlay
from wherry.overlay.model import Backend, Desired, Outcome, OverlaySettings

_READ_BACK_SECONDS: Final = 60.0


class OverlayController(Controller):
    """The overlay of one node.

    `nft` is the namespace's, shared with its other users. `node_ips` are the node's addresses to be tunnelled from,
    those in its status where none are given; `interface` names the device to be used instead. `masquerade` lists the
    IP versions that are masqueraded where they leave the cluster.
    """

    name = "overlay"

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        node: str,
        backend: Backend,
        cluster_cidrs: Iterable[IPNetwork],
        nft: Nft,
        masquerade: tuple[int, ...] = (4,),
        node_ips: Iterable[IPAddress] = (),
        interface: str = "",
        kernel: OverlayKernel | None = None,
    ) -> None:
        super().__init__()
        self._settings = OverlaySettings(
            node=node, backend=backend, cluster_cidrs=tuple(cluster_cidrs), masquerade=masquerade
        )
        self._client = client
        self._recorder = recorder
        self._nft = nft
        self._kernel = kernel or OverlayKernel()
        self._node_ips = tuple(node_ips)
        self._interface = interface
        self._key = Key("", node)
        self._applied: Desired | None = None
        self._problems: tuple[str, ...] = ()
        self._read_at = float("-inf")
        self.ready = asyncio.Event()
        """Set once the node's part of the pod network has been in force."""
        self._nodes = informers.informer(kinds.NODES)
        self._nodes.add_handler(self._changed)

    def _changed(self, old: Node | None, new: Node | None) -> None:
        """Look again when a node's part in the overlay changed, whichever node it is; heartbeats are no change."""
        if old is None or new is None or _facts(old) != _facts(new):
            self.queue.add(self._key)

    async def prepare(self) -> None:
        """Wait until all nodes are known: a peer that is merely not listed yet must not be cut off."""
        await self._nodes.synced()
        if self._settings.backend == "none":
            await cleanup(self._nft, self._kernel)
            self.ready.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await super().run()
        finally:
            self._kernel.close()

    async def reconcile(self, key: Key) -> Result | None:
        """Make the kernel fit the nodes; `key` is this node's, as there is one state for all of them."""
        own = self._nodes.get(self._key)
        if self._settings.backend == "none" or own is None or not own.spec.pod_cidrs:
            return None
        outcome = await self._apply(own)
        await self._publish(own, outcome)
        self._tell(own, outcome.problems)
        self.ready.set()
        return Result(requeue_after=_READ_BACK_SECONDS)

    async def _apply(self, own: Node) -> Outcome:
        """Compile and apply the difference to what was applied last; after an error nothing counts as applied."""
        now = asyncio.get_running_loop().time()
        known = self._applied if now - self._read_at < _READ_BACK_SECONDS else None
        self._applied = None
        addresses = self._node_ips or tuple(notes.parse_all(own.addresses("InternalIP")))
        underlay = self._kernel.underlay(addresses, interface=self._interface)
        outcome = compile_overlay(self._settings, own, self._nodes.list(), underlay)
        desired = outcome.desired
        # Some thousand requests with as many nodes: more than an event loop should wait for.
        await asyncio.to_thread(self._kernel.apply, desired, known=known)
        if known is None or known.rules != desired.rules:
            await commit_rules(self._nft, desired, anew=self._read_at == float("-inf"))
        if known is None:
            self._read_at = now
        self._applied = desired
        return outcome

    async def _publish(self, own: Node, outcome: Outcome) -> None:
        """Tell the peers where to send to; also takes back what a former backend or address family said."""
        present = {name: own.metadata.annotations[name] for name in notes.ALL if name in own.metadata.annotations}
        if present != outcome.annotations:
            change = dict.fromkeys(present.keys() - outcome.annotations.keys()) | outcome.annotations
            await self._client.patch(kinds.NODES, own.name, {"metadata": {"annotations": change}})

    def _tell(self, own: Node, problems: tuple[str, ...]) -> None:
        """Report what is wrong, once for as long as it lasts."""
        for problem in problems:
            if problem not in self._problems:
                self._log.warning("%s", problem)
                self._recorder.event(own, "Warning", "OverlayProblem", problem)
        self._problems = problems


def _facts(node: Node) -> tuple[object, ...]:
    """Return what of a node concerns the overlay."""
    published = node.metadata.annotations
    facts = tuple(published.get(name) for name in (*notes.ALL, *notes.OVERWRITE.values()))
    return (*facts, node.spec.pod_cidrs, node.addresses("InternalIP"))
