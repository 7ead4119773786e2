"""Answering what fronts hand over: octets in, octets out, counted.

Servers are known by number. A number keeps its meaning as long as the process lives, so that a query that was under way
while the configuration changed finds the server it was sent to, or is refused where that is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from wherry.dns import message as m
from wherry.dns import names
from wherry.dns.acceptance import SILENCE, accept, bare
from wherry.dns.chain import Router
from wherry.dns.front.protocol import GIVE_UP, Answer, Query
from wherry.dns.plugin import Keep, Reply, Transport
from wherry.dns.traffic import DROPPED, Traffic


@dataclass(slots=True)
class Server:
    """What answers for a server's number: its router, None once it is gone, and its port."""

    label: str
    port: int
    router: Router | None = None


_NO_KEEP = Keep(0.0, False)


class Queries:
    """The servers by number, and the answers they give."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._servers: list[Server] = []
        self._numbers: dict[str, int] = {}
        self._running: Counter[Router] = Counter()
        self._finished = asyncio.Event()

    @property
    def labels(self) -> list[str]:
        """The servers' labels by number."""
        return [server.label for server in self._servers]

    @property
    def routers(self) -> dict[int, Router]:
        """What answers now, by number."""
        return {number: s.router for number, s in enumerate(self._servers) if s.router is not None}

    def number(self, label: str, port: int) -> int:
        """Return a server's number, a new one for a label not seen before."""
        if label not in self._numbers:
            self._numbers[label] = len(self._servers)
            self._servers.append(Server(label, port))
        return self._numbers[label]

    def serve(self, routers: Mapping[int, Router]) -> None:
        """Let these routers answer from now on, and no others."""
        for number, server in enumerate(self._servers):
            server.router = routers.get(number)

    async def drained(self, routers: Collection[Router]) -> None:
        """Return once none of these has a query that is not answered."""
        while any(router in self._running for router in routers):
            self._finished.clear()
            await self._finished.wait()

    async def answer(self, query: Query) -> Answer | Iterator[Answer]:
        """Answer octets that a front received. Raises only what a plugin of a block in debug mode raises."""
        if query.server >= len(self._servers):
            return Answer(SILENCE)  # a number from a back that is no more; the client asks again
        server = self._servers[query.server]
        router = server.router
        accepted = accept(query.wire, other_classes=router is not None and router.other_classes)
        if isinstance(accepted, bytes):
            return Answer(accepted)
        if router is None:
            router = Router(server.label, ())
        request = router.request(
            accepted, client=query.client, port=query.port, local=query.local, local_port=server.port,
            transport=cast(Transport, query.transport),
        )  # fmt: skip
        began = time.perf_counter()
        self._running[router] += 1
        try:
            chain = router.route(request)
            async with asyncio.timeout(GIVE_UP):
                reply = await router.run(chain, request)
        except TimeoutError:
            # The client has long given up; what a plugin waits for must not pile up here.
            reply = Reply(bare(accepted, m.SERVFAIL), "")
        finally:
            self._running[router] -= 1
            if not self._running[router]:
                del self._running[router]
                self._finished.set()
        if reply is None:
            return Answer(SILENCE)
        wire = m.encode(reply.message, request.limit)
        zone = DROPPED if chain is None else names.to_text(request.zone)
        if chain is None or "prometheus" in chain.block.plugins:
            self._traffic.count(
                server=router.server, zone=zone, view=request.view, transport=query.transport, client=query.client,
                type=request.type, dnssec_ok=request.dnssec_ok, rcode=reply.message.rcode, plugin=reply.plugin,
                seconds=time.perf_counter() - began, request_size=len(query.wire), response_size=len(wire),
            )  # fmt: skip
        if reply.following:
            return _stream(wire, reply)
        seconds, countdown, tag, credit = reply.keep or _NO_KEEP
        rcode = reply.message.rcode
        return Answer(wire, seconds, countdown, tag, zone, request.view, rcode, reply.plugin, credit)


def _stream(first: bytes, reply: Reply) -> Iterator[Answer]:
    yield Answer(first)
    for message in reply.following:
        yield Answer(m.encode(message))
