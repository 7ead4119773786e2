"""port-forward: the SPDY codec, and connections through the kubelet API to a real server."""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.pods.kubelet.test_kubelet_api import serving
from wherry.pods.api.forward import PROTOCOL
from wherry.pods.api.spdy import DICTIONARY, MAX_FRAME, Connection, Opened, Pinged, ProtocolError, Received, Reset
from wherry.pods.testing.node import Node, pod


class SpdyClient:
    """The other side of the codec, written from the specification alone."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def control(self, kind: int, body: bytes, flags: int = 0) -> bytes:
        return struct.pack("!HHI", 0x8003, kind, flags << 24 | len(body)) + body

    def open(self, stream: int, fin: bool = False, **headers: str) -> bytes:
        text = struct.pack("!I", len(headers))
        for word in (word for pair in headers.items() for word in pair):
            text += struct.pack("!I", len(word)) + word.encode()
        block = self._deflate.compress(text) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return self.control(1, struct.pack("!IIH", stream, 0, 0) + block, flags=int(fin))

    def data(self, stream: int, data: bytes, fin: bool = False) -> bytes:
        return struct.pack("!II", stream, int(fin) << 24 | len(data)) + data


def test_the_dictionary_is_the_one_of_the_specification() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_frames_in_any_slicing(step: int) -> None:
    client, server = SpdyClient(), Connection()
    sent = (
        client.open(1, fin=True, streamtype="error", port="80", requestid="0")
        + client.control(4, b"\0\0\0\0")
        + client.open(3, streamtype="data", port="80", requestid="0")
        + client.data(3, b"hello")
        + client.control(6, struct.pack("!I", 1))
        + client.control(6, struct.pack("!I", 2))
        + client.data(3, b"", fin=True)
        + client.control(3, struct.pack("!II", 3, 5))
    )
    events = [event for at in range(0, len(sent), step) for event in server.feed(sent[at : at + step])]
    assert events == [
        Opened(1, {"streamtype": "error", "port": "80", "requestid": "0"}, ended=True),
        Opened(3, {"streamtype": "data", "port": "80", "requestid": "0"}, ended=False),
        Received(3, b"hello", ended=False),
        Pinged(client.control(6, struct.pack("!I", 1))),
        Received(3, b"", ended=True),
        Reset(3),
    ]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x80\x02\x00\x01\x00\x00\x00\x00",
        struct.pack("!II", 1, MAX_FRAME + 1),
        b"\x80\x03\x00\x01\x00\x00\x00\x0cnot deflated",
        b"\x80\x03\x00\x06\x00\x00\x00\x01x",
    ],
)
def test_what_spdy_does_not_allow(sent: bytes) -> None:
    with pytest.raises(ProtocolError):
        Connection().feed(sent)


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def answers(socket_: aiohttp.ClientWebSocketResponse, streams: set[int]) -> dict[int, bytes]:
    """What comes on streams until each has ended."""
    found = dict.fromkeys(streams, b"")
    waiting = set(streams)
    while waiting:
        async with asyncio.timeout(5):
            message = await socket_.receive_bytes()
        (stream, length) = struct.unpack("!II", message[:8])
        if not stream & 0x80000000:
            found[stream] += message[8:]
            if length >> 24 & 1:
                waiting.discard(stream)
    return found


async def test_a_connection_and_one_that_is_refused(node: Node) -> None:
    async with serving(node) as served, served.session("kube-apiserver") as session, echo_server() as port:
        node.put(pod(hostNetwork=True))
        await node.until_ready()
        async with session.ws_connect("/portForward/default/web", protocols=[PROTOCOL]) as socket_:
            client = SpdyClient()
            # Both at once: nothing of one connection waits for the other.
            for stream, number in ((1, "1"), (5, str(port))):
                await socket_.send_bytes(
                    client.open(stream, fin=True, streamtype="error", port=number, requestid=number)
                )
                await socket_.send_bytes(client.open(stream + 2, streamtype="data", port=number, requestid=number))
            for _ in range(20):
                await socket_.send_bytes(client.data(7, b"x" * 50_000))
            await socket_.send_bytes(client.data(7, b"", fin=True))
            found = await answers(socket_, {1, 3, 5, 7})
        assert found[1] == b"connect to port 1: connection refused"
        assert found[3] == found[5] == b""
        assert found[7] == b"got " + b"x" * 1_000_000


async def test_only_over_an_upgrade_that_is_known(node: Node) -> None:
    async with serving(node) as served, served.session("kube-apiserver") as session:
        async with session.post("/portForward/default/web", headers={"Upgrade": "h2c"}) as answer:
            assert answer.status == 400
            assert await answer.text() == f"port-forward needs a WebSocket upgrade with {PROTOCOL}\n"
        async with session.post("/portForward/default/web", headers={"Upgrade": "SPDY/3.1"}) as answer:
            assert answer.status == 403
            assert "unable to negotiate protocol" in await answer.text()
