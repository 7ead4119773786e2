"""One accepted connection of a stand-in: the socket, and between it and the conversation a PROXY header and TLS."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from wherry.pods.runtime.loop import READ, WRITE, Loop, Timer
from wherry.pods.runtime.standin import proxy
from wherry.pods.runtime.standin.conversation import Conversation, Setting

if TYPE_CHECKING:
    from ssl import SSLContext

    from wherry.pods.runtime.standin.tls import Tls

_CHUNK = 64 * 1024
_MOST_UNSENT = 256 * 1024
"""A client that does not read its answers is not read from either, beyond this."""


class Connection:
    """Carries bytes until one side has enough. ``setting`` makes the conversation's from ``later`` alone.

    ``tls`` is called for the context when the first bytes come; ``proxied`` expects a PROXY header before anything.
    """

    __slots__ = (
        "_conversation",
        "_gone",
        "_header",
        "_loop",
        "_proxied",
        "_reading",
        "_setting",
        "_socket",
        "_timers",
        "_tls",
        "_tls_context",
        "_unsent",
    )

    def __init__(
        self,
        loop: Loop,
        handle: socket.socket,
        setting: Callable[..., Setting],
        gone: Callable[[int], None],
        *,
        tls: Callable[[], SSLContext] | None = None,
        proxied: bool = False,
    ) -> None:
        self._loop = loop
        self._socket = handle
        self._setting = setting(later=self._later)
        self._gone = gone
        self._tls_context = tls
        self._tls: Tls | None = None
        self._proxied = proxied
        self._header = b""
        self._timers: list[Timer] = []
        self._conversation: Conversation | None = None
        self._unsent = b""
        self._reading = True
        if tls is None and not proxied:
            self._conversation = Conversation(self._setting)
        loop.watch(handle.fileno(), READ, self._ready)

    def close(self) -> None:
        """End the connection now."""
        number = self._socket.fileno()
        if number < 0:
            return
        self._loop.forget(number)
        self._socket.close()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._conversation is not None:
            self._conversation.ended()
        self._gone(number)

    def answer_pending(self) -> None:
        """Serve what has arrived, once."""
        self._ready(READ)

    def behaviour_changed(self) -> None:
        """Tell the client, if it wants to know, that the stand-in behaves otherwise from now on."""
        if self._conversation is not None:
            self._send(self._conversation.behaviour_changed())

    def _ready(self, mask: int) -> None:
        try:
            if mask & ~WRITE and self._reading:
                data = self._socket.recv(_CHUNK)
                reply = self._received(data) if data else self._end_of_input()
            else:
                reply = b""
        except BlockingIOError:
            reply = b""  # a spurious wake-up
        except OSError:
            self.close()  # reset by the peer, unreachable, timed out: the ordinary ends of a connection
            return
        self._send(reply)

    def _send(self, reply: bytes) -> None:
        """Send as much as the socket takes; what it does not take waits, and so does the client's next request."""
        conversation = self._conversation
        try:
            self._push(reply)
            while len(self._unsent) < _CHUNK and conversation is not None and (piece := conversation.more()):
                self._push(piece)
        except BlockingIOError:
            pass  # the socket's buffer is full: go on when epoll says so
        except OSError:
            self.close()
            return
        over = conversation.closing if conversation is not None else not self._reading
        if over and not self._unsent:
            if self._tls is not None:
                self._say_farewell(self._tls)
            self.close()
            return
        blocked = conversation.blocked if conversation is not None else over
        self._reading = not blocked and len(self._unsent) < _MOST_UNSENT
        mask = (READ if self._reading else 0) | (WRITE if self._unsent else 0)
        self._loop.watch(self._socket.fileno(), mask, self._ready)

    def _push(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.encrypt(data)
            data = self._tls.outgoing()
        self._unsent += data
        if self._unsent:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]

    def _later(self, delay: float, call: Callable[[], bytes]) -> None:
        def due() -> None:
            self._timers.remove(timer)
            self._send(call())

        timer = self._loop.later(delay, due)
        self._timers.append(timer)

    def _received(self, data: bytes) -> bytes:
        if self._proxied:
            found = self._read_header(data)
            if found is None:
                return b""
            data = found
        if self._tls_context is not None:
            data = self._decrypt(data, self._tls_context)
        if not data or not self._reading:
            return b""
        if self._conversation is None:
            self._conversation = Conversation(self._setting)
        return self._conversation.feed(data)

    def _read_header(self, data: bytes) -> bytes | None:
        """What follows the PROXY header; None while that is incomplete or when the connection is refused for it."""
        self._header += data
        try:
            header = proxy.read(self._header)
        except proxy.ProxyError as error:
            self._setting.log(f"{self._setting.client} {error}")
            self._reading = False
            return None
        if header is None:
            return None
        rest = self._header[header.length :]
        self._header = b""
        self._proxied = False
        via = f"PROXY v{header.version} from {self._setting.client}" if header.version else "no PROXY header"
        client = header.source or self._setting.client
        self._setting = msgspec.structs.replace(self._setting, client=client, via=via)
        return rest

    def _decrypt(self, data: bytes, context: Callable[[], SSLContext]) -> bytes:
        from wherry.pods.runtime.standin.tls import Tls, TlsError  # OpenSSL is loaded for those who ask for it

        try:
            if self._tls is None:
                self._tls = Tls(context())
            before = self._tls.ready
            plain = self._tls.feed(data)
        except TlsError as error:
            self._setting.log(f"{self._setting.client} TLS: {error}")
            self._reading = False
            return b""
        if self._tls.ready and not before:
            via = ", ".join(word for word in (self._setting.via, self._tls.described) if word)
            self._setting = msgspec.structs.replace(self._setting, via=via)
        return plain

    def _end_of_input(self) -> bytes:
        self._reading = False
        return self._conversation.end_of_input() if self._conversation is not None else b""

    def _say_farewell(self, tls: Tls) -> None:
        tls.farewell()
        try:
            self._socket.send(tls.outgoing())
        except OSError:
            return  # the client did not wait for it
