"""The back's ends of the channels: tells the fronts what to serve, answers what they hand over, adds up their counts.

Guarantees:

* **A front that comes late is told everything**: sockets, plans, snapshots of zones; so is one that did not read for
  long.
* **A change is said before any reply that knows of it.**
* **Bounded**: fronts have `protocol.IN_FLIGHT` queries with us at most; what a front does not read is dropped once it
  is more than `_UNREAD`, and told anew.
"""

from __future__ import annotations

import array
import asyncio
import itertools
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from wherry.dns.errors import DnsError
from wherry.dns.front import listen, protocol
from wherry.dns.front.channel import widen
from wherry.dns.front.protocol import Answer, Listener, Query, Row, ServerPlan

log = logging.getLogger("wherry.dns.front")

Serve = Callable[[Query], Awaitable[Answer | Iterable[Answer] | None]]
"""Several answers are messages of one reply, as a zone transfer over TCP has them; None is silence."""
Snapshot = Callable[[], Iterable[tuple[Any, ...]]]
"""Packed changes that make an empty zone equal to ours."""

_UNREAD = 32 << 20
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
        self._fronts = [_Front(each, self) for each in channels]
        self._serve = serve
        self._zones = zones
        self._freebind = freebind
        self._listeners: list[Listener] = []
        self._plans: list[tuple[Any, ...]] = []
        self._numbers = itertools.count(1)
        self._expected: dict[int, asyncio.Future[Any]] = {}
        self._gathered = asyncio.Event()
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
        waits = []
        for front, sockets in zip(self._fronts, opened, strict=True):
            if front.present:
                number, future = self._expect()
                waits.append(future)
                front.listen(number, wanted, sockets)
                front.send(protocol.PLAN, self._plans, [*self._zones])
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

    def received(self, front: _Front, message: tuple[Any, ...]) -> None:
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

    async def _answer(self, front: _Front, number: int, query: Query) -> None:
        answer = await self._serve(query)
        if answer is None or isinstance(answer, Answer):
            front.reply(number, answer or Answer(b""))
            return
        for each in answer:
            front.reply(number, each._replace(more=True))
        front.reply(number, Answer(b""))

    def _welcome(self, front: _Front, epoch: int, places: set[tuple[str, str, int]]) -> None:
        """Tell a front everything, unless it will say HELLO once more, to our WHO."""
        if not front.greeted(epoch, places):
            return
        if all(each.present for each in self._fronts):
            self._gathered.set()
        self.tell(front)

    def tell(self, front: _Front) -> None:
        """Tell a front everything."""
        try:
            sockets = front.open(self._listeners, freebind=self._freebind)
        except listen.ListenError as error:
            log.error("a front cannot be given its sockets: %s", error)
            sockets = {}
        front.listen(0, [each for each in self._listeners if each.place in sockets or front.serves(each)], sockets)
        front.send(protocol.PLAN, self._plans, [*self._zones])
        for zone, snapshot in self._zones.items():
            front.zone(zone, snapshot())


def _log_fault(text: str) -> None:
    log.error("a front met a defect:\n%s", text)


