"""Connections to one upstream over UDP, TCP or TLS (RFC 1035 §4.2, RFC 7766, RFC 7858), kept for reuse.

A connection carries one query at a time, so that a late reply to an abandoned query cannot be taken for another's. A
new one gets a source port of the kernel's choice; idle ones are taken oldest first, which changes the port from query
to query (RFC 5452 §9.2). Sockets are connected: the kernel lets nobody but the upstream answer.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

_READ = 65535


class CachedClosed(ConnectionError):
    """The upstream had closed an idle connection; a query on another one is no second try."""


class Connection(Protocol):
    """One query at a time."""

    created: float
    used: float

    def alive(self) -> bool:
        """Whether it can still be used."""

    async def ask(self, wire: bytes) -> bytes:
        """Send a query, whose id is its first two octets, and return the reply with that id; raises OSError."""

    def close(self) -> None:
        """Close it; an ask() that waits fails."""


class Datagrams(asyncio.DatagramProtocol):
    """A connected UDP socket."""

    def __init__(self, now: float) -> None:
        self.created = self.used = now
        self._lost = False
        self._id = b""
        self._reply: asyncio.Future[bytes] | None = None
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        # By its class an event loop's transport need not be one.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Take the reply that is waited for; what has another id is left alone."""
        if self._reply is not None and not self._reply.done() and len(data) >= 12 and data[:2] == self._id:
            self._reply.set_result(data)

    def error_received(self, error: Exception) -> None:
        """Fail the query: nobody listens there, or no way leads there."""
        self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the query."""
        self._lost = True
        self._fail(error or ConnectionAbortedError("the socket was closed"))

    def _fail(self, error: Exception) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)

    def alive(self) -> bool:
        """Whether the socket is open."""
        return not self._lost

    async def ask(self, wire: bytes) -> bytes:
        """Send a query and wait for its reply."""
        assert self._transport is not None
        self._id = wire[:2]
        self._reply = asyncio.get_running_loop().create_future()
        try:
            self._transport.sendto(wire)
            return await self._reply
        finally:
            self._reply = None

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.abort()


class Stream:
    """A TCP or TLS connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, now: float) -> None:
        self.created = self.used = now
        self._reader = reader
        self._writer = writer
        self._asked = False

    def alive(self) -> bool:
        """Whether the upstream has not closed it."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    async def ask(self, wire: bytes) -> bytes:
        """Send a query and wait for its reply; raises CachedClosed where a used connection ends before one."""
        again, self._asked = self._asked, True
        try:
            self._writer.write(len(wire).to_bytes(2, "big") + wire)
            await self._writer.drain()
            while True:
                length = int.from_bytes(await self._reader.readexactly(2), "big")
                reply = await self._reader.readexactly(length)
                if reply[:2] == wire[:2] and length >= 12:
                    return reply
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if again:
                raise CachedClosed("the upstream closed an idle connection") from error
            raise ConnectionResetError("the upstream closed the connection without a reply") from error

    def close(self) -> None:
        """Close the connection."""
        self._writer.transport.abort()


class Endpoint:
    """Where an upstream listens and how it is reached; ``tls`` given: by TLS to ``name``, whatever is asked for."""

    __slots__ = ("address", "clock", "name", "port", "source", "tls")

    def __init__(
        self, address: str, port: int, clock: Callable[[], float], *,
        source: str = "", tls: ssl.SSLContext | None = None, name: str = "",
    ) -> None:  # fmt: skip
        self.address = address
        self.port = port
        self.clock = clock
        self.source = source
        self.tls = tls
        self.name = name

    async def connect(self, protocol: str) -> Connection:
        """Make a connection over ``udp``, ``tcp`` or ``tcp-tls``; raises OSError (ssl.SSLError is one)."""
        loop = asyncio.get_running_loop()
        if protocol == "udp":
            _, datagrams = await loop.create_datagram_endpoint(
                lambda: Datagrams(self.clock()), sock=self._socket(socket.SOCK_DGRAM, connected=True)
            )
            return datagrams
        plain = self._socket(socket.SOCK_STREAM)
        try:
            await loop.sock_connect(plain, self._where())
            reader, writer = await asyncio.open_connection(
                sock=plain, limit=_READ,
                ssl=self.tls if protocol == "tcp-tls" else None,
                server_hostname=(self.name or self.address) if protocol == "tcp-tls" else None,
            )  # fmt: skip
        except BaseException:
            plain.close()
            raise
        return Stream(reader, writer, self.clock())

    def _where(self) -> tuple[str, int] | tuple[str, int, int, int]:
        address, mark, scope = self.address.partition("%")
        if not mark:
            return (address, self.port)
        return (address, self.port, 0, int(scope) if scope.isdecimal() else socket.if_nametoindex(scope))

    def _socket(self, kind: socket.SocketKind, *, connected: bool = False) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET, kind)
        try:
            made.setblocking(False)
            if self.source:
                made.bind((self.source, 0))
            if connected:
                made.connect(self._where())
        except BaseException:
            made.close()
            raise
        return made


class Pool:
    """The idle connections to one upstream, by protocol."""

    def __init__(self, endpoint: Endpoint, *, expire: float, max_age: float, most_idle: int) -> None:
        """Keep idle ones ``expire`` seconds, none beyond ``max_age`` (0: ever), ``most_idle`` a protocol (0: all)."""
        self.endpoint = endpoint
        self._expire = expire
        self._max_age = max_age
        self._most_idle = most_idle
        self._idle: dict[str, deque[Connection]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self, protocol: str) -> Connection | None:
        """The idle connection that waits longest, None where there is none."""
        idle = self._idle.get(protocol)
        now = self.endpoint.clock()
        while idle:
            connection = idle.popleft()
            if self._fresh(connection, now):
                return connection
            connection.close()
        return None

    def _fresh(self, connection: Connection, now: float) -> bool:
        if not connection.alive():
            return False
        return now - connection.used <= self._expire and not 0 < self._max_age < now - connection.created

    def give(self, protocol: str, connection: Connection) -> None:
        """Take a connection back."""
        idle = self._idle.setdefault(protocol, deque())
        if self._closed or 0 < self._most_idle <= len(idle):
            connection.close()
            return
        connection.used = self.endpoint.clock()
        idle.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(max(self._expire, 1.0), self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.endpoint.clock()
        left = False
        for idle in self._idle.values():
            kept = [connection for connection in idle if self._fresh(connection, now)]
            for connection in idle:
                if connection not in kept:
                    connection.close()
            idle.clear()
            idle.extend(kept)
            left = left or bool(kept)
        if left:
            self._sweeper = asyncio.get_running_loop().call_later(max(self._expire, 1.0), self._sweep)

    def close(self) -> None:
        """Close all idle ones, and those in use as soon as they come back."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
            idle.clear()
