"""One exec connection: a command on one side, a WebSocket on the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType

from wherry.pods.api.backend import Session
from wherry.pods.api.channels import STDERR, STDOUT, ExecProtocol, ProtocolError, Resize, StdinClosed, StdinData
from wherry.pods.api.upgrade import Carrier

_log = logging.getLogger(__name__)


class _ClientGone(Exception):
    """The client closed the connection before the command ended."""


async def serve(
    socket: Carrier,
    session: Session,
    protocol: ExecProtocol,
    *,
    command: str,
    stdin: bool,
    stdout: bool,
    stderr: bool,
) -> None:
    """Carry bytes until the command has ended and its output is sent, or the client is gone (then it is killed)."""
    await socket.send_bytes(protocol.greeting(stdout=stdout, stderr=stderr))
    try:
        async with asyncio.TaskGroup() as group:
            incoming = group.create_task(_receive(socket, session, protocol, stdin=stdin))
            outgoing = [
                group.create_task(_send(socket, protocol, STDOUT, session.read_stdout, wanted=stdout)),
                group.create_task(_send(socket, protocol, STDERR, session.read_stderr, wanted=stderr)),
            ]
            code = await session.wait()
            for task in outgoing:
                await task
            incoming.cancel()
            await socket.send_bytes(protocol.status(exit_code=code, command=command))
    except* (_ClientGone, ConnectionError):
        # Nobody is left to tell; the caller closes the session, which ends the command.
        _log.debug("the client of exec %r went away", command)
    except* ProtocolError as errors:
        await socket.send_bytes(protocol.failure(str(errors.exceptions[0])))


async def _receive(socket: Carrier, session: Session, protocol: ExecProtocol, *, stdin: bool) -> None:
    async for message in socket:
        if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
            continue
        data = message.data.encode() if isinstance(message.data, str) else message.data
        match protocol.feed(data):
            case StdinData(data):
                if stdin:
                    await session.write_stdin(data)
            case StdinClosed():
                if stdin:
                    session.close_stdin()
            case Resize(columns, rows):
                session.resize(rows, columns)
    raise _ClientGone


async def _send(
    socket: Carrier,
    protocol: ExecProtocol,
    channel: int,
    read: Callable[[], Awaitable[bytes]],
    *,
    wanted: bool,
) -> None:
    while data := await read():
        if wanted:
            await socket.send_bytes(protocol.output(channel, data))
