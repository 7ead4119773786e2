"""WebSocket as a stand-in needs it (RFC 6455), without I/O: the handshake, and an echo of every message."""

from __future__ import annotations

import base64
import struct

from wherry.pods.runtime.standin.http import Request

MAX_FRAME = 1 << 20
"""Longer frames end the connection with code 1009."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE, _PING, _PONG = 8, 9, 10
_TOO_BIG, _PROTOCOL_ERROR = 1009, 1002


def wants_upgrade(request: Request) -> bool:
    """Whether a request asks for a WebSocket that can be given."""
    options = {option.strip().lower() for option in request.header("connection").split(",")}
    return (
        request.method == "GET"
        and "upgrade" in options
        and request.header("upgrade").lower() == "websocket"
        and bool(request.header("sec-websocket-key"))
        and request.header("sec-websocket-version") == "13"
    )


def accept(request: Request) -> bytes:
    """The response that turns the connection into a WebSocket; of offered sub-protocols the first is taken."""
    from hashlib import sha1  # OpenSSL is loaded for it, which few stand-ins need

    digest = sha1(request.header("sec-websocket-key").encode("latin-1") + _GUID, usedforsecurity=False).digest()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
    ]
    offered = request.header("sec-websocket-protocol").partition(",")[0].strip()
    if offered:
        lines.append(f"Sec-WebSocket-Protocol: {offered}")
    return "\r\n".join([*lines, "Server: wherry", "", ""]).encode("latin-1")


class Echo:
    """Sends every frame back, unmasked; ``closing`` once the closing handshake is done or the client broke a rule."""

    __slots__ = ("_buffer", "closing", "messages", "size")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.closing = False
        self.messages = 0
        self.size = 0

    def feed(self, data: bytes) -> bytes:
        """The frames to send in answer to ``data``."""
        self._buffer += data
        out = bytearray()
        while not self.closing:
            reply = self._frame()
            if reply is None:
                break
            out += reply
        return bytes(out)

    def _frame(self) -> bytes | None:
        """Answer the next frame; None while it is incomplete."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        opcode, length, at = first & 0x0F, second & 0x7F, 2
        if length > 125:
            form = struct.Struct("!H" if length == 126 else "!Q")
            if len(buffer) < at + form.size:
                return None
            (length,) = form.unpack_from(buffer, at)
            at += form.size
        if first & 0x70 or not second & 0x80 or (opcode >= _CLOSE and (length > 125 or not first & 0x80)):
            return self._fail(_PROTOCOL_ERROR)
        if length > MAX_FRAME:
            return self._fail(_TOO_BIG)
        if len(buffer) < at + 4 + length:
            return None
        payload = unmask(bytes(buffer[at + 4 : at + 4 + length]), bytes(buffer[at : at + 4]))
        del buffer[: at + 4 + length]
        match opcode:
            case 0 | 1 | 2:
                self.messages += first >> 7
                self.size += length
                return frame(first & 0x8F, payload)
            case 8:
                self.closing = True
                return frame(0x80 | _CLOSE, payload[:2])
            case 9:
                return frame(0x80 | _PONG, payload)
            case 10:
                return b""
        return self._fail(_PROTOCOL_ERROR)

    def _fail(self, code: int) -> bytes:
        self.closing = True
        return frame(0x80 | _CLOSE, struct.pack("!H", code))


def unmask(data: bytes, key: bytes) -> bytes:
    """Apply a mask; applied twice it is undone."""
    if not data:
        return data
    mask = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(data), "big")


def frame(first: int, payload: bytes) -> bytes:
    """A server's frame, which is not masked; ``first`` is its first byte."""
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 1 << 16:
        return bytes((first, 126)) + struct.pack("!H", len(payload)) + payload
    return bytes((first, 127)) + struct.pack("!Q", len(payload)) + payload
