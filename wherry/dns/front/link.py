"""The back's ends of the channels: tells the fronts what to serve, answers what they hand over, adds up their counts.

Guarantees:

* **A front that comes late is told everything**: sockets, plans, snapshots of zones; so is one that did not read for
  long.
* **A change is said before any reply that knows of it.**
* **Bounded**: fronts have `protocol.IN_FLIGHT` queries with us at most; what a front does not read is dropped once it
  is more than `peer.UNREAD`, and told anew.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from wherry.dns.errors import DnsError
from wherry.dns.front import listen, protocol
from wherry.dns.front.peer import Peer
from wherry.dns.front.protocol import Answer, Listener, Query, Row, ServerPlan

log = logging.getLogger("wherry.dns.front")

Serve = Callable[[Query], Awaitable[Answer | Iterable[Answer] | None]]
"""Several answers are messages of one reply, as a zone transfer over TCP has them; None is silence."""
Snapshot = Callable[[], Iterable[tuple[Any, ...]]]
"""Packed changes that make an empty zone equal to ours."""

_MOST = 250
"""Sockets that go into one message (SCM_MAX_FD is 253)."""
_REPLY = 5.0
"""Seconds that a front has for what it is asked about itself."""


class Fronts:
    """All fronts of one server process. Everything but `serve`'s own work happens in one event loop."""

    def __init__(
        self, channels: Iterable[socket.socket], serve: Serve, zones: Mapping[int, Snapshot], *, freebind: bool = False
    ) -> None:
        """Prepare; ``zones`` is read whenever a front needs to be told, by zone id, and holds those that are ready."""
        self._fronts = [Peer(each, self.received) for each in channels]
        self._serve = serve
        self._zones = zones
        self._freebind = freebind
        self._listeners: list[Listener] = []
        self._plans: list[tuple[Any, ...]] = []
        self._numbers = itertools.count(1)
        self._expected: dict[int, asyncio.Future[Any]] = {}
        self._gathered = asyncio.Event()
        self._configured = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self.on_fault: Callable[[str], None] = _log_fault
        """Called with the text of a defect that a front met."""

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for front in self._fronts:
                    front.attach(loop)
                await loop.create_future()
        finally:
            self._tasks = None
            for front in self._fronts:
                front.detach()

    async def gathered(self, seconds: float = _REPLY) -> None:
        """Return when every front is there, or after so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._gathered.wait()
        except TimeoutError:
            log.warning("a front has not come within %s s; it will find its sockets open", seconds)

    async def configure(self, listeners: Iterable[Listener], plans: Iterable[ServerPlan]) -> None:
        """Serve these and no others from now on; all sockets are open when this returns.

        What is served already is not interrupted. Fronts that are not there yet find their sockets open when they come.
        Raises ListenError, with everything left as it was.
        """
        # A front that serves already must be heard first: a second socket for its place would take queries from it.
        await self.gathered()
        wanted = listen.expand(listeners)
        if len(wanted) > _MOST:
            raise listen.ListenError(
                f"{len(wanted)} sockets for each front are more than {_MOST}: bind to fewer addresses"
            )
        opened: list[dict[tuple[str, str, int], socket.socket]] = []
        try:
            opened += (front.open(wanted, freebind=self._freebind) for front in self._fronts)
        except listen.ListenError:
            for front, sockets in zip(self._fronts, opened, strict=False):
                front.abandon(sockets)
            raise
        self._listeners = wanted
        self._plans = [plan.pack() for plan in plans]
        first = not self._configured.is_set()
        self._configured.set()
        waits = []
        for front, sockets in zip(self._fronts, opened, strict=True):
            if front.present:
                number, future = self._expect()
                waits.append(future)
                front.listen(number, wanted, sockets)
                front.send(protocol.PLAN, self._plans, [*self._zones])
                if first:
                    self._tell_zones(front)
            else:
                front.prepare(sockets)
        for wrong in await self._gather(waits):
            if wrong:
                raise DnsError(wrong)

    def change(self, zone: int, changes: list[tuple[Any, ...]]) -> None:
        """Tell all fronts what is different; ``changes`` are packed."""
        for front in self._fronts:
            if front.present:
                front.changes(zone, changes)

    def ready(self, zone: int) -> None:
        """A zone is complete (again): tell it to all fronts."""
        for front in self._fronts:
            if front.present:
                front.zone(zone, self._zones[zone]())

    def drop(self, *tags: bytes) -> None:
        """Make fronts forget what they keep under these tags; without any, all they keep."""
        for front in self._fronts:
            if front.present:
                front.send(protocol.DROP, list(tags))

    async def counts(self) -> list[Row]:
        """What fronts answered by themselves since this was last asked; a front that is silent counts later."""
        waits = []
        for front in self._fronts:
            if front.present:
                number, future = self._expect()
                waits.append(future)
                front.send(protocol.COUNT, number)
        return [Row(*row) for rows in await self._gather(waits) for row in rows]

    async def stop(self, seconds: float) -> list[Row]:
        """Let fronts finish what is under way, for so long at most, and end; what they counted."""
        waits: list[asyncio.Future[Any]] = []
        rows: list[Any] = []
        for front in self._fronts:
            if front.present:
                number, future = self._expect()
                waits.append(future)
                front.stopping(rows)
                front.send(protocol.STOP, number, seconds)
        await self._gather(waits, seconds + _REPLY)
        return [Row(*row) for row in rows]

    def _expect(self) -> tuple[int, asyncio.Future[Any]]:
        number = next(self._numbers)
        future = self._expected[number] = asyncio.get_running_loop().create_future()
        return number, future

    async def _gather(self, waits: list[asyncio.Future[Any]], seconds: float = _REPLY) -> list[Any]:
        """What has come in time."""
        if waits:
            await asyncio.wait(waits, timeout=seconds)
        for number in [number for number, future in self._expected.items() if future in waits]:
            del self._expected[number]
        return [future.result() for future in waits if future.done() and not future.cancelled()]

    def received(self, front: Peer, message: tuple[Any, ...]) -> None:
        """Act on what a front says."""
        match message:
            case (protocol.QUERIES, queries):
                assert self._tasks is not None
                for number, *query in queries:
                    self._tasks.create_task(self._answer(front, number, Query(*query)))
            case (protocol.HELLO, epoch, _, places):
                self._welcome(front, epoch, {tuple(place) for place in places})
            case (protocol.COUNTS, 0, rows):
                front.last_rows(rows)
            case (protocol.DONE, 0, wrong):
                if wrong:
                    log.error("a front cannot serve: %s", wrong)
            case (protocol.COUNTS, number, value) | (protocol.DONE, number, value):
                future = self._expected.get(number)
                if future is not None and not future.done():
                    future.set_result(value)
            case (protocol.FAULT, text):
                self.on_fault(text)

    async def _answer(self, front: Peer, number: int, query: Query) -> None:
        # A front that outlived another back asks before there is anything to answer with.
        await self._configured.wait()
        answer = await self._serve(query)
        if answer is None or isinstance(answer, Answer):
            front.reply(number, answer or Answer(b""))
            return
        for each in answer:
            front.reply(number, each._replace(more=True))
        front.reply(number, Answer(b""))

    def _welcome(self, front: Peer, epoch: int, places: set[tuple[str, str, int]]) -> None:
        """Tell a front everything, unless it will say HELLO once more, to our WHO."""
        if not front.greeted(epoch, places):
            return
        if all(each.present for each in self._fronts):
            self._gathered.set()
        # Until there is a configuration it serves on with what it knows; then configure() tells it.
        if self._configured.is_set():
            self.tell(front)

    def tell(self, front: Peer) -> None:
        """Tell a front everything."""
        try:
            sockets = front.open(self._listeners, freebind=self._freebind)
        except listen.ListenError as error:
            log.error("a front cannot be given its sockets: %s", error)
            sockets = {}
        front.listen(0, [each for each in self._listeners if each.place in sockets or front.serves(each)], sockets)
        front.send(protocol.PLAN, self._plans, [*self._zones])
        self._tell_zones(front)

    def _tell_zones(self, front: Peer) -> None:
        for zone, snapshot in self._zones.items():
            front.zone(zone, snapshot())


def _log_fault(text: str) -> None:
    log.error("a front met a defect:\n%s", text)
