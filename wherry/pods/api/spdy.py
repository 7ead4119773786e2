"""SPDY/3.1 as port-forward speaks it, without I/O: the server's side of a connection.

The client opens streams with headers, each of which we answer and which then carries bytes both ways until each side
has ended its own. Flow control is left out, as the clients of Kubernetes leave it out (they send no window updates and
wait for none). Source: the SPDY protocol, draft 3.1 (chromium.org/spdy), sections 2.2 and 2.6.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import msgspec

MAX_FRAME: Final = 1 << 20
"""Longest frame taken from a client; theirs are below 64 KiB."""
MAX_HEADERS: Final = 1 << 16
"""Longest header block after decompression."""

_SYN_REPLY, _RST_STREAM, _PING = 2, 3, 6
_VERSION: Final = 0x8003
_FIN: Final = 0x01
_CANCEL: Final = 5
_HEAD = struct.Struct("!IBBH")
_WORD = struct.Struct("!I")

_NAMES: Final = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_WORDS: Final = (
    *_NAMES.split(),
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
)
_REST: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY: Final = b"".join(_WORD.pack(len(word)) + word.encode() for word in _WORDS) + _REST.encode()
"""What both sides' compression of headers starts from (section 2.6.10.1); its Adler-32 is part of every connection."""


class Opened(msgspec.Struct, frozen=True):
    """The client opened a stream."""

    stream: int
    headers: dict[str, str]
    ended: bool


class Received(msgspec.Struct, frozen=True):
    """Bytes of a stream; ``ended`` when the client sends no more on it."""

    stream: int
    data: bytes
    ended: bool


class Reset(msgspec.Struct, frozen=True):
    """The client gave a stream up."""

    stream: int


class Pinged(msgspec.Struct, frozen=True):
    """The client wants ``answer`` back."""

    answer: bytes


class ProtocolError(Exception):
    """The client sent what SPDY/3.1 does not allow."""


Event = Opened | Received | Reset | Pinged


class Connection:
    """One connection: `feed` what arrived, send what the other methods return."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> list[Event]:
        """Return what these bytes, in any slicing, complete. Raises `ProtocolError`."""
        self._buffer += data
        events: list[Event] = []
        at = 0
        while len(self._buffer) - at >= _HEAD.size:
            first, flags, high, low = _HEAD.unpack_from(self._buffer, at)
            length = high << 16 | low
            if length > MAX_FRAME:
                raise ProtocolError(f"a frame of {length} bytes is longer than the {MAX_FRAME} allowed")
            end = at + _HEAD.size + length
            if len(self._buffer) < end:
                break
            event = self._frame(first, flags, bytes(self._buffer[at + _HEAD.size : end]))
            if event is not None:
                events.append(event)
            at = end
        del self._buffer[:at]
        return events

    def accept(self, stream: int) -> bytes:
        """Answer an opened stream."""
        block = self._deflate.compress(_WORD.pack(0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _control(_SYN_REPLY, _WORD.pack(stream) + block)

    def data(self, stream: int, data: bytes, *, end: bool = False) -> bytes:
        """Send bytes (fewer than 16 MiB) on a stream; with ``end`` they are our last."""
        return _HEAD.pack(stream, _FIN if end else 0, len(data) >> 16, len(data) & 0xFFFF) + data

    def reset(self, stream: int) -> bytes:
        """Give a stream up."""
        return _control(_RST_STREAM, _WORD.pack(stream) + _WORD.pack(_CANCEL))

    def _frame(self, first: int, flags: int, body: bytes) -> Event | None:
        if not first & 0x80000000:
            return Received(first, body, ended=bool(flags & _FIN))
        if first >> 16 != _VERSION:
            raise ProtocolError(f"version {first >> 16 & 0x7FFF} is not 3")
        try:
            match first & 0xFFFF:
                case 1:  # SYN_STREAM
                    stream = _WORD.unpack_from(body)[0] & 0x7FFFFFFF
                    return Opened(stream, self._headers(body[10:]), ended=bool(flags & _FIN))
                case 3:  # RST_STREAM
                    return Reset(_WORD.unpack_from(body)[0] & 0x7FFFFFFF)
                case 6:  # PING
                    # Even numbers are ours: answers to pings that were never sent.
                    return Pinged(_control(_PING, body)) if _WORD.unpack(body)[0] & 1 else None
        except struct.error as error:
            raise ProtocolError(f"a frame of type {first & 0xFFFF} is too short") from error
        return None  # settings, going away and the like change nothing here

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, MAX_HEADERS)
        except zlib.error as error:
            raise ProtocolError(f"headers: {error}") from error
        if self._inflate.unconsumed_tail:
            raise ProtocolError(f"headers of more than {MAX_HEADERS} bytes")
        (count,) = _WORD.unpack_from(text)
        at, words = _WORD.size, []
        for _ in range(min(2 * count, MAX_HEADERS)):
            (length,) = _WORD.unpack_from(text, at)
            at += _WORD.size
            words.append(text[at : at + length].decode("utf-8", "replace"))
            at += length
        return dict(zip(words[::2], words[1::2], strict=True))


def _control(kind: int, body: bytes) -> bytes:
    return _HEAD.pack(_VERSION << 16 | kind, 0, len(body) >> 16, len(body) & 0xFFFF) + body
