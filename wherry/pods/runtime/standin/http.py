"""HTTP/1.1 as a stand-in needs it (RFC 9112), without I/O: bytes in, requests out.

Bounded in everything: a head of `MAX_HEAD` bytes, a kept body of `MAX_BODY` (longer ones are read and counted, not
kept). What cannot be a request is told apart as early as possible, because such a connection is echoed instead.
"""

from __future__ import annotations

from msgspec import Struct

MAX_HEAD = 32 * 1024
MAX_BODY = 64 * 1024

_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT", b"TRACE", b"PRI")
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Request(Struct, frozen=True):
    """One complete request."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    """The first `MAX_BODY` bytes."""
    body_size: int
    keep_alive: bool

    def header(self, name: str) -> str:
        """All values of a header joined by commas, empty when it is absent (``name`` in lower case)."""
        return ", ".join(value for key, value in self.headers if key.lower() == name)


class Continue(Struct, frozen=True):
    """The client waits for ``100 Continue`` before it sends the body."""


class Bad(Struct, frozen=True):
    """Not acceptable: answer this status and close."""

    status: int
    reason: str


class NotHttp(Struct, frozen=True):
    """The first bytes of the connection cannot begin a request; they are all in ``data``."""

    data: bytes


Event = Request | Continue | Bad | NotHttp


def looks_like_http(data: bytes) -> bool | None:
    """Whether a connection that begins with ``data`` speaks HTTP; None while that is open."""
    line, newline, _ = data.partition(b"\n")
    if newline:
        words = line.rstrip(b"\r").split(b" ")
        return len(words) == 3 and bool(words[0]) and _is_token(words[0]) and words[2].startswith(b"HTTP/")
    word, space, _ = line.partition(b" ")
    if space:
        # A long or unusual request line may still be on its way, but only a known method is worth waiting for.
        return None if word in _METHODS else False
    return None if any(method.startswith(word) for method in _METHODS) else False


class Parser:
    """Cuts one connection's bytes into requests. After `Bad` or `NotHttp` it must not be fed again."""

    __slots__ = ("_body", "_buffer", "_chunk_ends", "_chunked", "_head", "_in_trailer", "_left", "_seen", "_size")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: Request | None = None
        self._seen = False
        self._reset()

    def feed(self, data: bytes) -> list[Event]:
        """What ``data`` completes."""
        self._buffer += data
        events: list[Event] = []
        if not self._seen:
            verdict = looks_like_http(bytes(self._buffer[:MAX_HEAD]))
            if verdict is None and len(self._buffer) < MAX_HEAD:
                return events
            if not verdict:
                return [NotHttp(bytes(self._buffer))]
            self._seen = True
        while True:
            if self._head is None:
                event = self._read_head()
                if event is None:
                    return events
                if isinstance(event, Bad):
                    return [*events, event]
                if event is not _NOTHING:
                    events.append(event)
            done = self._read_body()
            if isinstance(done, Bad):
                return [*events, done]
            if done is None:
                return events
            events.append(done)

    def undecided(self) -> bytes:
        """What arrived so far when that could still become a request or something else."""
        return b"" if self._seen else bytes(self._buffer)

    def _reset(self) -> None:
        self._head = None
        self._body = bytearray()
        self._size = 0
        self._left = 0
        self._chunked = False
        self._chunk_ends = False
        self._in_trailer = False

    def _read_head(self) -> Event | None:
        """Parse a head into ``self._head``. None: incomplete; otherwise `Continue`, `Bad` or `_NOTHING`."""
        while self._buffer[:2] == b"\r\n":  # RFC 9112 §2.2: empty lines before a request are ignored
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        width = 4
        lone = self._buffer.find(b"\n\n")
        if lone >= 0 and (end < 0 or lone < end):
            end, width = lone, 2
        if end < 0:
            return Bad(431, "Request Header Fields Too Large") if len(self._buffer) > MAX_HEAD else None
        if end > MAX_HEAD:
            return Bad(431, "Request Header Fields Too Large")
        head = bytes(self._buffer[:end]).replace(b"\r\n", b"\n").split(b"\n")
        del self._buffer[: end + width]
        words = head[0].split(b" ")
        if len(words) != 3 or not _is_token(words[0]) or not words[1]:
            return Bad(400, "Bad Request")
        if words[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            return Bad(505, "HTTP Version Not Supported")
        headers: list[tuple[str, str]] = []
        for line in head[1:]:
            name, colon, value = line.partition(b":")
            if not colon or not name or not _is_token(name):
                return Bad(400, "Bad Request")
            headers.append((name.decode("latin-1"), value.strip().decode("latin-1")))
        version = words[2].decode("latin-1")
        request = Request(
            method=words[0].decode("latin-1"),
            target=words[1].decode("latin-1"),
            version=version,
            headers=tuple(headers),
            body=b"",
            body_size=0,
            keep_alive=False,
        )
        options = {option.strip().lower() for option in request.header("connection").split(",")}
        keep = "close" not in options if version == "HTTP/1.1" else "keep-alive" in options
        bad = self._frame(request)
        if bad is not None:
            return bad
        self._head = Request(request.method, request.target, version, request.headers, b"", 0, keep)
        if request.header("expect").lower() == "100-continue" and (self._chunked or self._left):
            return Continue()
        return _NOTHING

    def _frame(self, request: Request) -> Bad | None:
        """How the body is delimited (RFC 9112 §6)."""
        encoding = request.header("transfer-encoding").lower()
        length = request.header("content-length")
        if encoding:
            if encoding != "chunked" or length:
                return Bad(400, "Bad Request")
            self._chunked = True
        elif length:
            if not (length.isascii() and length.isdigit() and len(length) < 19):
                return Bad(400, "Bad Request")
            self._left = int(length)
        return None

    def _read_body(self) -> Request | Bad | None:
        """Take body bytes; the finished request, or None while some are missing."""
        while True:
            if self._left:
                piece = self._buffer[: self._left]
                del self._buffer[: self._left]
                self._left -= len(piece)
                self._size += len(piece)
                self._body += piece[: MAX_BODY - len(self._body)]
                if self._left:
                    return None
                self._chunk_ends = self._chunked
            if not self._chunked:
                return self._finish()
            if self._chunk_ends:
                if len(self._buffer) < 2:
                    return None
                if self._buffer[:2] != b"\r\n":
                    return Bad(400, "Bad Request")
                del self._buffer[:2]
                self._chunk_ends = False
            end = self._buffer.find(b"\r\n")
            if end < 0:
                return Bad(400, "Bad Request") if len(self._buffer) > MAX_HEAD else None
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            if self._in_trailer:
                if not line:
                    return self._finish()
                continue
            size = line.partition(b";")[0].strip()
            if not size or len(size) > 15 or any(byte not in b"0123456789abcdefABCDEF" for byte in size):
                return Bad(400, "Bad Request")
            self._left = int(size, 16)
            self._in_trailer = self._left == 0

    def _finish(self) -> Request:
        head = self._head
        assert head is not None, "a body is only read behind a head"
        finished = Request(
            head.method, head.target, head.version, head.headers, bytes(self._body), self._size, head.keep_alive
        )
        self._reset()
        return finished


_NOTHING = NotHttp(b"")
"""A head was read and there is nothing to report yet."""


def _is_token(word: bytes) -> bool:
    return all(byte in _TOKEN for byte in word)
