"""PROXY headers: their bytes, and connections through a load balancer's pod in namespaces."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

from tests.cloud.forwarders import forwarding, pod
from wherry.cloud.forwarder import program, relay
from wherry.cloud.forwarder.relay import READY_FILE, header, splice
from wherry.kernel import netns
from wherry.kernel.testing import wait_for
from wherry.pods.runtime.standin import proxy

__all__ = ["pod"]

PORT, TO = 7007, 7008
ENV = {
    "SRC_PORT": str(PORT), "DEST_PROTO": "TCP", "DEST_PORT": str(TO), "DEST_IPS": "192.0.2.3,fd00::3",
    "SRC_RANGES": "0.0.0.0/0,::/0", "PROXY_PROTOCOL": "v2",
}  # fmt: skip
CLIENT, SERVER = "/run/netns/client", "/run/netns/server"
SIGNATURE = "0d0a 0d0a 000d 0a51 5549 540a"


# The layout is proxy-protocol.txt's, section 2.2: signature; version and command; family and transport; length of
# what follows; source address, destination address, source port, destination port.
@pytest.mark.parametrize(
    ("client", "reached", "expected"),
    [
        pytest.param(("192.0.2.1", 56324), ("10.42.1.7", 443), "21 11 000c c0000201 0a2a0107 dc04 01bb", id="TCP4"),
        pytest.param(("255.255.255.255", 65535), ("255.255.255.255", 65535), f"21 11 000c {'ff' * 12}", id="TCP4 most"),
        pytest.param(
            ("2001:db8::1", 56324), ("fd00:42::7", 443),
            "21 21 0024 20010db8000000000000000000000001 fd000042000000000000000000000007 dc04 01bb", id="TCP6",
        ),
        pytest.param(
            ("fe80::1%eth0", 1), ("fd00:42::7", 2),
            "21 21 0024 fe800000000000000000000000000001 fd000042000000000000000000000007 0001 0002", id="link-local",
        ),
        pytest.param(("127.0.0.1", 56324), ("127.0.0.1", 443), "20 00 0000", id="LOCAL"),
        pytest.param(("::1", 56324), ("::1", 443), "20 00 0000", id="LOCAL 6"),
    ],
)  # fmt: skip
def test_header(client: tuple[str, int], reached: tuple[str, int], expected: str) -> None:
    made = header(client, reached)
    assert made == bytes.fromhex(SIGNATURE + expected)
    read = proxy.read(made + b"GET /")
    assert read is not None
    assert read.length == len(made)


def test_both_programs_tell_readiness_in_the_same_way() -> None:
    assert program.READY_FILE == relay.READY_FILE


async def test_splice_passes_on_ends_and_keeps_to_the_pace_of_the_slower_side() -> None:
    (client, a), (b, server) = socket.socketpair(), socket.socketpair()
    for one in (client, a, b, server):
        one.setblocking(False)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        spliced = group.create_task(splice(a, b))
        sent = 0
        with suppress(TimeoutError):
            while True:  # Nobody reads: the buffers of the kernel fill, and no more is taken.
                async with asyncio.timeout(0.2):
                    await loop.sock_sendall(client, bytes(65536))
                sent += 65536
                assert sent < 64 << 20
        client.shutdown(socket.SHUT_WR)
        received = 0
        while data := await loop.sock_recv(server, 1 << 20):
            received += len(data)
        assert received >= sent
        await loop.sock_sendall(server, b"after the end of the other direction")
        assert await loop.sock_recv(client, 99) == b"after the end of the other direction"
        assert not spliced.done()
        server.close()
        assert await loop.sock_recv(client, 99) == b""
        await spliced
    assert (a.fileno(), b.fileno()) == (-1, -1)
    client.close()


async def test_a_broken_connection_is_reset_on_the_other_side() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pairs = []
        for _ in range(2):
            near = socket.create_connection(listener.getsockname())
            pairs.append((near, listener.accept()[0]))
    (client, a), (b, server) = pairs
    for one in (client, a, b, server):
        one.setblocking(False)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(splice(a, b))
        relay.reset(server)
        with pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(client, 1)
    client.close()


@pytest.mark.parametrize("drain", [20.0, 0.0])
async def test_told_to_end_a_relay_closes_its_port_and_lets_connections_end(
    monkeypatch: pytest.MonkeyPatch, drain: float
) -> None:
    monkeypatch.setattr(relay, "_DRAIN", drain)
    loop, arrived, stop = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        with suppress(ConnectionResetError):
            writer.write(await reader.read())
            writer.close()
            await writer.wait_closed()

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    reached = listener.getsockname()
    async with asyncio.timeout(20), await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        to = server.sockets[0].getsockname()
        serving = relay.Relay([(listener, lambda _: relay.connect(to))], pytest.fail)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(serving.run(stop))
            with await relay.connect(reached) as connection:
                await loop.sock_sendall(connection, b"last words")
                await arrived.wait()
                stop.set()
                await asyncio.sleep(0)
                with pytest.raises(ConnectionError, match="refused"):
                    await relay.connect(reached)
                if drain:
                    connection.shutdown(socket.SHUT_WR)
                    assert await loop.sock_recv(connection, 99) == b"last words"
                else:
                    with pytest.raises(ConnectionResetError):
                        await loop.sock_recv(connection, 99)
            await running


async def test_what_has_no_room_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_open_files", lambda: 32 + 2)
    loop, stop, asked = asyncio.get_running_loop(), asyncio.Event(), []

    async def dial(client: socket.socket) -> socket.socket:
        asked.append(client)
        near, far = socket.socketpair()
        far.sendall(b"welcome")
        far.close()
        near.setblocking(False)
        return near

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(relay.Relay([(listener, dial)], pytest.fail).run(stop))
        clients = [await relay.connect(listener.getsockname()) for _ in range(3)]
        for number, client in enumerate(clients, start=1):
            assert await loop.sock_recv(client, 99) == b"welcome"
            assert len(asked) == number
            client.close()
        stop.set()


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def backend() -> Iterator[None]:
    """A server in its namespace that gives back all that it got once its client has ended."""
    with netns.entered(SERVER):
        listener = socket.create_server(("::", TO), family=socket.AF_INET6, dualstack_ipv6=True)

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionResetError):
                data = read_all(connection)
                if data == b"stop":
                    return
                connection.sendall(data)

    thread = Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        with dial("::1", TO, place=SERVER) as stop:
            stop.sendall(b"stop")
        thread.join()
        listener.close()


def dial(address: str, port: int = PORT, *, place: str = CLIENT, within: float = 5) -> socket.socket:
    with netns.entered(place):
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection.settimeout(within)
    try:
        connection.connect((address, port))
    except OSError:
        connection.close()
        raise
    return connection


def ask(address: str, text: bytes, *, place: str = CLIENT) -> tuple[str, bytes]:
    """Send a text, end, and read all that comes back: what the header says of the client, and the text."""
    with dial(address, place=place) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        data = read_all(connection)
        host, port = connection.getsockname()[:2]
        read = proxy.read(data)
        assert read is not None
        assert read.version == 2
        own = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        assert read.source in (own, "")
        return read.destination, data[read.length :]


@pytest.mark.netns
def test_the_backend_learns_the_client_of_both_families(pod: str) -> None:
    with backend(), forwarding(pod, ENV):
        wait_for(Path(READY_FILE).exists)
        assert ask("192.0.2.2", b"hello") == ("192.0.2.2:7007", b"hello")
        large = bytes(range(256)) * 20_000
        assert ask("fd00::2", large) == ("[fd00::2]:7007", large)
        # From within the pod: nobody is spoken for.
        assert ask("127.0.0.1", b"", place=pod) == ("", b"")
        # Many at once, and each is told apart.
        many = [dial("192.0.2.2") for _ in range(100)]
        for number, one in enumerate(many):
            one.sendall(b"%d" % number)
        for number, one in enumerate(many):
            one.shutdown(socket.SHUT_WR)
            assert read_all(one) == header(one.getsockname(), ("192.0.2.2", PORT)) + b"%d" % number
            one.close()


@pytest.mark.netns
def test_source_ranges_guard_the_relayed_port(pod: str) -> None:
    with backend(), forwarding(pod, {**ENV, "SRC_RANGES": "192.0.2.1/32"}):
        wait_for(Path(READY_FILE).exists)
        assert ask("192.0.2.2", b"hello")[1] == b"hello"
        for address, place in (("fd00::2", CLIENT), ("192.0.2.2", SERVER)):
            with pytest.raises(TimeoutError):
                dial(address, place=place, within=0.3)


@pytest.mark.netns
def test_a_client_of_a_refused_backend_is_reset_and_the_relay_goes_on(pod: str) -> None:
    with forwarding(pod, ENV) as process:
        wait_for(Path(READY_FILE).exists)
        # The reset may be there before the client has seen that it was connected.
        with pytest.raises(ConnectionResetError), dial("192.0.2.2") as connection:
            connection.recv(1)
        with backend():
            assert ask("192.0.2.2", b"hello")[1] == b"hello"
        assert process.poll() is None


@pytest.mark.netns
def test_sigterm_ends_the_relay(pod: str) -> None:
    with backend(), forwarding(pod, ENV) as process:
        wait_for(Path(READY_FILE).exists)
        with dial("192.0.2.2") as connection:
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        assert process.wait(5) == 0
        with pytest.raises(ConnectionRefusedError):
            dial("192.0.2.2")
