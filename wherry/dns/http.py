"""A small HTTP server for `health`, `ready` and `prometheus`: GET and HEAD of fixed paths, nothing else.

Several blocks, and a configuration and its successor, may want one address: they share a listener, which closes with
its last path. A path that is taken twice answers with what took it last, and gives way to the earlier one again.
"""

import asyncio
import contextlib
import http
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_PATIENCE = 10.0  # seconds for a request to arrive, and for a kept connection to send the next
_LONGEST = 16 * 1024  # bytes of a request's head
_MOST = 64  # connections at once on a listener: probes and scrapers are few


@dataclass(frozen=True, slots=True)
class Page:
    """What a path answers with."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


Handler = Callable[[], Awaitable[Page]]


@dataclass(slots=True, eq=False)
class _Listener:
    server: asyncio.Server
    paths: dict[str, list[Handler]] = field(default_factory=dict)
    connections: set[asyncio.StreamWriter] = field(default_factory=set)


class HttpHub:
    """The process' HTTP listeners by address."""

    def __init__(self) -> None:
        self._listeners: dict[tuple[str, int], _Listener] = {}
        self._lock = asyncio.Lock()

    async def serve(self, host: str, port: int, path: str, handler: Handler) -> int:
        """Answer `path` on an address (host "" means all) and return the port; raises OSError where it is taken.

        Port 0 takes a free one, which `release` is then to be given.
        """
        async with self._lock:
            listener = self._listeners.get((host, port))
            if listener is None:
                listener = await self._listen(host, port)
                port = listener.server.sockets[0].getsockname()[1]
                self._listeners[host, port] = listener
            listener.paths.setdefault(path, []).append(handler)
            return port

    async def release(self, host: str, port: int, path: str, handler: Handler) -> None:
        """Stop answering `path` with `handler`; the listener closes with its last path."""
        async with self._lock:
            listener = self._listeners[host, port]
            listener.paths[path].remove(handler)
            if not listener.paths[path]:
                del listener.paths[path]
            if not listener.paths:
                del self._listeners[host, port]
                listener.server.close()
                for writer in tuple(listener.connections):
                    writer.close()
                await listener.server.wait_closed()

    async def _listen(self, host: str, port: int) -> _Listener:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _converse(listener, reader, writer)

        try:
            found = await _socket(host, port)
        except OSError as error:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise OSError(error.errno, f"cannot serve HTTP on {where}: {error.strerror}") from error
        listener = _Listener(await asyncio.start_server(serve, sock=found, limit=_LONGEST))
        return listener


async def _socket(host: str, port: int) -> socket.socket:
    """One listening socket: of both families for all addresses, IPv4 first where a name has several, as Go has it."""
    if not host:
        with contextlib.suppress(OSError):
            # Fails where there is no IPv6; where the port is taken, so does the other.
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, *_, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    return socket.create_server(address[:2], family=family)


async def _converse(listener: _Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if len(listener.connections) >= _MOST:
        writer.close()
        return
    listener.connections.add(writer)
    try:
        with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await _exchange(listener, reader, writer):
                pass
    finally:
        listener.connections.discard(writer)
        writer.close()


async def _exchange(listener: _Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer one request; whether the connection goes on."""
    async with asyncio.timeout(_PATIENCE):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    words = first.split()
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        page = Page(b"bad request\n", 400)
    elif words[0] not in ("GET", "HEAD"):
        page = Page(b"only GET and HEAD\n", 405)
    else:
        handlers = listener.paths.get(words[1].partition("?")[0])
        page = await handlers[-1]() if handlers else Page(b"404 page not found\n", 404)
    lasting = (
        page.status not in (400, 405)
        and words[2] == "HTTP/1.1"
        and headers.get("connection", "").lower() != "close"
        and headers.get("content-length", "0") == "0"
        and "transfer-encoding" not in headers
    )
    head = (
        f"HTTP/1.1 {page.status} {http.HTTPStatus(page.status).phrase}\r\n"
        f"Content-Type: {page.content_type}\r\nContent-Length: {len(page.body)}\r\n"
        f"Connection: {'keep-alive' if lasting else 'close'}\r\n\r\n"
    )
    writer.write(head.encode() + (b"" if words[:1] == ["HEAD"] else page.body))
    async with asyncio.timeout(_PATIENCE):
        await writer.drain()
    return lasting
