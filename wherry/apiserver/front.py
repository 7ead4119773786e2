"""The HTTP front: aiohttp's server below, our `Request` and `Answer` above; nothing else knows aiohttp."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web

from wherry.apiserver import tunnel
from wherry.apiserver.request import (
    JSON,
    Answer,
    Handled,
    Query,
    Request,
    Response,
    Sink,
    Stream,
    Subject,
    TooLarge,
    split_target,
)

MAX_BODY = 3 << 20  # bytes, as the real server's limit
_MAX_HEADER = 64 << 10  # a bearer token with many audiences, or a long selector in the query
_DRAIN_ABOVE = 1 << 20

Handler = Callable[[Request], Awaitable[Answer]]
log = logging.getLogger("wherry.apiserver")


class _ChunkedSink:
    """Writes chunks straight to the transport, which keeps them until the client takes them."""

    def __init__(self, response: web.StreamResponse, transport: asyncio.WriteTransport) -> None:
        self._response = response
        self._transport = transport

    def write(self, data: bytes) -> None:
        """See `Sink`."""
        if data:
            self._transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))

    def backlog(self) -> int:
        """See `Sink`."""
        return self._transport.get_write_buffer_size()

    async def drain(self) -> None:
        """See `Sink`."""
        if self._transport.get_write_buffer_size() > _DRAIN_ABOVE:
            await self._response.drain_transport()  # type: ignore[attr-defined]


class _Streamed(web.StreamResponse):
    """A streamed answer whose body is written below aiohttp."""

    async def drain_transport(self) -> None:
        """Wait until the transport has passed its backlog on."""
        assert self._payload_writer is not None  # it is prepared
        await self._payload_writer.drain()


class Front:
    """Listens, parses, answers. `handler` must not raise for anything a client can cause.

    Requests that still run when it stops have `shutdown_seconds` to end before their connections are closed.
    """

    def __init__(self, handler: Handler, *, shutdown_seconds: float) -> None:
        self._handler = handler
        self._shutdown_seconds = shutdown_seconds
        self._runner: web.ServerRunner | None = None
        self._sites: list[web.BaseSite] = []

    async def start(self) -> None:
        """Get ready to listen."""
        server = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            keepalive_timeout=600.0,
            auto_decompress=True,
            logger=log,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=self._shutdown_seconds)
        await self._runner.setup()

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve on a bound socket."""
        assert self._runner is not None  # start comes first
        sock.setblocking(False)
        site = web.SockSite(self._runner, sock, ssl_context=tls, backlog=1024)
        await site.start()
        self._sites.append(site)

    async def stop(self) -> None:
        """Close the listeners, let running requests end, close the connections."""
        for site in self._sites:
            await site.stop()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, base: web.BaseRequest) -> web.StreamResponse:
        transport = base.transport
        if transport is None:
            return _finished(base)  # the client is gone
        target = base.raw_path if base.raw_path.startswith("/") else base.path_qs
        path, query = split_target(target)
        headers = base.headers
        request = Request(
            method=base.method,
            target=target,
            path=path,
            query=Query(query),
            headers=headers,
            read_body=lambda: _read(base),
            all_headers=lambda name: headers.getall(name, []),
            header_names=lambda: list(headers.keys()),
            certificate=_subject(transport),
            splice=lambda host, port, there, tls: _splice(base, host, port, there, cast("ssl.SSLContext", tls)),
        )
        answer = await self._handler(request)
        if isinstance(answer, Response):
            response = web.Response(status=answer.status, body=answer.body)
            out = response.headers
            if answer.content_type:
                out["Content-Type"] = answer.content_type
            for name, value in answer.headers:
                out.add(name, value)
            for text in request.warnings:
                out.add("Warning", text)
            return response
        if isinstance(answer, Handled):
            return _finished(base)
        return await _stream(base, request, answer)


async def _read(base: web.BaseRequest) -> bytes:
    length = base.content_length
    if length is not None and length > MAX_BODY:
        raise TooLarge
    parts: list[bytes] = []
    size = 0
    async for part in base.content.iter_any():
        size += len(part)
        if size > MAX_BODY:
            raise TooLarge
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _subject(transport: asyncio.BaseTransport) -> Subject | None:
    certificate: dict[str, Any] | None = transport.get_extra_info("peercert")
    return certificate.get("subject") if certificate else None


async def _stream(base: web.BaseRequest, request: Request, answer: Stream) -> web.StreamResponse:
    response = _Streamed(status=answer.status)
    response.headers["Content-Type"] = answer.content_type or JSON
    response.headers["Cache-Control"] = "no-cache, private"
    for name, value in answer.headers:
        response.headers.add(name, value)
    for text in request.warnings:
        response.headers.add("Warning", text)
    response.enable_chunked_encoding()
    try:
        await response.prepare(base)
    except ConnectionResetError:
        return _finished(base)  # the client left before the answer began
    transport = base.transport
    if transport is None:
        return _finished(base)
    sink: Sink = _ChunkedSink(response, cast("asyncio.WriteTransport", transport))
    await answer.run(sink)
    await response.write_eof()
    return response


async def _splice(base: web.BaseRequest, host: str, port: int, target: str, tls: ssl.SSLContext) -> Answer:
    protocol = base.protocol
    transport = cast("asyncio.Transport", base.transport)
    names = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in base.raw_headers]
    head = tunnel.handshake(base.method, target, host, port, names)
    return await tunnel.splice(protocol, transport, head, host, port, tls)


def _finished(base: web.BaseRequest) -> web.StreamResponse:
    """What aiohttp needs to see after a connection was taken over: an answer that is already complete."""
    protocol = base.protocol
    protocol.force_close()
    response = web.StreamResponse()
    response._eof_sent = True
    return response
