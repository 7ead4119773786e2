"""`wherry up --publish`: what it may say, and what comes to the sockets it opens."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest

from wherry.config.errors import ConfigError
from wherry.kube.objects import Condition, Node, ObjectMeta
from wherry.kube.objects.cluster import NodeAddress, NodeStatus
from wherry.sandbox import datagrams, publisher
from wherry.sandbox.published import Published, inherited, numbers, open_all, parse
from wherry.sandbox.publisher import Publisher


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080:80", "127.0.0.1:8080/tcp -> 80/tcp"),
        ("0:53/udp", "127.0.0.1:0/udp -> 53/udp"),
        ("0.0.0.0:8080:80/tcp", "0.0.0.0:8080/tcp -> 80/tcp"),
        ("[::1]:8080:80", "[::1]:8080/tcp -> 80/tcp"),
        ("[0:0::1]:8080:80", "[::1]:8080/tcp -> 80/tcp"),
    ],
)
def test_what_is_published(text: str, expected: str) -> None:
    assert str(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("80", "is not of the form [HOST_ADDRESS:]HOST_PORT:LB_PORT[/tcp|/udp]"),
        ("a:80", "is not of the form"),
        ("8080:80/sctp", "is not of the form"),
        ("::1:8080:80", "is not of the form"),
        ("localhost:8080:80", "is not of the form"),
        ("8080:0", "0 is no port"),
        ("70000:80", "70000 is no port"),
        ("8080:65536", "65536 is no port"),
        ("127.0.0.256:8080:80", "127.0.0.256 is no address of the host"),
    ],
)
def test_what_is_not(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"--publish: {text!r}")
    assert complaint in str(caught.value)


def test_a_taken_port_is_one_line_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        # The first of the two is closed again, or pytest would complain.
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}/tcp of this host: Address already in use; choose"):
            open_all(["0:80", f"{port}:80"])
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:8080/tcp of this host: Cannot assign"):
        open_all(["192.0.2.1:8080:80"])


def test_port_0_is_any_and_sockets_are_handed_over() -> None:
    ((port, server),) = open_all(["0:80"])
    with server:
        assert port.host_port == server.getsockname()[1] > 0
        copy = server.dup()
        (found,) = inherited(numbers([copy]))
        copy.detach()
        with found:
            assert found.getsockname() == server.getsockname()
            assert not found.get_inheritable()
    assert inherited("") == []


def node(name: str, *addresses: str, ready: str = "True") -> Node:
    return Node(
        metadata=ObjectMeta(name=name),
        status=NodeStatus(
            addresses=tuple(NodeAddress(type="InternalIP", address=one) for one in addresses),
            conditions=(Condition(type="Ready", status=ready),),
        ),
    )


@asynccontextmanager
async def publishing(text: str, *nodes: Node) -> AsyncIterator[tuple[Publisher, Published]]:
    """A publisher of one port that knows these nodes."""
    ((port, server),) = open_all([text])
    one = Publisher([port], [server])
    one.serve_by(nodes)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        serving = group.create_task(_serve(one))
        yield one, port
        serving.cancel()


async def _serve(one: Publisher) -> None:
    async with asyncio.TaskGroup() as group:
        one.serve(group)


async def ask(port: Published, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(port.host, port.host_port)
    try:
        writer.write(text)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def refused(port: Published) -> None:
    reader, writer = await asyncio.open_connection(port.host, port.host_port)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(writer.get_extra_info("sockname")[0].encode() + b" " + await reader.read())
    writer.close()
    await writer.wait_closed()


async def test_a_connection_goes_to_a_node_that_answers(caplog: pytest.LogCaptureFixture) -> None:
    async with await asyncio.start_server(echo, "127.0.0.3", 0) as server:
        target = server.sockets[0].getsockname()[1]
        nodes = (node("a", "127.0.0.1", ready="Unknown"), node("b", "127.0.0.2"), node("c", "::1", "127.0.0.3"))
        async with publishing(f"0:{target}", *nodes) as (published, port):
            assert await ask(port, b"hello") == b"127.0.0.3 hello"
            assert await ask(port, b"again") == b"127.0.0.3 again"
            published.serve_by(nodes[:2])
            await refused(port)
            published.serve_by(())
            await refused(port)
            published.serve_by(nodes)
            assert await ask(port, b"back") == b"127.0.0.3 back"
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert warnings == [
        f"{port}: a connection is closed: 127.0.0.2 port {target}: Connection refused",
        f"{port}: a connection is closed: no node is Ready",
    ]


async def test_a_node_that_is_silent_does_not_stand_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_CONNECT_WITHIN", 0.2)
    async with await asyncio.start_server(echo, "127.0.0.3", 0) as server:
        target = server.sockets[0].getsockname()[1]
        with socket.create_server(("127.0.0.2", target), backlog=0) as silent, socket.socket() as waiting:
            # One connection fills its queue, whereupon the kernel drops what comes.
            waiting.connect(silent.getsockname())
            async with publishing(f"0:{target}", node("b", "127.0.0.2"), node("c", "127.0.0.3")) as (_, port):
                assert await ask(port, b"hello") == b"127.0.0.3 hello"


@contextmanager
def udp(address: str, port: int = 0) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((address, port))
        one.setblocking(False)
        yield one


async def exchange(client: socket.socket, to: tuple[str, int], server: socket.socket) -> socket.socket:
    """Say something to ``to``, let the server answer, and return where it saw the client."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendto(client, b"question", to)
    data, seen = await loop.sock_recvfrom(server, 99)
    assert data == b"question"
    await loop.sock_sendto(server, b"answer", seen)
    data, source = await loop.sock_recvfrom(client, 99)
    assert (data, source) == (b"answer", to)
    return seen


async def test_datagrams_have_a_flow_for_each_client_and_find_who_answers() -> None:
    with udp("127.0.0.3") as server, udp("127.0.0.1") as one, udp("127.0.0.1") as other:
        target = server.getsockname()[1]
        nodes = (node("b", "127.0.0.2"), node("c", "127.0.0.3"))
        # Asked at one of many addresses, it answers from that.
        async with publishing(f"0.0.0.0:0:{target}/udp", *nodes) as (published, port):
            to = ("127.0.0.9", port.host_port)
            first = await exchange(one, to, server)
            assert await exchange(other, to, server) != first
            assert await exchange(one, to, server) == first
            with udp("127.0.0.2", target) as second:
                # The node is gone; later on the one that answered last is asked.
                published.serve_by(nodes[:1])
                assert await exchange(one, to, second) != first
                published.serve_by(nodes)
                with udp("127.0.0.1") as third:
                    await exchange(third, to, second)


async def test_silent_flows_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()

    class Watched(datagrams.Datagrams):
        def _expire(self) -> None:
            super()._expire()
            if not self.flows:
                ended.set()

    monkeypatch.setattr(datagrams, "IDLE", 0.5)
    monkeypatch.setattr(datagrams, "_MOST_FLOWS", 2)
    with udp("127.0.0.1") as server, udp("127.0.0.1") as host:
        asked = Watched(host.dup(), lambda: [server.getsockname()], lambda _: None, "test")
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            running = group.create_task(asked.run())
            for _ in range(3):
                with udp("127.0.0.1") as client:
                    await exchange(client, host.getsockname(), server)
            assert asked.flows <= 2
            await ended.wait()
            with udp("127.0.0.1") as client:
                await exchange(client, host.getsockname(), server)
            running.cancel()
