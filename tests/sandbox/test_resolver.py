"""The relay that carries a sandbox's queries to the host's name servers, on loopback addresses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from wherry.sandbox import resolver
from wherry.sandbox.resolver import Relay, failure, open_inside, question_end

QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01"
Answer = Callable[[bytes], bytes | None]


def good(query: bytes) -> bytes:
    return query[:2] + b"\x81\x80" + query[4:] + b"good"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "resolv.conf"


@asynccontextmanager
async def server(address: str, port: int, answer: Answer) -> AsyncIterator[list[bytes]]:
    """A name server on UDP and TCP; yields the queries it saw."""
    loop, seen = asyncio.get_running_loop(), []

    class Datagrams(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, client: object) -> None:
            seen.append(data)
            if (said := answer(data)) is not None:
                self.transport.sendto(said, client)  # type: ignore[attr-defined]

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        said = answer(query) or b""
        writer.write(len(said).to_bytes(2, "big") + said)
        await writer.drain()
        writer.close()

    transport, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=(address, port))
    streams = await asyncio.start_server(connection, address, port)
    try:
        yield seen
    finally:
        transport.close()
        streams.close()


@asynccontextmanager
async def relay(conf: Path, port: int) -> AsyncIterator[int]:
    """A relay on loopback to the servers of ``conf``, at a port of theirs; yields its own."""
    opened = open_inside(lambda: None, ["127.0.0.1"], port=free_port())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Relay(opened, conf, port=port).run())
        yield opened[0].getsockname()[1]
        task.cancel()


def free_port() -> int:
    """A port free for UDP and TCP on every loopback address used here."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            try:
                datagrams.bind(stream.getsockname())
            except OSError:
                continue
            return int(stream.getsockname()[1])


async def ask(port: int, query: bytes = QUERY) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", port))
        client.send(query)
        async with asyncio.timeout(20):
            return await loop.sock_recv(client, 4096)


async def test_an_answer_comes_back_under_the_clients_id(conf: Path) -> None:
    conf.write_text("nameserver 127.0.0.2\n")
    port = free_port()
    async with server("127.0.0.2", port, good) as seen, relay(conf, port) as at:
        answers = await asyncio.gather(*(ask(at) for _ in range(20)))
    assert set(answers) == {good(QUERY)}
    assert len({query[:2] for query in seen}) > 10, "ids are fresh"


async def test_the_next_server_is_asked_when_one_refuses_or_is_silent(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "PATIENCE", 0.02)
    conf.write_text("nameserver 127.0.0.2\nnameserver 127.0.0.3\nnameserver 127.0.0.4\n")
    port = free_port()
    # Nobody listens at .2, .3 says nothing.
    async with server("127.0.0.3", port, lambda query: None), server("127.0.0.4", port, good), relay(conf, port) as at:
        assert await ask(at) == good(QUERY)


async def test_without_servers_the_answer_is_a_failure_at_once(conf: Path) -> None:
    port = free_port()
    async with relay(conf, port) as at:
        assert await ask(at) == failure(QUERY)  # no file
        conf.write_text("search example.com\n")
        assert await ask(at) == failure(QUERY)  # no server
        conf.write_text("nameserver 127.0.0.2\nnameserver nonsense\n")
        assert await ask(at) == failure(QUERY)  # one that refuses


async def test_the_file_is_read_again_when_it_changes(conf: Path) -> None:
    conf.write_text("nameserver 127.0.0.2\n")
    port = free_port()
    async with server("127.0.0.3", port, good), relay(conf, port) as at:
        assert await ask(at) == failure(QUERY)
        conf.write_text("nameserver 127.0.0.3\n# longer\n")
        assert await ask(at) == good(QUERY)


async def test_answers_to_other_questions_are_not_believed(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "PATIENCE", 0.02)
    conf.write_text("nameserver 127.0.0.2\nnameserver 127.0.0.3\n")
    port = free_port()

    def forged(query: bytes) -> bytes:
        return good(query.replace(b"www", b"ftp"))

    async with server("127.0.0.2", port, forged), server("127.0.0.3", port, good), relay(conf, port) as at:
        assert await ask(at) == good(QUERY)


async def test_more_queries_than_allowed_fail_at_once(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MOST_QUERIES", 0)
    conf.write_text("nameserver 127.0.0.2\n")
    async with relay(conf, free_port()) as at:
        assert await ask(at) == failure(QUERY)


async def test_what_is_no_query_gets_no_answer(conf: Path) -> None:
    async with relay(conf, free_port()) as at:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", at))
            client.send(b"short")
            client.send(good(QUERY))
            client.send(QUERY)
            async with asyncio.timeout(20):
                assert await asyncio.get_running_loop().sock_recv(client, 4096) == failure(QUERY)


async def test_connections_are_carried_too(conf: Path) -> None:
    conf.write_text("nameserver 127.0.0.2\nnameserver 127.0.0.3\n")
    port = free_port()
    async with server("127.0.0.3", port, good), relay(conf, port) as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", at)
        writer.write(len(QUERY).to_bytes(2, "big") + QUERY)
        async with asyncio.timeout(20):
            assert (await reader.read())[2:] == good(QUERY)
        writer.close()


async def test_a_connection_that_no_server_takes_is_closed(conf: Path) -> None:
    async with relay(conf, free_port()) as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", at)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(
    ("message", "end"),
    [
        (QUERY, len(QUERY)),
        (QUERY + b"more", len(QUERY)),
        (QUERY[:-1], 0),
        (QUERY[:12], 0),
        (QUERY[:4] + b"\0\2" + QUERY[6:], 0),
        (QUERY[:12] + b"\xc0\x0c\0\1\0\1", 0),
    ],
)
def test_question_end(message: bytes, end: int) -> None:
    assert question_end(message) == end


def test_a_failure_says_who_asked_and_carries_nothing() -> None:
    said = failure(QUERY)
    assert said == b"\x12\x34\x81\x82" + bytes(8)


def test_a_place_that_cannot_be_entered_is_told() -> None:
    def closed() -> None:
        raise PermissionError("no entry")

    with pytest.raises(RuntimeError, match="no entry"):
        open_inside(closed, ["127.0.0.1"], port=0)
