"""Fronts in threads of this process, with a back in its event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from tests.dns.cluster import change_of
from tests.dns.front.test_front import OBJECTS, PLAN
from wherry.dns import names
from wherry.dns import records as r
from wherry.dns.front.channel import Channel
from wherry.dns.front.front import Front
from wherry.dns.front.link import Fronts, Serve
from wherry.dns.front.loop import Loop
from wherry.dns.front.protocol import Answer, Listener, Query, ServerPlan
from wherry.dns.message import Message, Question, decode, encode

PORT = 5353
SERVER = ServerPlan("dns://:53", (PLAN,))
WITHIN = 20.0
"""Seconds for what takes milliseconds."""
T = TypeVar("T")
Pair = tuple[socket.socket, socket.socket]


def pair() -> Pair:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def start(channel: socket.socket) -> threading.Thread:
    thread = threading.Thread(target=Loop(Channel(channel), Front()).run)
    thread.start()
    return thread


def question(name: str, kind: int = r.A, number: int = 1) -> bytes:
    return encode(Message(id=number, question=Question(names.from_text(name), kind)))


async def echo(query: Query) -> Answer:
    """A back that says who asked whom."""
    reply = decode(query.wire).reply()
    assert reply.question is not None
    reply.answer = [r.txt(reply.question.name, 0, f"{query.client} {query.local} {query.transport}".encode())]
    return Answer(encode(reply))


def zones() -> dict[int, Callable[[], Iterable[tuple[Any, ...]]]]:
    return {1: lambda: [change_of(*OBJECTS).pack()]}


@asynccontextmanager
async def back(channels: Iterable[socket.socket], serve: Serve = echo) -> AsyncIterator[Fronts]:
    """The back's side of these channels."""
    fronts = Fronts([channel.dup() for channel in channels], serve, zones())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(fronts.run())
        await fronts.gathered(WITHIN)
        yield fronts
        running.cancel()


@asynccontextmanager
async def serving(
    *listeners: Listener, serve: Serve = echo, plan: ServerPlan = SERVER, count: int = 1
) -> AsyncIterator[Fronts]:
    """Fronts that serve these; they end with the block."""
    pairs = [pair() for _ in range(count)]
    threads = [start(front) for front, _ in pairs]
    try:
        async with back([end for _, end in pairs], serve) as fronts:
            await fronts.configure(listeners, [plan])
            yield fronts
    finally:
        for _, end in pairs:
            end.close()
        for thread in threads:
            await asyncio.to_thread(thread.join, WITHIN)
            assert not thread.is_alive()
        for front, _ in pairs:
            front.close()


def udp(host: str = "127.0.0.1") -> Listener:
    return Listener("udp", host, PORT, 0)


def tcp(host: str = "127.0.0.1") -> Listener:
    return Listener("tcp", host, PORT, 0)


async def ask(wire: bytes, host: str = "127.0.0.1") -> Message:
    """Ask over UDP; only a reply from the address that was asked counts."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect((host, PORT))
        client.send(wire)
        return decode(await within(asyncio.get_running_loop().sock_recv(client, 65535)))


async def within(what: Awaitable[T]) -> T:
    return await asyncio.wait_for(what, WITHIN)


class Tcp:
    """A client over TCP or TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, host: str = "127.0.0.1", **more: Any) -> Tcp:
        return cls(*await asyncio.open_connection(host, PORT, **more))

    def send(self, *wires: bytes) -> None:
        self.writer.write(b"".join(len(wire).to_bytes(2, "big") + wire for wire in wires))

    async def receive(self) -> Message:
        size = int.from_bytes(await within(self.reader.readexactly(2)), "big")
        return decode(await within(self.reader.readexactly(size)))

    async def ended(self) -> bytes:
        """What comes before the other side ends the connection."""
        try:
            return await within(self.reader.read())
        except ConnectionResetError:
            return b""  # it ended with octets of ours unread

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionResetError:
            return  # as above