class _Front:
    """One front as we know it."""

    def __init__(self, channel: socket.socket, fronts: Fronts) -> None:
        channel.setblocking(False)
        widen(channel)
        self.present = False
        """Whether it has said HELLO to us."""
        self._channel = channel
        self._fronts = fronts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._buffer = bytearray(protocol.LARGEST)
        self._out: deque[tuple[bytes, list[socket.socket], bool]] = deque()
        self._unread = 0
        self._behind = False
        # What it serves, with our copies: a front that comes again gets the same sockets with what waits in them.
        self._sockets: dict[tuple[str, str, int], socket.socket | None] = {}
        self._held: set[tuple[str, str, int]] = set()
        self._epoch = 0
        self._rows: list[Any] = []

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to listen, and ask who is there."""
        self._loop = loop
        loop.add_reader(self._channel.fileno(), self._readable)
        self._epoch += 1
        self.send(protocol.WHO, self._epoch)

    def detach(self) -> None:
        """End; the front serves on with what it knows."""
        assert self._loop is not None
        self._loop.remove_reader(self._channel.fileno())
        self._loop.remove_writer(self._channel.fileno())
        for opened in self._sockets.values():
            if opened is not None:
                opened.close()
        self._sockets.clear()
        self._channel.close()

    def greeted(self, epoch: int, places: set[tuple[str, str, int]]) -> bool:
        """Note a HELLO; whether this is the time to tell everything."""
        if epoch == 0 and not self.present:
            return False  # the one to our WHO follows
        self.present = True
        self._held = places
        for place in places:
            self._sockets.setdefault(place, None)
        return True

    def serves(self, listener: Listener) -> bool:
        """Whether the front has this socket."""
        return listener.place in self._held

    def open(self, wanted: list[Listener], *, freebind: bool) -> dict[tuple[str, str, int], socket.socket]:
        """The sockets that the front lacks. Raises ListenError."""
        fresh: dict[tuple[str, str, int], socket.socket] = {}
        result: dict[tuple[str, str, int], socket.socket] = {}
        try:
            for listener in wanted:
                place = listener.place
                if place in self._held:
                    continue
                copy = self._sockets.get(place)
                if copy is None:
                    copy = fresh[place] = listen.open_listener(listener, freebind=freebind)
                result[place] = copy
        except listen.ListenError:
            for opened in fresh.values():
                opened.close()
            raise
        return result

    def prepare(self, sockets: dict[tuple[str, str, int], socket.socket]) -> None:
        """Have these ready for when the front comes."""
        self._sockets |= sockets

    def abandon(self, sockets: dict[tuple[str, str, int], socket.socket]) -> None:
        """Close those of these that are not ready for the front already."""
        for place, opened in sockets.items():
            if self._sockets.get(place) is not opened:
                opened.close()

    def listen(self, number: int, wanted: list[Listener], sockets: dict[tuple[str, str, int], socket.socket]) -> None:
        """Have the front serve these places, with sockets for those that it lacks."""
        places = {listener.place for listener in wanted}
        for place in [*self._sockets]:
            if place not in places:
                opened = self._sockets.pop(place)
                if opened is not None:
                    opened.close()
        self._sockets |= sockets
        self._held = places
        fields = [(tuple(listener), listener.place in sockets) for listener in wanted]
        given = [sockets[listener.place] for listener in wanted if listener.place in sockets]
        self._queue(protocol.pack(protocol.LISTEN, number, fields), given)

    def send(self, kind: int, *fields: Any) -> None:
        """Send a message, now or once the front reads."""
        self._queue(protocol.pack(kind, *fields), [])

    def changes(self, zone: int, changes: Iterable[tuple[Any, ...]]) -> None:
        """Send changes in pieces that do not keep queries waiting."""
        for piece in _pieces(changes):
            self.send(protocol.CHANGES, zone, piece)

    def zone(self, zone: int, snapshot: Iterable[tuple[Any, ...]]) -> None:
        """Send a whole zone."""
        self.send(protocol.ZONE, zone)
        self.changes(zone, snapshot)
        self.send(protocol.READY, zone)

    def reply(self, number: int, answer: Answer) -> None:
        """Send an answer."""
        if self._behind:
            answer = answer._replace(seconds=0.0)  # it may be newer than what the front knows
        self._queue(protocol.pack(protocol.REPLIES, [(number, *answer)]), [], reply=True)

    def stopping(self, rows: list[Any]) -> None:
        """Where the last counts go."""
        self._rows = rows

    def last_rows(self, rows: list[Any]) -> None:
        """Note the counts that came before the end."""
        self._rows += rows

    def _queue(self, message: bytes, sockets: list[socket.socket], *, reply: bool = False) -> None:
        if self._behind and not reply:
            return
        self._out.append((message, sockets, reply))
        self._unread += len(message)
        if self._unread > _UNREAD and not self._behind:
            # It is told everything once it reads again, and need not hear anything of this but replies, of which it
            # waits for a limited number.
            self._behind = True
            self._out = deque(each for each in self._out if each[2])
            self._unread = sum(len(each[0]) for each in self._out)
        elif len(self._out) == 1:
            self._flush()

    def _flush(self) -> None:
        assert self._loop is not None
        while self._out:
            message, sockets, _ = self._out[0]
            rights = array.array("i", [each.fileno() for each in sockets])
            try:
                self._channel.sendmsg(
                    [message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights.tobytes())] if sockets else []
                )
            except BlockingIOError:
                self._loop.add_writer(self._channel.fileno(), self._writable)
                return
            self._unread -= len(message)
            self._out.popleft()

    def _writable(self) -> None:
        assert self._loop is not None
        self._loop.remove_writer(self._channel.fileno())
        self._flush()
        if self._behind and not self._out:
            self._behind = False
            self._epoch += 1
            self.send(protocol.WHO, self._epoch)

    def _readable(self) -> None:
        for _ in range(protocol.BATCH):
            try:
                size = self._channel.recv_into(self._buffer)
            except BlockingIOError:
                return
            self._fronts.received(self, protocol.unpack(memoryview(self._buffer)[:size]))


def _pieces(changes: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    piece: list[tuple[Any, ...]] = []
    size = 0
    for change in changes:
        size += len(protocol.pack(0, change))
        if piece and size > protocol.CHUNK:
            yield piece
            piece, size = [], 0
        piece.append(change)
    if piece:
        yield piece
