"""Requests that turn into a stream: exec and attach.

A client that asked for a WebSocket gets it before anything else is looked at, and reads on its error channel why its
request cannot be served. Refused by a status code, kubectl would take the protocol for the reason, try SPDY instead
and show the answer to that.
"""

from __future__ import annotations

from aiohttp import web

from wherry.pods.api.backend import Backend, Refused
from wherry.pods.api.channels import PROTOCOLS, ExecProtocol
from wherry.pods.api.execution import serve
from wherry.pods.api.query import flag


class Streams:
    """The handlers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def exec(self, request: web.Request) -> web.StreamResponse:
        """Run a command in a container."""
        query, info = request.query, request.match_info
        socket, protocol = await _upgrade(request, "exec")
        argv = query.getall("command", [])
        tty, stdin = flag(query, "tty"), flag(query, "input", "stdin")
        try:
            if not argv:
                raise Refused(400, "you must specify at least 1 command")
            session = await self._backend.exec(
                info["namespace"], info["pod"], info["container"], argv, tty=tty, stdin=stdin
            )
        except Refused as error:
            return await _refuse(socket, protocol, error)
        try:
            await serve(
                socket,
                session,
                protocol,
                command=" ".join(argv),
                stdin=stdin,
                stdout=flag(query, "output", "stdout"),
                # A terminal has one output; what the command writes to stderr comes with it.
                stderr=flag(query, "error", "stderr") and not tty,
            )
        finally:
            await session.close()
        await socket.close()
        return socket


async def _upgrade(request: web.Request, what: str) -> tuple[web.WebSocketResponse, ExecProtocol]:
    """Accept the WebSocket. Raises `Refused` for a client that did not ask for one we know."""
    socket = web.WebSocketResponse(protocols=PROTOCOLS, compress=False, max_msg_size=0)
    if not socket.can_prepare(request).ok:
        raise Refused(400, f"{what} needs a WebSocket upgrade with {' or '.join(PROTOCOLS)}, not SPDY")
    if not any(name.strip() in PROTOCOLS for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")):
        raise Refused(400, f"{what} is served over the WebSocket sub-protocols {' and '.join(PROTOCOLS)} only")
    await socket.prepare(request)
    return socket, ExecProtocol(socket.ws_protocol or PROTOCOLS[0])


async def _refuse(socket: web.WebSocketResponse, protocol: ExecProtocol, error: Refused) -> web.WebSocketResponse:
    try:
        await socket.send_bytes(protocol.failure(str(error), code=error.code))
        await socket.close()
    except ConnectionError:
        pass  # the client did not wait for the answer
    return socket
