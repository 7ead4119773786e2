"""Server blocks without a server: a Corefile's chains in this process, and upstreams on loopback to forward to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.dns.ports import bound
from wherry.dns import names, records
from wherry.dns.acceptance import limit_of
from wherry.dns.chain import Router
from wherry.dns.corefile.load import load
from wherry.dns.corefile.model import Problem, Process, ServerConfig
from wherry.dns.http import HttpHub
from wherry.dns.message import Edns, Message, Question, decode, encode
from wherry.dns.metrics import Metrics
from wherry.dns.plugin import Base, Next, Reply, Request
from wherry.kube.endpoint import Endpoint

SERVER = "dns://:53"


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A Corefile that serves."""

    config: ServerConfig
    router: Router
    problems: list[Problem]

    def query(
        self, name: str, kind: str = "A", *, klass: int = 1, edns: Edns | None = None, rd: bool = True, ad: bool = False
    ) -> Message:
        question = Question(names.from_text(name), records.type_number(kind), klass)
        return Message(id=4711, recursion_desired=rd, authentic=ad, question=question, edns=edns)

    async def reply(
        self, query: Message, *, client: str = "192.0.2.7", transport: str = "udp", notes: list[str] | None = None
    ) -> Reply | None:
        request = Request(
            query=query, client=client, port=40000, local="192.0.2.53", transport=transport,  # type: ignore[arg-type]
            server=SERVER, zone=names.ROOT, limit=limit_of(query, transport),
        )  # fmt: skip
        return await self.router.handle(request)

    async def ask(
        self, name: str, kind: str = "A", *, client: str = "192.0.2.7", transport: str = "udp", **asked
    ) -> Message:
        """The message that a client gets, as it arrives."""
        reply = await self.reply(self.query(name, kind, **asked), client=client, transport=transport)
        assert reply is not None
        return decode(encode(reply.message))

    def value(self, name: str, **labels: str) -> float:
        """A metric's value, 0 where there is none."""
        return self.config.metrics.registry.get_sample_value(name, labels) or 0.0

    def plugin(self, name: str):
        return self.config.blocks[0].plugins[name]


def lines(section: list[records.Record]) -> list[str]:
    """Records as a zone file writes them."""
    return [f"{names.to_text(r.name)} {r.ttl} {records.type_name(r.type)} {records.rdata_text(r)}" for r in section]


def read(
    text: str,
    directory: Path,
    *,
    clock: Callable[[], float] | None = None,
    endpoint: Callable[[], Endpoint] | None = None,
) -> tuple[ServerConfig, list[Problem]]:
    """A Corefile as set up, and what was reported; `{dir}` in it is the directory."""
    path = directory / "Corefile"
    path.write_text(text.replace("{dir}", str(directory)))
    problems: list[Problem] = []
    process = Process(Metrics(), HttpHub(), problems.append, endpoint=endpoint)
    if clock is not None:
        process.clock = clock
    return load(str(path), process, strict=True), problems


@asynccontextmanager
async def serving(
    text: str,
    directory: Path,
    *,
    clock: Callable[[], float] | None = None,
    end: Base | None = None,
    endpoint: Callable[[], Endpoint] | None = None,
) -> AsyncIterator[World]:
    """Serve a Corefile of one or more blocks; ``end`` is one more plugin at the end of every chain."""
    config, problems = read(text, directory, clock=clock, endpoint=endpoint)
    for block in config.blocks:
        if end is not None:
            block.plugins["end"] = end
    router = Router(SERVER, [(key.zone, block) for block in config.blocks for key in block.keys])
    tasks: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as group:
        config.spawn = lambda coroutine: tasks.append(group.create_task(coroutine))
        config.lookup = router.lookup
        plugins = [plugin for block in config.blocks for plugin in block.plugins.values()]
        for plugin in plugins:
            await plugin.start()
        try:
            yield World(config, router, problems)
        finally:
            for plugin in plugins:
                await plugin.stop()
            for task in tasks:
                task.cancel()


class Answers(Base):
    """The end of a chain: answers what a table says and counts how often it is asked."""

    name = "end"

    def __init__(
        self, answer: Callable[[Request], Message | Awaitable[Message | None] | None], name: str = "end"
    ) -> None:
        self.answer = answer
        self.name = name
        self.asked: list[Request] = []
        self._more = asyncio.Event()

    async def until(self, count: int) -> None:
        """Wait until it was asked that often."""
        while len(self.asked) < count:
            self._more.clear()
            await self._more.wait()

    async def serve(self, request: Request, next: Next) -> Reply | None:
        self.asked.append(request)
        self._more.set()
        message = self.answer(request)
        if isinstance(message, Awaitable):
            message = await message
        return None if message is None else Reply(message, self.name)


def zone(*texts: str, rcode: int = 0) -> Callable[[Request], Message]:
    """An answer function: records of the name and type, else the SOA among the lines and ``rcode``."""
    known = [records.from_text(text) for text in texts]

    def answer(request: Request) -> Message:
        reply = request.query.reply()
        reply.answer = [
            record for record in known
            if record.name == request.folded and record.type in (request.type, records.CNAME)
        ]  # fmt: skip
        if not reply.answer:
            reply.authority = [record for record in known if record.type == records.SOA]
            reply.rcode = rcode
        return reply

    return answer


@dataclass
class Nameserver:
    """A DNS server on loopback; ``answer`` gets the query's bytes and gives those of the reply, or None."""

    answer: Callable[[bytes], bytes | None]
    port: int = 0
    udp: list[bytes] = field(default_factory=list)
    tcp: list[bytes] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    connections: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Nameserver) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.server.udp.append(data)
        self.server.ports.add(addr[1])
        if (reply := self.server.answer(data)) is not None:
            self.transport.sendto(reply, addr)


@asynccontextmanager
async def nameserver(
    answer: Callable[[bytes], bytes | None], *, tls=None, close_after: int = 0
) -> AsyncIterator[Nameserver]:
    """A server on one port for UDP and TCP; it closes a TCP connection after ``close_after`` replies (0: never)."""
    server = Nameserver(answer)
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        writers.add(writer)
        try:
            count = 0
            while True:
                wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                server.tcp.append(wire)
                if (reply := server.answer(wire)) is not None:
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                    await writer.drain()
                    count += 1
                if count == close_after:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writers.discard(writer)
            writer.close()

    for _ in range(20):
        listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        server.port = listener.sockets[0].getsockname()[1]
        try:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Datagrams(server), local_addr=("127.0.0.1", server.port)
            )
            break
        except OSError:
            listener.close()
    try:
        yield server
    finally:
        transport.close()
        listener.close()
        for writer in list(writers):
            writer.transport.abort()
        await asyncio.sleep(0)


def answering(*texts: str, rcode: int = 0, **header: object) -> Callable[[bytes], bytes]:
    """A nameserver's answer function: the given records to every question, the question echoed."""
    known = [records.from_text(text) for text in texts]

    def answer(wire: bytes) -> bytes:
        reply = decode(wire).reply(rcode)
        reply.authoritative = False
        reply.recursion_available = True
        reply.answer = known
        for name, value in header.items():
            setattr(reply, name, value)
        return encode(reply)

    return answer


async def eventually(holds: Callable[[], object]) -> None:
    """Wait for something that only polling shows."""
    async with asyncio.timeout(30):
        while True:
            if holds():
                return
            await asyncio.sleep(0.002)


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of loopback on which nobody listens."""
    tcp, udp = bound()
    with tcp, udp:
        port = tcp.getsockname()[1]
        udp.close()
        yield port
