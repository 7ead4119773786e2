"""Requests to a sandbox's supervisor: one JSON line each way over a unix socket in the state folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from wherry.kernel.supervise import ProcessStatus

_LONGEST_LINE = 1 << 20


class ControlError(Exception):
    """The supervisor cannot be reached or refuses; the message says why."""


class Unreachable(ControlError):
    """No supervisor listens: the sandbox is not running, or its supervisor has died."""


class Request(msgspec.Struct, frozen=True):
    """What is asked: an operation and, for some, a node's name and those of others."""

    op: str
    node: str = ""
    others: list[str] = []


class NodeStatus(msgspec.Struct, frozen=True):
    """A node as the supervisor knows it; ``isolated_from`` is empty unless it was cut from something."""

    name: str
    addresses: list[str]
    running: bool
    isolated_from: list[str] = []


class Reply(msgspec.Struct, frozen=True):
    """The answer; ``error`` is empty where the request was carried out."""

    error: str = ""
    pid: int = 0
    processes: list[ProcessStatus] = []
    nodes: list[NodeStatus] = []
    node: str = ""


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Name a socket by its folder's descriptor: the kernel takes 107 bytes, a state folder may be longer."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """Open the supervisor's socket, for its owner only."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(path) as name:
        server.bind(name)
    path.chmod(0o600)
    server.listen(16)
    return server


def ask(path: Path, request: Request, *, timeout: float = 30.0) -> Reply:
    """Send a request and wait ``timeout`` seconds for its answer.

    Raises Unreachable where nobody listens, ControlError with the supervisor's words where it refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        try:
            with _short(path) as name:
                client.connect(name)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise Unreachable("its supervisor is not running") from error
        except OSError as error:
            raise ControlError(f"its supervisor cannot be reached: {error.strerror}") from error
        client.sendall(msgspec.json.encode(request) + b"\n")
        try:
            line = read_line(client)
        except TimeoutError as error:
            raise ControlError(f"its supervisor did not answer {request.op} within {timeout:g} s") from error
    if not line:
        raise ControlError(f"its supervisor went away during {request.op}")
    try:
        reply = msgspec.json.decode(line, type=Reply)
    except msgspec.MsgspecError as error:
        raise ControlError(f"its supervisor's answer makes no sense ({error}); is another version running?") from error
    if reply.error:
        raise ControlError(reply.error)
    return reply


def read_line(connection: socket.socket) -> bytes:
    """Read up to the first newline; what came so far where the peer closes first."""
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
        part = connection.recv(65536)
        if not part:
            break
        line += part
    return line
