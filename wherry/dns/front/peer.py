"""The back's end of one channel: a front as the back knows it."""

from __future__ import annotations

import array
import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from wherry.dns.front import listen, protocol
from wherry.dns.front.channel import widen
from wherry.dns.front.protocol import Answer, Listener

UNREAD = 32 << 20
"""Octets that may wait for a front that does not read."""


class Peer:
    """One front as we know it."""

    def __init__(self, channel: socket.socket, received: Callable[[Peer, tuple[Any, ...]], None]) -> None:
        channel.setblocking(False)
        widen(channel)
        self.present = False
        """Whether it has said HELLO to us."""
        self._channel = channel
        self._received = received
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
        if self._unread > UNREAD and not self._behind:
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
            self._received(self, protocol.unpack(memoryview(self._buffer)[:size]))


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
