"""The WebSocket sub-protocols of exec and attach (`v4.channel.k8s.io`, `v5.channel.k8s.io`), without I/O.

Every binary message begins with one byte that names its channel: 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize. v5
adds the close message `ff <channel>`, by which a client ends its stdin while the other streams stay open (KEP-4006).
The error channel carries one `Status` object when the command has ended.
"""

from __future__ import annotations

from typing import Final

import msgspec

V4: Final = "v4.channel.k8s.io"
V5: Final = "v5.channel.k8s.io"
PROTOCOLS: Final = (V5, V4)
"""The sub-protocols served, best first."""

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
ERROR: Final = 3
RESIZE: Final = 4
_CLOSE: Final = 0xFF
_REASONS: Final = {400: "BadRequest", 404: "NotFound", 503: "ServiceUnavailable"}


class StdinData(msgspec.Struct, frozen=True):
    """Bytes for the command's standard input."""

    data: bytes


class StdinClosed(msgspec.Struct, frozen=True):
    """The client has no more input."""


class Resize(msgspec.Struct, frozen=True):
    """The client's terminal has a new size, in characters."""

    columns: int
    rows: int


class ProtocolError(Exception):
    """The client sent something its sub-protocol does not allow."""


class _TerminalSize(msgspec.Struct, rename="pascal"):
    width: int = 0
    height: int = 0


Event = StdinData | StdinClosed | Resize


class ExecProtocol:
    """One exec connection: `feed` what arrived, send what `output`, `close` and `status` return."""

    def __init__(self, name: str) -> None:
        self.name = name

    def feed(self, message: bytes) -> Event | None:
        """Decode one binary message; None for one without meaning (an empty keep-alive)."""
        if not message:
            return None
        channel = message[0]
        body = message[1:]
        if channel == STDIN:
            return StdinData(body) if body else None
        if channel == RESIZE:
            try:
                size = msgspec.json.decode(body, type=_TerminalSize)
            except msgspec.DecodeError as error:
                raise ProtocolError(f"resize channel: {error}") from error
            return Resize(columns=size.width, rows=size.height)
        if channel == _CLOSE and self.name == V5:
            if body == bytes((STDIN,)):
                return StdinClosed()
            raise ProtocolError(f"only the stdin channel can be closed, not {body!r}")
        raise ProtocolError(f"a client must not send on channel {channel}")

    def output(self, channel: int, data: bytes) -> bytes:
        """Encode bytes of the command's standard output or standard error."""
        return bytes((channel,)) + data

    def greeting(self, *, stdout: bool, stderr: bool) -> bytes:
        """Encode the empty first message by which a client learns that the command is connected."""
        return bytes((STDOUT if stdout else STDERR if stderr else ERROR,))

    def status(self, *, exit_code: int, command: str) -> bytes:
        """Encode the command's end; clients read the exit code from the `ExitCode` cause."""
        if exit_code == 0:
            return self._error({"metadata": {}, "status": "Success"})
        return self._error(
            {
                "metadata": {},
                "status": "Failure",
                "message": f"command terminated with non-zero exit code: {command} exited with code {exit_code}",
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
            }
        )

    def failure(self, message: str, *, code: int = 500) -> bytes:
        """Encode that the request could not be served at all; `code` is what HTTP would have answered."""
        reason = _REASONS.get(code, "InternalError")
        return self._error({"metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code})

    def _error(self, status: dict[str, object]) -> bytes:
        return bytes((ERROR,)) + msgspec.json.encode(status)
