"""A front's end of its channel to the back: never blocks, keeps little."""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from typing import Any

from wherry.dns.front import protocol

_BUFFER = 1 << 20
_MOST_DESCRIPTORS = 253
_MESSAGES = 16


class Channel:
    """Messages in and out. What the back does not take waits here, so callers bound what they send."""

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        opened.setblocking(False)
        widen(opened)
        self._buffer = bytearray(protocol.LARGEST)
        self._out: deque[bytes] = deque()

    @property
    def stuck(self) -> bool:
        """Whether something waits for the back to read."""
        return bool(self._out)

    def send(self, kind: int, *fields: Any) -> None:
        """Send a message, now or once there is room."""
        self._out.append(protocol.pack(kind, *fields))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as there is room. Raises EOFError where nobody will ever read."""
        while self._out:
            try:
                self.socket.send(self._out[0])
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError) as error:
                raise EOFError from error
            self._out.popleft()

    def receive(self) -> list[tuple[tuple[Any, ...], list[socket.socket]]]:
        """Some messages that have come, with the sockets that came along. Raises EOFError at the end."""
        messages = []
        view = memoryview(self._buffer)
        for _ in range(_MESSAGES):
            try:
                size, ancillary, _, _ = self.socket.recvmsg_into([view], socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4))
            except BlockingIOError:
                break
            except ConnectionResetError as error:
                raise EOFError from error
            if not size:
                raise EOFError
            messages.append((protocol.unpack(view[:size]), _sockets(ancillary)))
        return messages


def widen(opened: socket.socket) -> None:
    """Let a channel hold more, as far as the kernel allows us."""
    for option, ordinary in ((32, socket.SO_SNDBUF), (33, socket.SO_RCVBUF)):  # SO_SNDBUFFORCE, SO_RCVBUFFORCE
        try:
            opened.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, ordinary, _BUFFER)


def _sockets(ancillary: list[tuple[int, int, bytes]]) -> list[socket.socket]:
    found = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i", data[: len(data) - len(data) % 4])
            for number in numbers:
                os.set_inheritable(number, False)
                found.append(socket.socket(fileno=number))
    return found
