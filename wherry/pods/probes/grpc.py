"""Asking gRPC's health service: one `Check` call over cleartext HTTP/2, by h2, which is loaded with the first probe.

Messages are the kubelet's. As under it, a server that cannot be reached has until the timeout to come up, so that every
way of not reaching it reads as a timeout. Sources: grpc/health/v1, gRPC over HTTP/2.
"""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

from wherry.pods import grpchealth
from wherry.pods.backoff import go_duration
from wherry.pods.probes.ask import USER_AGENT, join
from wherry.pods.probes.tracker import Outcome

_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
"""Names of the serving statuses, by number."""
_CODES = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
]
_CODE_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""gRPC's code for an HTTP status that came without one; any other is Unknown."""
_UNKNOWN, _UNIMPLEMENTED, _UNAVAILABLE = 2, 12, 14
_LONGEST_ANSWER = 1024 * 1024


class _Refused(Exception):
    """The call ended with a code other than OK."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


async def check(host: str, port: int, service: str, *, timeout: float) -> Outcome:
    """Ask for the health of a service, empty: of the server."""
    address = join(host, port)
    connected = False
    try:
        async with asyncio.timeout(timeout):
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                return _unreachable(address, timeout)
            try:
                call = _Call(reader, writer, address, service)
                connected = await call.greet()
                if not connected:
                    return _unreachable(address, timeout)
                status = await call.finish()
            finally:
                # Aborted, not closed: nobody waits for the peer's farewell.
                writer.transport.abort()
    except TimeoutError:
        if not connected:
            return _unreachable(address, timeout)
        return Outcome(False, f"timeout: health rpc did not complete within {go_duration(timeout)}")
    except _Refused as refused:
        return Outcome(False, _refusal(refused))
    except OSError as error:
        return Outcome(False, _refusal(_Refused(_UNAVAILABLE, f"error reading from server: {error}")))
    if status != grpchealth.SERVING:
        name = _STATUSES[status] if status < len(_STATUSES) else str(status)
        return Outcome(False, f'service unhealthy (responded with "{name}")')
    return Outcome(True, "service healthy")


def _unreachable(address: str, timeout: float) -> Outcome:
    why = "context deadline exceeded"
    return Outcome(False, f'timeout: failed to connect service "{address}" within {go_duration(timeout)}: {why}')


def _refusal(refused: _Refused) -> str:
    if refused.code == _UNIMPLEMENTED:
        protocol = "the grpc health protocol (grpc.health.v1.Health)"
        return f"error: this server does not implement {protocol}: {refused}"
    name = _CODES[refused.code] if refused.code < len(_CODES) else f"Code({refused.code})"
    return f"error: health rpc probe failed: rpc error: code = {name} desc = {refused}"


class _Call:
    """One call on a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, service: str) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self._reader, self._writer = reader, writer
        self._address, self._service = address, service
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._greeted = self._ended = False

    async def greet(self) -> bool:
        """Open the connection; False when the peer does not speak HTTP/2."""
        self._http.initiate_connection()
        try:
            while not self._greeted:
                if not await self._turn():
                    return False
        except (_Refused, OSError):
            return False
        return True

    async def finish(self) -> int:
        """Make the call and return the serving status. Raises `_Refused` and OSError."""
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", grpchealth.CHECK),
            (":authority", self._address),
            ("content-type", grpchealth.CONTENT_TYPE),
            ("user-agent", USER_AGENT),
            ("te", "trailers"),
        ]
        self._http.send_headers(1, headers)
        self._http.send_data(1, grpchealth.encode_request(self._service), end_stream=True)
        while not self._ended:
            if not await self._turn():
                raise _Refused(_UNAVAILABLE, "error reading from server: EOF")
        code = self._code()
        if code:
            raise _Refused(code, self._text())
        try:
            return grpchealth.decode_response(bytes(self._body))
        except grpchealth.MessageError as error:
            raise _Refused(13, f"grpc: failed to unmarshal the received message: {error}") from error

    async def _turn(self) -> bool:
        """Send what is due and take the next piece in; False at the end of the stream."""
        from h2.events import (
            ConnectionTerminated,
            DataReceived,
            RemoteSettingsChanged,
            ResponseReceived,
            StreamEnded,
            StreamReset,
            TrailersReceived,
        )
        from h2.exceptions import ProtocolError

        self._writer.write(self._http.data_to_send())
        await self._writer.drain()
        data = await self._reader.read(65536)
        if not data:
            return False
        try:
            events = self._http.receive_data(data)
        except (ProtocolError, UnicodeDecodeError) as error:
            raise _Refused(_UNAVAILABLE, f"connection error: {error}") from error
        for event in events:
            if isinstance(event, RemoteSettingsChanged):
                self._greeted = True
            elif isinstance(event, ResponseReceived | TrailersReceived):
                self._headers.update((str(name), str(value)) for name, value in event.headers or ())
            elif isinstance(event, DataReceived):
                self._body += event.data or b""
                if len(self._body) > _LONGEST_ANSWER:
                    raise _Refused(8, "grpc: received message larger than max")
                self._http.acknowledge_received_data(event.flow_controlled_length or 0, 1)
            elif isinstance(event, StreamEnded):
                self._ended = True
            elif isinstance(event, StreamReset | ConnectionTerminated):
                raise _Refused(_UNAVAILABLE, f"the stream was ended with error code {event.error_code}")
        return True

    def _code(self) -> int:
        told = self._headers.get("grpc-status", "")
        if told.isdigit():
            return int(told)
        status = self._headers.get(":status", "")
        return _CODE_OF_HTTP.get(int(status), _UNKNOWN) if status.isdigit() else _UNKNOWN

    def _text(self) -> str:
        if "grpc-status" in self._headers:
            return unquote(self._headers.get("grpc-message", ""))
        status, kind = self._headers.get(":status", ""), self._headers.get("content-type", "")
        return (
            f"unexpected HTTP status code received from server: {status}; "
            f'transport: received unexpected content-type "{kind}"'
        )
