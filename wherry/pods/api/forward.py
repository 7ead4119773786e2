"""port-forward: connections of a client, carried as SPDY streams in WebSocket messages, into a pod.

For each connection the client opens two streams with the same request id: `error`, on which we say why it failed, and
`data`. The streams come inside WebSocket messages (KEP-4006, `SPDY/3.1+portforward.k8s.io`), from older clients bare.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import WSMsgType

from wherry.pods.api.backend import Refused
from wherry.pods.api.spdy import Connection, Event, Opened, Pinged, ProtocolError, Received, Reset
from wherry.pods.api.upgrade import Carrier

PROTOCOL: Final = "SPDY/3.1+portforward.k8s.io"
_BLOCK = 32 * 1024
_MOST_WAITING = 64
"""Pieces of data one connection may have waiting before the whole tunnel waits for it."""

Connect = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Opens a connection to a port of the pod. Raises `Refused` or OSError."""


class Forwarder:
    """One client of port-forward and its connections."""

    def __init__(self, socket: Carrier, connect: Connect) -> None:
        self._socket = socket
        self._connect = connect
        self._spdy = Connection()
        self._errors: dict[str, int] = {}
        self._inputs: dict[int, asyncio.Queue[bytes | None]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Carry connections until the client is gone."""
        try:
            async with asyncio.TaskGroup() as group:
                async for message in self._socket:
                    if message.type is WSMsgType.BINARY:
                        for event in self._spdy.feed(message.data):
                            await self._take(event, group)
                for task in self._tasks.values():
                    task.cancel()
        except* (ConnectionError, ProtocolError):
            await self._socket.close()  # the client went away, or talks nonsense: either way the tunnel ends

    async def _take(self, event: Event, group: asyncio.TaskGroup) -> None:
        match event:
            case Pinged(answer):
                await self._socket.send_bytes(answer)
            case Opened(stream, headers):
                await self._socket.send_bytes(self._spdy.accept(stream))
                request = headers.get("requestid", "")
                if headers.get("streamtype") == "error":
                    self._errors[request] = stream
                elif headers.get("streamtype") == "data":
                    self._inputs[stream] = asyncio.Queue(_MOST_WAITING)
                    work = self._carry(stream, self._errors.pop(request, 0), headers.get("port", ""))
                    self._tasks[stream] = group.create_task(work)
                else:
                    await self._socket.send_bytes(self._spdy.reset(stream))
            case Received(stream, data, ended):
                waiting = self._inputs.get(stream)
                if waiting is not None:
                    if data:
                        await waiting.put(data)
                    if ended:
                        await waiting.put(None)
            case Reset(stream):
                task = self._tasks.get(stream)
                if task is not None:
                    task.cancel()

    async def _carry(self, stream: int, errors: int, port: str) -> None:
        """One connection, from its opening to its end."""
        reason = ""
        try:
            reader, writer = await self._connect(_port(port))
            try:
                async with asyncio.TaskGroup() as group:
                    sending = group.create_task(self._send(stream, writer))
                    while data := await reader.read(_BLOCK):
                        await self._socket.send_bytes(self._spdy.data(stream, data))
                    sending.cancel()
            finally:
                writer.close()
        except* (OSError, Refused) as failed:
            first = failed.exceptions[0]
            reason = str((first.strerror if isinstance(first, OSError) else None) or first)
        finally:
            waiting = self._inputs.pop(stream)
            while not waiting.empty():
                waiting.get_nowait()  # whoever waits to add to it goes on
            self._tasks.pop(stream, None)
        if errors:
            await self._socket.send_bytes(self._spdy.data(errors, reason.encode(), end=True))
        await self._socket.send_bytes(self._spdy.data(stream, b"", end=True))

    async def _send(self, stream: int, writer: asyncio.StreamWriter) -> None:
        waiting = self._inputs[stream]
        while (data := await waiting.get()) is not None:
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise Refused(400, f"{text!r} is not a port")
    return int(text)
