"""One TCP connection to a stand-in, without I/O: HTTP where the client speaks it, an echo of everything else."""

from __future__ import annotations

from collections.abc import Callable

from wherry.pods.runtime.standin import http
from wherry.pods.runtime.standin.answer import Identity, answer, refusal

PROBE_AGENT = "kube-probe/"
"""User agent of the kubelet's HTTP probes; they come every few seconds and are left out of the log."""


class Conversation:
    """`feed` what arrives and send what it returns; when ``closing`` is set, close once that is sent.

    ``log`` is called with a line for each request served and, for an echo, once at its end.
    """

    __slots__ = ("_client", "_echoed", "_identity", "_log", "_parser", "_server", "closing")

    def __init__(self, identity: Identity, *, server: str, client: str, log: Callable[[str], None]) -> None:
        self._identity = identity
        self._server = server
        self._client = client
        self._log = log
        self._parser: http.Parser | None = http.Parser()
        self._echoed = 0
        self.closing = False

    def feed(self, data: bytes) -> bytes:
        """The bytes to send in answer to ``data``."""
        if self._parser is None:
            self._echoed += len(data)
            return data
        out = bytearray()
        for event in self._parser.feed(data):
            if isinstance(event, http.NotHttp):
                self._parser = None
                self._echoed = len(event.data)
                return event.data
            if isinstance(event, http.Continue):
                out += b"HTTP/1.1 100 Continue\r\n\r\n"
            elif isinstance(event, http.Bad):
                out += refusal(event)
                self._log(f'{self._client} "malformed request" {event.status}')
                self.closing = True
                break
            else:
                out += self._serve(event)
                if not event.keep_alive:
                    self.closing = True
                    break
        return bytes(out)

    def end_of_input(self) -> bytes:
        """The bytes to send when the client sends no more; the connection closes behind them."""
        self.closing = True
        if self._parser is None:
            return b""
        rest = self._parser.undecided()
        if rest:
            self._parser = None
            self._echoed = len(rest)
        return rest

    def ended(self) -> None:
        """The connection is over."""
        if self._parser is None:
            self._log(f"{self._client} tcp echo, {self._echoed} bytes")

    def _serve(self, request: http.Request) -> bytes:
        status, response = answer(request, self._identity, server=self._server, client=self._client)
        agent = request.header("user-agent")
        if not agent.startswith(PROBE_AGENT):
            line = f"{request.method} {request.target} {request.version}"
            self._log(f'{self._client} "{line}" {status} {len(response)} "{agent}"')
        return response
