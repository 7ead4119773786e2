"""What interfaces a node has, with their addresses: told to the cluster, and to the host ports that are on one.

ServiceLB needs to know where `wherry.dev/lb-bind: eth1` leads on each node; the API has no place for that but an
annotation of the node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from wherry.cloud.servicelb.binding import INTERFACES
from wherry.kernel.addresswatch import AddressWatch, interface_addresses
from wherry.kube.client import Client
from wherry.kube.controller import Controller
from wherry.kube.informer import Informer
from wherry.kube.keys import Key
from wherry.kube.kinds import NODES
from wherry.kube.objects import Node

Follow = Callable[[Mapping[str, Sequence[str]]], Awaitable[None]]


class NodeInterfaces(Controller):
    """Keeps the annotation of one node right, and calls ``follow`` whenever addresses change."""

    name = "interfaces"

    def __init__(self, client: Client, nodes: Informer[Node], *, node: str, follow: Follow) -> None:
        super().__init__()
        self._client = client
        self._nodes = nodes
        self._key = Key("", node)
        self._follow = follow
        nodes.add_handler(self.enqueue)

    async def prepare(self) -> None:
        """Wait for the node's object."""
        await self._nodes.synced()
        self.queue.add(self._key)

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        with AddressWatch() as watch:

            def noticed() -> None:
                if watch.changed():
                    self.queue.add(self._key)

            loop.add_reader(watch.fileno(), noticed)
            try:
                await super().run()
            finally:
                loop.remove_reader(watch.fileno())

    async def reconcile(self, key: Key) -> None:
        """Read the addresses and tell who has to know."""
        found = interface_addresses()
        await self._follow(found)
        node = self._nodes.get(key)
        text = msgspec.json.encode(found).decode()
        if node is not None and node.metadata.annotations.get(INTERFACES) != text:
            patch = {"metadata": {"annotations": {INTERFACES: text}}}
            await self._client.patch(NODES, key.name, patch)
