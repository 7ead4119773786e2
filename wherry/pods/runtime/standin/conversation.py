"""One TCP connection to a stand-in, without I/O: HTTP/1, HTTP/2 or a WebSocket where the client speaks it, an echo of
everything else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from wherry.pods.model import Behaviour
from wherry.pods.runtime.standin import http, websocket
from wherry.pods.runtime.standin.answer import DEFAULT, Identity, answer, filler, head, refusal

if TYPE_CHECKING:
    from wherry.pods.runtime.standin.http2 import Http2

PROBE_AGENT = "kube-probe/"
"""User agent of the kubelet's HTTP probes; they come every few seconds and are left out of the log."""
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""How a client begins that knows it may speak HTTP/2 (RFC 9113 §3.4), as every gRPC client does."""

Later = Callable[[float, Callable[[], bytes]], None]
"""Makes the call after so many seconds and sends what it returns."""


class Setting(Struct, frozen=True):
    """What a conversation is told of its surroundings.

    ``server`` and ``client`` are ``address:port``; ``behaviour`` gives what holds now; ``log`` takes a line for each
    request served and, for an echo, one at its end; ``via`` names what lies between.
    """

    identity: Identity
    server: str
    client: str
    log: Callable[[str], None]
    later: Later
    behaviour: Callable[[], Behaviour] = lambda: DEFAULT
    via: str = ""


class Conversation:
    """`feed` what arrives and send what it returns, then `more` until it returns nothing; when ``closing`` is set,
    close once that is sent. While ``blocked`` is set nothing more is to be read: an answer is under way.
    """

    __slots__ = (
        "_closing",
        "_echoed",
        "_events",
        "_fill",
        "_first",
        "_http2",
        "_parser",
        "_path",
        "_setting",
        "_socket",
        "_wait",
    )

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._parser: http.Parser | None = http.Parser()
        self._events: deque[http.Event] = deque()
        self._first: bytes | None = b""
        """What arrived so far while it could still begin HTTP/2."""
        self._http2: Http2 | None = None
        self._socket: websocket.Echo | None = None
        self._path = ""
        self._echoed = 0
        self._fill = 0
        self._wait = False
        self._closing = False

    @property
    def closing(self) -> bool:
        """Whether nothing more will be said than what was returned."""
        return self._closing and not self._fill and not self._wait

    @property
    def blocked(self) -> bool:
        """Whether to read no more for now."""
        return self._closing or self._wait or self._fill > 0

    def feed(self, data: bytes) -> bytes:
        """The bytes to send in answer to ``data``."""
        if self._first is not None:
            data = self._first + data
            if len(data) < len(HTTP2_PREFACE) and HTTP2_PREFACE.startswith(data):
                self._first = data
                return b""
            self._first = None
            if data.startswith(HTTP2_PREFACE):
                from wherry.pods.runtime.standin.http2 import Http2  # few stand-ins are spoken to in it

                self._parser = None
                self._http2 = Http2(self._setting)
        if self._http2 is not None:
            out = self._http2.feed(data)
            self._closing = self._closing or self._http2.closing
            return out
        if self._socket is not None:
            out = self._socket.feed(data)
            self._closing = self._closing or self._socket.closing
            return out
        if self._parser is None:
            self._echoed += len(data)
            return data
        self._events.extend(self._parser.feed(data))
        return self._go_on()

    def more(self) -> bytes:
        """The next bytes of what is being said, once those before are sent; empty when there are none."""
        if self._http2 is not None:
            return self._http2.more()
        if not self._fill:
            return b""
        piece = filler(self._fill)
        self._fill -= len(piece)
        return piece if self._fill or self._closing else piece + self._go_on()

    def behaviour_changed(self) -> bytes:
        """The bytes to send because the stand-in is to behave otherwise from now on."""
        return self._http2.behaviour_changed() if self._http2 is not None else b""

    def end_of_input(self) -> bytes:
        """The bytes to send when the client sends no more; the connection closes behind them."""
        self._closing = True
        if self._http2 is not None or self._socket is not None or self._parser is None:
            return b""
        rest = self._first or self._parser.undecided()
        if rest:
            self._parser = None
            self._echoed = len(rest)
        return rest

    def ended(self) -> None:
        """The connection is over."""
        setting = self._setting
        if self._http2 is not None:
            self._http2.ended()
        elif self._socket is not None:
            counts = f"{self._socket.messages} messages, {self._socket.size} bytes"
            setting.log(f"{setting.client} websocket {self._path}, {counts}")
        elif self._parser is None:
            setting.log(f"{setting.client} tcp echo, {self._echoed} bytes")

    def _go_on(self) -> bytes:
        """Serve what was asked, up to a request whose answer takes its time."""
        out = bytearray()
        while self._events and not self.blocked:
            event = self._events.popleft()
            if isinstance(event, http.NotHttp):
                self._parser = None
                self._echoed = len(event.data)
                out += event.data
            elif isinstance(event, http.Continue):
                out += b"HTTP/1.1 100 Continue\r\n\r\n"
            elif isinstance(event, http.Bad):
                out += refusal(event)
                self._setting.log(f'{self._setting.client} "malformed request" {event.status}')
                self._closing = True
            elif delay := self._setting.behaviour().delay:
                self._wait = True
                self._setting.later(delay, partial(self._resume, event))
            else:
                out += self._serve(event)
        return bytes(out)

    def _resume(self, request: http.Request) -> bytes:
        self._wait = False
        out = self._serve(request)
        return out if self.blocked else out + self._go_on()

    def _serve(self, request: http.Request) -> bytes:
        setting = self._setting
        behaviour = setting.behaviour()
        if behaviour.status == 200 and websocket.wants_upgrade(request):
            self._socket = websocket.Echo()
            self._path = request.target
            self._say(request, 101, 0)
            return websocket.accept(request)
        found = answer(
            request,
            setting.identity,
            server=setting.server,
            client=setting.client,
            behaviour=behaviour,
            via=setting.via,
        )
        out = head(found, request, setting.identity)
        if request.method != "HEAD":
            out += found.body
            self._fill = found.fill
        self._say(request, found.status, len(out) + self._fill)
        if not request.keep_alive:
            self._closing = True
        return out

    def _say(self, request: http.Request, status: int, size: int) -> None:
        agent = request.header("user-agent")
        if not agent.startswith(PROBE_AGENT):
            line = f"{request.method} {request.target} {request.version}"
            self._setting.log(f'{self._setting.client} "{line}" {status} {size} "{agent}"')
