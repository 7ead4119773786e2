"""The two messages of gRPC's health service and their framing. Pure.

Sources: grpc/health/v1 (`Check(HealthCheckRequest{service = 1}) → HealthCheckResponse{status = 1}`), the protocol
buffers encoding guide and gRPC over HTTP/2 (a message is a compression flag and a four-byte length before its bytes).
"""

from __future__ import annotations

import struct

SERVICE = "grpc.health.v1.Health"
CHECK = f"/{SERVICE}/Check"
"""`:path` of the call."""
CONTENT_TYPE = "application/grpc"

STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
"""Names of `HealthCheckResponse.ServingStatus`, by number."""
SERVING = 1

_FRAME = struct.Struct("!BI")
_STRING, _VARINT = 2, 0
_FIXED = {1: 8, 5: 4}
"""Lengths of the wire types without a length of their own."""


class MessageError(ValueError):
    """The bytes are not a message of this service."""


def encode_request(service: str) -> bytes:
    """Return a framed request for the health of a service; empty: the server as a whole."""
    name = service.encode()
    return _framed(b"\x0a" + _varint(len(name)) + name if name else b"")


def decode_request(data: bytes) -> str:
    """Return the service a framed request asks for. Raises `MessageError`."""
    value = _field(_unframed(data), _STRING)
    if not isinstance(value, bytes):
        return ""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise MessageError("the service's name is not UTF-8") from error


def encode_response(status: int) -> bytes:
    """Return a framed response with a serving status."""
    return _framed(b"\x08" + _varint(status) if status else b"")


def decode_response(data: bytes) -> int:
    """Return the serving status of a framed response. Raises `MessageError`."""
    value = _field(_unframed(data), _VARINT)
    return value if isinstance(value, int) else 0


def status_name(status: int) -> str:
    """Return the name of a serving status; a number without one stands for itself."""
    return STATUSES[status] if status < len(STATUSES) else str(status)


def _framed(message: bytes) -> bytes:
    return _FRAME.pack(0, len(message)) + message


def _unframed(data: bytes) -> bytes:
    if len(data) < _FRAME.size:
        raise MessageError("the message is cut off")
    compressed, length = _FRAME.unpack_from(data)
    if compressed:
        raise MessageError("the message is compressed, which nobody asked for")
    if len(data) - _FRAME.size != length:
        raise MessageError(f"the message has {len(data) - _FRAME.size} bytes where {length} are announced")
    return data[_FRAME.size :]


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _field(message: bytes, kind: int) -> bytes | int | None:
    """Return the last value of field 1 of that wire type; other fields are passed over."""
    found: bytes | int | None = None
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, wire = tag >> 3, tag & 7
        value: bytes | int
        if wire == _VARINT:
            value, at = _read_varint(message, at)
        else:
            if wire == _STRING:
                length, at = _read_varint(message, at)
            elif wire in _FIXED:
                length = _FIXED[wire]
            else:
                raise MessageError(f"wire type {wire} is not known")
            if at + length > len(message):
                raise MessageError("the message is cut off")
            value, at = message[at : at + length], at + length
        if number == 1 and wire == kind:
            found = value
    return found


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise MessageError("the message is cut off")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
