"""Requests that turn into a stream: exec, attach and port-forward.

A client that asked for a WebSocket gets it before anything else is looked at, and reads on its error channel why its
request cannot be served. Refused by a status code, kubectl would take the protocol for the reason, try SPDY instead
and show the answer to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from aiohttp import web

from wherry.pods.api.backend import Backend, Refused, Session
from wherry.pods.api.channels import ERROR, PROTOCOLS, RESIZE, STDERR, STDIN, STDOUT, V5, ExecProtocol
from wherry.pods.api.execution import serve
from wherry.pods.api.forward import PROTOCOL as PORT_FORWARD
from wherry.pods.api.forward import Forwarder
from wherry.pods.api.query import flag
from wherry.pods.api.upgrade import (
    EXEC_PROTOCOLS,
    FORWARD_PROTOCOLS,
    Carrier,
    SpdyChannels,
    SpdyResponse,
    upgrade,
    wants_spdy,
)

_INPUT = ("input", "stdin")
"""How the API server, and how a client that calls the kubelet itself, asks for standard input."""


class Streams:
    """The handlers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def exec(self, request: web.Request) -> web.StreamResponse:
        """Run a command in a container."""
        query, info = request.query, request.match_info
        response, socket, protocol = await _upgrade(request, "exec")
        argv = query.getall("command", [])
        tty, stdin = flag(query, "tty"), flag(query, *_INPUT)
        try:
            if not argv:
                raise Refused(400, "you must specify at least 1 command")
            session = await self._backend.exec(
                info["namespace"], info["pod"], info["container"], argv, tty=tty, stdin=stdin
            )
        except Refused as error:
            await _refuse(socket, protocol, error)
            return response
        await _carry(request, socket, protocol, session, command=" ".join(argv))
        return response

    async def attach(self, request: web.Request) -> web.StreamResponse:
        """Join a running container's streams."""
        info = request.match_info
        response, socket, protocol = await _upgrade(request, "attach")
        try:
            session = await self._backend.attach(
                info["namespace"], info["pod"], info["container"], stdin=flag(request.query, *_INPUT)
            )
        except Refused as error:
            await _refuse(socket, protocol, error)
            return response
        await _carry(request, socket, protocol, session, command="attach")
        return response

    async def port_forward(self, request: web.Request) -> web.StreamResponse:
        """Carry connections into a pod; what fails is said for each connection."""
        info = request.match_info
        socket: SpdyResponse | web.WebSocketResponse
        if wants_spdy(request):
            socket = await upgrade(request, FORWARD_PROTOCOLS)
        else:
            socket = await _accept(request, "port-forward", (PORT_FORWARD,))
        await Forwarder(socket, partial(self._backend.connect, info["namespace"], info["pod"])).serve()
        return socket


async def _upgrade(request: web.Request, what: str) -> tuple[web.StreamResponse, Carrier, ExecProtocol]:
    """Accept the connection. Raises `Refused` for a client that did not ask for one we know."""
    if wants_spdy(request):
        response = await upgrade(request, EXEC_PROTOCOLS)
        channels = SpdyChannels(response)
        query = request.query
        tty = flag(query, "tty")
        wanted = {
            ERROR: True,
            STDIN: flag(query, *_INPUT),
            STDOUT: flag(query, "output", "stdout"),
            STDERR: flag(query, "error", "stderr") and not tty,
            RESIZE: tty,
        }
        await channels.open([channel for channel, asked in wanted.items() if asked])
        return response, channels, ExecProtocol(V5)
    socket = await _accept(request, what, PROTOCOLS)
    return socket, socket, ExecProtocol(socket.ws_protocol or PROTOCOLS[0])


async def _accept(request: web.Request, what: str, protocols: Sequence[str]) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=protocols, compress=False, max_msg_size=0)
    if not socket.can_prepare(request).ok:
        raise Refused(400, f"{what} needs a WebSocket upgrade with {' or '.join(protocols)}")
    if not any(name.strip() in protocols for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")):
        raise Refused(400, f"{what} is served over the WebSocket sub-protocols {' and '.join(protocols)} only")
    await socket.prepare(request)
    return socket


async def _carry(
    request: web.Request, socket: Carrier, protocol: ExecProtocol, session: Session, *, command: str
) -> None:
    query = request.query
    try:
        await serve(
            socket,
            session,
            protocol,
            command=command,
            stdin=flag(query, *_INPUT),
            stdout=flag(query, "output", "stdout"),
            # A terminal has one output; what is written to stderr comes with it.
            stderr=flag(query, "error", "stderr") and not flag(query, "tty"),
        )
    finally:
        await session.close()
    await socket.close()


async def _refuse(socket: Carrier, protocol: ExecProtocol, error: Refused) -> None:
    try:
        await socket.send_bytes(protocol.failure(str(error), code=error.code))
        await socket.close()
    except ConnectionError:
        pass  # the client did not wait for the answer
