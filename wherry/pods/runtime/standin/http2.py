"""HTTP/2 as a stand-in speaks it (RFC 9113), without I/O, and in it gRPC's health service (grpc.health.v1).

Imported with the first connection that begins so. Requests are answered as over HTTP/1; a gRPC call of anything but
the health service is answered as not implemented, a health check of whatever service as serving, unless the stand-in
is told to answer with a status of 400 or more. A Watch tells changes of that.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from wherry.pods import grpchealth
from wherry.pods.runtime.standin.answer import answer, filler
from wherry.pods.runtime.standin.http import MAX_BODY, Request

if TYPE_CHECKING:
    from wherry.pods.runtime.standin.conversation import Setting

_PROBE_AGENT = "kube-probe/"
_PIECE = 64 * 1024
_CONFIG = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")

Headers = list[tuple[str, str]]


class _Stream:
    """One request and what of its answer is still to be sent."""

    __slots__ = ("body", "fill", "headers", "size", "trailers", "unsent")

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.body = bytearray()
        self.size = 0
        self.unsent = b""
        self.fill = 0
        self.trailers: Headers | None = None
        """Sent behind the body; None while there is no answer, or it goes on (Watch)."""

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)


class Http2:
    """One connection: as `conversation.Conversation`, which hands over to it."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._connection = h2.connection.H2Connection(config=_CONFIG)
        self._connection.initiate_connection()
        self._streams: dict[int, _Stream] = {}
        self._watching: dict[int, int] = {}
        """Health last told, by stream."""
        self.closing = False

    def feed(self, data: bytes) -> bytes:
        """The bytes to send in answer to ``data``."""
        try:
            for event in self._connection.receive_data(data):
                self._take(event)
            return self._send()
        except h2.exceptions.ProtocolError as error:
            self._setting.log(f'{self._setting.client} "malformed HTTP/2" {error}')
            self.closing = True
            return self._connection.data_to_send()

    def more(self) -> bytes:
        """The next bytes, as far as the client lets us."""
        return b"" if self.closing else self._send()

    def behaviour_changed(self) -> bytes:
        """Tell those that watch our health when it is another one."""
        health = self._health()
        for number in [number for number, told in self._watching.items() if told != health]:
            self._watching[number] = health
            self._streams[number].unsent += grpchealth.encode_response(health)
        return self.more()

    def ended(self) -> None:
        """The connection is over."""
        self._streams.clear()
        self._watching.clear()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=number, headers=headers) if number is not None:
                self._streams[number] = _Stream([(str(name), str(value)) for name, value in headers or ()])
            case h2.events.DataReceived(stream_id=number, data=data) if number is not None and data is not None:
                if event.flow_controlled_length:
                    self._connection.acknowledge_received_data(event.flow_controlled_length, number)
                stream = self._streams.get(number)
                if stream is not None:
                    stream.size += len(data)
                    stream.body += data[: MAX_BODY - len(stream.body)]
            case h2.events.StreamEnded(stream_id=number) if number in self._streams:
                delay = self._setting.behaviour().delay
                if delay:
                    self._setting.later(delay, partial(self._serve_later, number))
                else:
                    self._serve(number)
            case h2.events.StreamReset(stream_id=number) if number is not None:
                self._forget(number)
            case h2.events.ConnectionTerminated():
                self.closing = not self._streams

    def _serve_later(self, number: int) -> bytes:
        if self.closing or number not in self._streams:
            return b""
        self._serve(number)
        return self._send()

    def _serve(self, number: int) -> None:
        stream = self._streams[number]
        if stream.header("content-type").startswith(grpchealth.CONTENT_TYPE):
            self._serve_grpc(number, stream)
            return
        setting = self._setting
        request = Request(
            method=stream.header(":method"),
            target=stream.header(":path"),
            version="HTTP/2.0",
            headers=(
                ("Host", stream.header(":authority")),
                *(pair for pair in stream.headers if not pair[0].startswith(":")),
            ),
            body=bytes(stream.body),
            body_size=stream.size,
            keep_alive=True,
        )
        found = answer(
            request,
            setting.identity,
            server=setting.server,
            client=setting.client,
            behaviour=setting.behaviour(),
            via=setting.via,
        )
        headers = [
            (":status", str(found.status)),
            ("content-type", found.kind or "text/plain"),
            ("content-length", str(found.size)),
            ("server", "wherry"),
            ("x-wherry-pod", f"{setting.identity.namespace}/{setting.identity.pod}"),
        ]
        empty = request.method == "HEAD" or not found.size
        self._connection.send_headers(number, headers, end_stream=empty)
        self._say(stream, str(found.status), 0 if empty else found.size)
        if empty:
            self._forget(number)
            return
        stream.unsent, stream.fill, stream.trailers = found.body, found.fill, []

    def _serve_grpc(self, number: int, stream: _Stream) -> None:
        path = stream.header(":path")
        if path not in (grpchealth.CHECK, grpchealth.WATCH):
            self._end_grpc(number, stream, grpchealth.UNIMPLEMENTED, f"a stand-in does not know the method {path}")
            return
        try:
            grpchealth.decode_request(bytes(stream.body))
        except grpchealth.MessageError as error:
            self._end_grpc(number, stream, grpchealth.INVALID_ARGUMENT, str(error))
            return
        health = self._health()
        self._connection.send_headers(number, [(":status", "200"), ("content-type", grpchealth.CONTENT_TYPE)])
        stream.unsent = grpchealth.encode_response(health)
        if path == grpchealth.WATCH:
            self._watching[number] = health
        else:
            stream.trailers = [("grpc-status", str(grpchealth.OK))]
        self._say(stream, f"grpc {grpchealth.OK} {_HEALTH[health]}", len(stream.unsent))

    def _end_grpc(self, number: int, stream: _Stream, status: int, message: str) -> None:
        headers = [
            (":status", "200"),
            ("content-type", grpchealth.CONTENT_TYPE),
            ("grpc-status", str(status)),
            ("grpc-message", message),
        ]
        self._connection.send_headers(number, headers, end_stream=True)
        self._say(stream, f"grpc {status}", 0)
        self._forget(number)

    def _health(self) -> int:
        return grpchealth.SERVING if self._setting.behaviour().status < 400 else grpchealth.NOT_SERVING

    def _send(self) -> bytes:
        """What the client's windows let us send now, in pieces so that one answer does not keep the others waiting."""
        for number, stream in list(self._streams.items()):
            window = min(self._connection.local_flow_control_window(number), _PIECE)
            if window > 0 and (stream.unsent or stream.fill):
                self._send_piece(number, stream, window)
            if stream.trailers is not None and not stream.unsent and not stream.fill:
                if stream.trailers:
                    self._connection.send_headers(number, stream.trailers, end_stream=True)
                else:
                    self._connection.end_stream(number)
                self._forget(number)
        return self._connection.data_to_send()

    def _send_piece(self, number: int, stream: _Stream, window: int) -> None:
        if not stream.unsent:
            stream.unsent = filler(min(stream.fill, window))
            stream.fill -= len(stream.unsent)
        piece, stream.unsent = stream.unsent[:window], stream.unsent[window:]
        while piece:
            size = self._connection.max_outbound_frame_size
            self._connection.send_data(number, piece[:size])
            piece = piece[size:]

    def _forget(self, number: int) -> None:
        self._streams.pop(number, None)
        self._watching.pop(number, None)

    def _say(self, stream: _Stream, status: str, size: int) -> None:
        agent = stream.header("user-agent")
        if not agent.startswith(_PROBE_AGENT):
            line = f"{stream.header(':method')} {stream.header(':path')} HTTP/2.0"
            self._setting.log(f'{self._setting.client} "{line}" {status} {size} "{agent}"')


_HEALTH = {grpchealth.SERVING: "SERVING", grpchealth.NOT_SERVING: "NOT_SERVING"}
