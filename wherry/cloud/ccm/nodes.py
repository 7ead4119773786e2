"""Makes nodes known: provider id, labels, addresses, and the taint of nodes that wait for a cloud controller gone.

Everything comes from the node's own object, which its agent annotates, so a change of an address is in the status as
soon as the agent has said it; nothing is polled.
"""

from __future__ import annotations

from wherry.cloud.ccm.compile import (
    NotYet,
    WrongNodeIP,
    addresses_of,
    initialisation,
    label_copies,
    metadata_of,
    tainted,
)
from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Terminal
from wherry.kube.errors import Conflict, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Node

COMPONENT = "cloud-node-controller"
"""Under this name its events appear."""

_TRIES = 20
"""How often a write is tried anew on the newest object when another wrote meanwhile, before the node has to wait."""


class CloudNodeController(Controller):
    """One leader of a cluster runs it. A node it cannot make known keeps its taint, and says why in an event."""

    name = COMPONENT

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self._nodes = informers.informer(kinds.NODES)
        self._nodes.add_handler(self._changed)

    def _changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None and (old is None or _said(old) != _said(new)):
            self.queue.add(new.key)

    async def prepare(self) -> None:
        """Wait for the nodes; all of them are looked at, as nobody may have done so before this process led."""
        await self._nodes.synced()
        for node in self._nodes.list():
            self.queue.add(node.key)

    async def reconcile(self, key: Key) -> None:
        """Make a node's metadata and addresses what its agent says."""
        node = self._nodes.get(key)
        if node is None:
            return
        try:
            if tainted(node):
                node, done = await self._initialise(node)
                await self._address(node)
                if done:
                    self._recorder.event(node, "Normal", "Synced", "Node synced successfully")
            else:
                await self._copy_labels(node)
                await self._address(node)
        except NotFound:  # It was deleted meanwhile.
            return
        except NotYet as error:
            # Its agent will say it, or another cloud controller looks after this node.
            self._log.debug("%s: %s", node.name, error)
        except WrongNodeIP as error:
            self._recorder.event(node, "Warning", "SyncFailed", str(error))
            raise Terminal(str(error)) from error

    async def _initialise(self, node: Node) -> tuple[Node, bool]:
        """Write metadata, and the taints without ours; returns the node as it is then and whether this was the writer.

        Raises NotYet, WrongNodeIP.
        """
        tries = _TRIES
        while tainted(node):
            metadata = metadata_of(node)
            # What cannot be applied later must not clear the taint now.
            addresses_of(node, metadata)
            try:
                return await self._client.patch(kinds.NODES, node.name, initialisation(node, metadata)), True
            except Conflict:
                tries -= 1
                if not tries:
                    raise
            node = await self._client.get(kinds.NODES, node.name)
        return node, False

    async def _address(self, node: Node) -> None:
        wanted = addresses_of(node, metadata_of(node))
        if wanted == node.status.addresses:
            return
        rows = [{"type": address.type, "address": address.address} for address in wanted]
        patch = {"metadata": {"uid": node.uid}, "status": {"addresses": rows}}
        await self._client.patch(kinds.NODES, node.name, patch, subresource="status")
        self._log.info("%s: addresses %s", node.name, ", ".join(f"{each.type} {each.address}" for each in wanted))

    async def _copy_labels(self, node: Node) -> None:
        if copies := label_copies(node.labels):
            patch = {"metadata": {"uid": node.uid, "labels": copies}}
            await self._client.patch(kinds.NODES, node.name, patch)


def _said(node: Node) -> tuple[object, ...]:
    """What of a node concerns this controller; heartbeats do not."""
    meta = node.metadata
    return meta.uid, meta.annotations, meta.labels, node.spec.taints, node.spec.provider_id, node.status.addresses
