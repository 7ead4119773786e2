"""Upgraded connections (exec, attach, port-forward) handed over to a kubelet, byte for byte.

The client's handshake goes to the kubelet as it is, apart from credentials and the host; the kubelet's answer, 101 or
an error, comes back as it is. What the bytes after it mean is none of our business.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

from aiohttp.web_protocol import RequestHandler

from wherry.apiserver.request import Handled
from wherry.apiserver.status import unavailable

_CONNECT_TIMEOUT = 10.0
_HIGH_WATER = 1 << 20
_BLOCK = 1 << 16
_HIDDEN = frozenset(
    {"authorization", "host", "content-length", "impersonate-user", "impersonate-group", "impersonate-uid", "cookie"}
)


def handshake(method: str, target: str, host: str, port: int, headers: Sequence[tuple[str, str]]) -> bytes:
    """The request head to send on: credentials and impersonation stay here."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {_authority(host, port)}"]
    for name, value in headers:
        low = name.lower()
        if low not in _HIDDEN and not low.startswith("impersonate-extra-"):
            lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Outbound:
    """Takes what the client sends after its handshake; stands where aiohttp keeps a WebSocket reader."""

    def __init__(self, client: asyncio.Transport, kubelet: asyncio.StreamWriter) -> None:
        self._client = client
        self._kubelet = kubelet
        self._stalled = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Pass `data` on; never at an end."""
        self._kubelet.write(data)
        if self._kubelet.transport.get_write_buffer_size() > _HIGH_WATER and not self._stalled.is_set():
            self._client.pause_reading()
            self._stalled.set()
        return False, b""

    def feed_eof(self) -> None:
        """The client closed; the connection's end cancels the tunnel."""

    async def relieve(self) -> None:
        """Let the client go on when the kubelet has caught up; runs until cancelled."""
        while True:
            await self._stalled.wait()
            await self._kubelet.drain()
            self._stalled.clear()
            self._client.resume_reading()


async def splice(
    protocol: RequestHandler, client: asyncio.Transport, head: bytes, host: str, port: int, tls: ssl.SSLContext
) -> Handled:
    """Connect to the kubelet and copy both ways until it closes; raises Refusal when it cannot be reached."""
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    except (OSError, TimeoutError) as error:
        raise unavailable(f"error dialing backend: {error or 'timed out'}") from error
    outbound = _Outbound(client, writer)
    try:
        writer.write(head)
        protocol.set_parser(outbound)  # type: ignore[arg-type]  # the two methods above are all that is asked of it
        async with asyncio.TaskGroup() as tasks:
            relief = tasks.create_task(outbound.relieve())
            while block := await reader.read(_BLOCK):
                client.write(block)
                if client.get_write_buffer_size() > _HIGH_WATER:
                    await protocol._drain_helper()
            relief.cancel()
    except* OSError:
        pass  # either side went away: so does the tunnel, as with any broken connection
    finally:
        writer.close()
    return Handled()
