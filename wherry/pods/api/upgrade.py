"""SPDY/3.1 connections of older clients, made to look like the WebSockets of newer ones.

Such a client sends `Upgrade: SPDY/3.1` and offers sub-protocols in `X-Stream-Protocol-Version`. For port-forward the
bytes are those that newer clients send inside WebSocket messages. For exec and attach each stream carries what a
channel carries there: the client opens them, named by the header `streamtype`, before anything begins.
Source: k8s.io/apimachinery/pkg/util/httpstream, k8s.io/kubelet/pkg/cri/streaming/remotecommand.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from aiohttp import WSMessage, WSMsgType, web
from aiohttp.abc import AbstractStreamWriter

from wherry.pods.api.backend import Refused
from wherry.pods.api.channels import ERROR, RESIZE, STDERR, STDIN, STDOUT, ProtocolError
from wherry.pods.api.spdy import Connection, Event, Opened, Pinged, Received
from wherry.pods.api.spdy import ProtocolError as SpdyError

EXEC_PROTOCOLS: Final = ("v4.channel.k8s.io",)
FORWARD_PROTOCOLS: Final = ("portforward.k8s.io",)
_UPGRADE: Final = "SPDY/3.1"
_VERSION: Final = "X-Stream-Protocol-Version"
_OPENING_SECONDS: Final = 30.0
_CHANNELS: Final = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}
_STDIN_CLOSED: Final = bytes((0xFF, STDIN))


class Carrier(Protocol):
    """What `serve` and `Forwarder` need of a connection; `aiohttp.web.WebSocketResponse` is one."""

    async def send_bytes(self, data: bytes) -> None:
        """Send one binary message. Raises ConnectionError."""
        ...

    async def close(self) -> object:
        """End the connection."""
        ...

    def __aiter__(self) -> AsyncIterator[WSMessage]:
        """Yield messages until the client is gone."""
        ...


def wants_spdy(request: web.Request) -> bool:
    """Tell whether a client asks for SPDY."""
    return request.headers.get("Upgrade", "").lower() == _UPGRADE.lower()


class SpdyResponse(web.StreamResponse):
    """An upgraded connection; as a `Carrier` its messages are the bytes as they come."""

    def __init__(self, protocol: str) -> None:
        super().__init__(status=101)
        self._protocol = protocol
        self._transport: asyncio.Transport | None = None
        self._request: web.Request | None = None
        self._arrived: deque[bytes] = deque()
        self._over = False
        self._news = asyncio.Event()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Answer the handshake and take the connection over; a second call does nothing."""
        if self._transport is None and request.transport is not None and isinstance(request, web.Request):
            self._transport = request.transport
            self._request = request
            head = (
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                f"Upgrade: {_UPGRADE}\r\n{_VERSION}: {self._protocol}\r\n\r\n"
            )
            self._transport.write(head.encode())
            # aiohttp hands what follows to the parser that is set, of whatever protocol.
            request.protocol.set_parser(self)  # type: ignore[arg-type]
            request.protocol.keep_alive(False)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing of HTTP follows the handshake."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes from the connection."""
        self._arrived.append(data)
        self._news.set()
        return False, b""

    def feed_eof(self) -> None:
        """Take in that the client is gone."""
        self._over = True
        self._news.set()

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are. Raises ConnectionError."""
        if self._transport is None or self._request is None or self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)
        await self._request.protocol._drain_helper()

    async def close(self) -> None:
        """End the connection behind what was sent."""
        if self._transport is not None:
            self._transport.close()

    async def __aiter__(self) -> AsyncIterator[WSMessage]:
        """Yield the bytes as they come."""
        while True:
            while self._arrived:
                yield WSMessage(WSMsgType.BINARY, self._arrived.popleft(), None)
            if self._over or self._transport is None or self._transport.is_closing():
                return
            self._news.clear()
            await self._news.wait()


class SpdyChannels:
    """The streams of one exec or attach as the channels of `v5.channel.k8s.io`."""

    def __init__(self, response: SpdyResponse) -> None:
        self._response = response
        self._spdy = Connection()
        self._streams: dict[int, int] = {}
        """Stream by channel."""
        self._channels: dict[int, int] = {}
        self._messages = aiter(response)
        self._early: deque[bytes] = deque()

    async def open(self, wanted: Sequence[int]) -> None:
        """Wait until the client has opened these channels. Raises `Refused`, the connection being closed then."""
        try:
            async with asyncio.timeout(_OPENING_SECONDS):
                while not self._streams.keys() >= set(wanted):
                    message = await anext(self._messages, None)
                    if message is None:
                        raise ConnectionResetError("the client went away before it had opened its streams")
                    for event in self._feed(message):
                        self._early.extend(await self._take(event))
        except (TimeoutError, ConnectionError, ProtocolError) as error:
            await self._response.close()
            raise Refused(400, str(error) or "the client did not open the streams it asked for") from None

    async def send_bytes(self, data: bytes) -> None:
        """Send what a channel carries on its stream; the error channel's only message ends it."""
        stream = self._streams.get(data[0])
        if stream is not None and len(data) > 1:
            await self._response.send_bytes(self._spdy.data(stream, data[1:], end=data[0] == ERROR))

    async def close(self) -> None:
        """End our side of the streams, then the connection."""
        try:
            for channel, stream in self._streams.items():
                if channel in (STDOUT, STDERR):
                    await self._response.send_bytes(self._spdy.data(stream, b"", end=True))
        except ConnectionError:
            pass  # the client did not wait for it
        await self._response.close()

    async def __aiter__(self) -> AsyncIterator[WSMessage]:
        """Yield what arrives as messages that begin with their channel."""
        while self._early:
            yield WSMessage(WSMsgType.BINARY, self._early.popleft(), None)
        async for message in self._messages:
            for event in self._feed(message):
                for found in await self._take(event):
                    yield WSMessage(WSMsgType.BINARY, found, None)

    def _feed(self, message: WSMessage) -> list[Event]:
        try:
            return self._spdy.feed(message.data)
        except SpdyError as error:
            raise ProtocolError(str(error)) from error

    async def _take(self, event: Event) -> list[bytes]:
        match event:
            case Pinged(answer):
                await self._response.send_bytes(answer)
            case Opened(stream, headers):
                channel = _CHANNELS.get(headers.get("streamtype", ""))
                if channel is None or channel in self._streams:
                    raise ProtocolError(f"stream type {headers.get('streamtype')!r} is not expected")
                self._streams[channel] = stream
                self._channels[stream] = channel
                await self._response.send_bytes(self._spdy.accept(stream))
            case Received(stream, data, ended):
                channel = self._channels.get(stream, ERROR)
                if channel == RESIZE:
                    return [bytes((RESIZE,)) + line for line in data.splitlines() if line]
                if channel == STDIN:
                    return [bytes((STDIN,)) + data] * bool(data) + [_STDIN_CLOSED] * ended
        return []


async def upgrade(request: web.Request, known: Sequence[str]) -> SpdyResponse:
    """Accept a SPDY connection with the first sub-protocol known. Raises `Refused` when the client offers none."""
    offered = [name.strip() for value in request.headers.getall(_VERSION, []) for name in value.split(",")]
    chosen = next((name for name in offered if name in known), None)
    if chosen is None:
        raise Refused(
            403, f"unable to upgrade: unable to negotiate protocol: client supports {offered}, server {known}"
        )
    response = SpdyResponse(chosen)
    await response.prepare(request)
    return response
