"""The messages of grpc.health.v1.Health as bytes, without I/O: for gRPC probes and for the stand-ins that answer them.

A gRPC message is one byte "compressed?", four bytes of length and a protobuf message. The request holds the service's
name as field 1, the response its state as field 1. Source: grpc/grpc-proto health.proto, gRPC over HTTP2.
"""

from __future__ import annotations

import struct
from typing import Final

CHECK: Final = "/grpc.health.v1.Health/Check"
WATCH: Final = "/grpc.health.v1.Health/Watch"
CONTENT_TYPE: Final = "application/grpc"

UNKNOWN: Final = 0
SERVING: Final = 1
NOT_SERVING: Final = 2
SERVICE_UNKNOWN: Final = 3

OK: Final = 0
INVALID_ARGUMENT: Final = 3
UNIMPLEMENTED: Final = 12

_PREFIX = struct.Struct("!BI")
_FIXED64 = 1


class MessageError(ValueError):
    """The bytes are not the message they should be."""


def encode_request(service: str) -> bytes:
    """The framed HealthCheckRequest for a service; the empty name asks for the server as a whole."""
    name = service.encode()
    return _framed(b"\x0a" + _varint(len(name)) + name if name else b"")


def encode_response(status: int) -> bytes:
    """The framed HealthCheckResponse."""
    return _framed(b"\x08" + _varint(status) if status else b"")


def decode_request(data: bytes) -> str:
    """The service a framed request asks for. Raises `MessageError`."""
    value = _field(_unframed(data), 1)
    if value is None:
        return ""
    if not isinstance(value, bytes):
        raise MessageError("field 1 of a health request is not text")
    return value.decode("utf-8", "replace")


def decode_response(data: bytes) -> int:
    """The state a framed response tells; one that says nothing is `UNKNOWN`. Raises `MessageError`."""
    value = _field(_unframed(data), 1)
    if value is None:
        return UNKNOWN
    if not isinstance(value, int):
        raise MessageError("field 1 of a health response is not a number")
    return value


def _framed(message: bytes) -> bytes:
    return _PREFIX.pack(0, len(message)) + message


def _unframed(data: bytes) -> bytes:
    if len(data) < _PREFIX.size:
        raise MessageError("the message ends in its prefix")
    compressed, length = _PREFIX.unpack_from(data)
    if compressed:
        raise MessageError("the message is compressed, which nobody offered")
    if len(data) < _PREFIX.size + length:
        raise MessageError(f"the message ends before its {length} bytes")
    return data[_PREFIX.size : _PREFIX.size + length]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return value, at
        shift += 7
    raise MessageError("a number does not end")


def _field(data: bytes, wanted: int) -> int | bytes | None:
    """The last value of one field of a protobuf message, None where it is absent; other fields are skipped."""
    at = 0
    found: int | bytes | None = None
    while at < len(data):
        key, at = _read_varint(data, at)
        value: int | bytes
        match key & 7:
            case 0:
                value, at = _read_varint(data, at)
            case 1 | 5 as kind:
                size = 8 if kind == _FIXED64 else 4
                value, at = data[at : at + size], at + size
            case 2:
                size, at = _read_varint(data, at)
                value, at = data[at : at + size], at + size
            case kind:
                raise MessageError(f"wire type {kind} is not known")
        if at > len(data):
            raise MessageError("a field ends behind the message")
        if key >> 3 == wanted:
            found = value
    return found
