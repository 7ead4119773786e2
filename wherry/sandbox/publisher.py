"""The process that passes on what comes to published ports of the host. It runs where the sandbox's LAN is.

Its sockets are the host's, opened before the namespaces were entered. A connection goes to the node that answered last,
else to each Ready node in turn until one answers; a node that refuses is asked without loss of time, one that is
silent for a second.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from functools import partial

from wherry.cloud.forwarder import relay
from wherry.kube.client import Client
from wherry.kube.endpoint import Endpoint
from wherry.kube.informer import Informers
from wherry.kube.kinds import NODES
from wherry.kube.objects import Node
from wherry.sandbox.datagrams import Datagrams
from wherry.sandbox.published import Published

log = logging.getLogger(__name__)

_CONNECT_WITHIN = 1.0


class Publisher:
    """All published ports of a sandbox; ``sockets`` belong to ``ports``, one each."""

    def __init__(self, ports: Sequence[Published], sockets: Sequence[socket.socket]) -> None:
        self._opened = [*zip(ports, sockets, strict=True)]
        self._addresses: tuple[str, ...] = ()
        self._last: dict[Published, str] = {}
        self._datagrams: list[Datagrams] = []

    async def run(self, endpoint: Callable[[], Endpoint]) -> None:
        """Pass on until cancelled. Nodes are learnt from the API server at ``endpoint``."""
        async with Client(endpoint(), user_agent="wherry-publish") as client, asyncio.TaskGroup() as group:
            informers = Informers(client)
            nodes = informers.informer(NODES)
            nodes.add_handler(lambda *_: self.serve_by(nodes.list()))
            group.create_task(informers.run(), name="informers")
            self.serve(group)

    def serve_by(self, nodes: Sequence[Node]) -> None:
        """Take these as the nodes there are."""
        ready = sorted((node for node in nodes if node.ready), key=lambda node: node.name)
        self._addresses = tuple(address for node in ready for address in node.addresses())
        for one in self._datagrams:
            one.keep_to(self._addresses)

    def serve(self, group: asyncio.TaskGroup) -> None:
        """Serve each port by a task of ``group``, until that is cancelled."""
        for port, one in self._opened:
            log.info("%s", port)
            if port.protocol == "udp":
                datagrams = Datagrams(one, partial(self._candidates, port), partial(self._answered, port), str(port))
                self._datagrams.append(datagrams)
                group.create_task(datagrams.run(), name=str(port))
            else:
                one.setblocking(False)
                connections = relay.Relay([(one, partial(self._dial, port))], partial(_say, port))
                group.create_task(connections.run(asyncio.Event()), name=str(port))

    def _answered(self, port: Published, address: str) -> None:
        self._last[port] = address

    def _candidates(self, port: Published) -> list[tuple[str, int]]:
        """Where to try, the one that answered last first."""
        last = self._last.get(port)
        return [(address, port.port) for address in sorted(self._addresses, key=lambda one: one != last)]

    async def _dial(self, port: Published, _: socket.socket) -> socket.socket:
        why = "no node is Ready"
        for to in self._candidates(port):
            try:
                server = await relay.connect(to, within=_CONNECT_WITHIN)
            except OSError as error:
                why = str(error)
                continue
            self._last[port] = to[0]
            return server
        raise ConnectionError(why)


def _say(port: Published, text: str) -> None:
    log.warning("%s: a connection is closed: %s", port, text)
