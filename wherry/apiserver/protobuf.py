"""Protobuf request bodies: the ``k8s\\0`` envelope and the messages of the built-in kinds, read into plain dicts.

kubectl's typed commands and client-go send ``application/vnd.kubernetes.protobuf`` for built-in kinds and do not fall
back to JSON. The envelope is a ``runtime.Unknown`` (API concepts page, "Protobuf encoding"): apiVersion and kind in
field 1, the object's message in field 2. The wire format is protobuf's own (encoding specification, proto2); which
field is what comes from the schema bundle. Values come out as JSON would have given them, for `schema.decode` to
finish.
"""

from __future__ import annotations

import base64
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.schema.decode import dropped
from wherry.apiserver.schema.gojson import JsonError, loads, plain
from wherry.apiserver.schema.model import Field, Schema, Type

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"
MAX_DEPTH = 100
"""Messages inside of messages; the deepest honest one (a JSON schema in a CRD) stays far below."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class ProtobufError(ValueError):
    """The body cannot be read; the message is the one of Go's decoder."""


class NotProtobuf(ProtobufError):
    """The body does not begin with the envelope's four bytes."""


def decode(body: bytes) -> tuple[str, str, dict[str, Any]]:
    """Read a whole body: (apiVersion, kind, object with both set).

    Raises NotProtobuf without the envelope, UnknownKind for a kind without a schema, ProtobufError for broken data.
    """
    api_version, kind, raw = envelope(body)
    group, _, version = api_version.rpartition("/")
    schema = schema_for(group, version, kind)
    if schema is None:
        raise UnknownKind(api_version, kind)
    obj: dict[str, Any] = {"kind": kind, "apiVersion": api_version}
    obj.update(decode_message(raw, schema))
    return api_version, kind, obj


class UnknownKind(ProtobufError):
    """The envelope names a kind that has no protobuf form here."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(f'no kind "{kind}" is registered for version "{api_version}"')
        self.api_version = api_version
        self.kind = kind


def envelope(body: bytes) -> tuple[str, str, bytes]:
    """Open the envelope: (apiVersion, kind, the object's message)."""
    if not body.startswith(MAGIC):
        raise NotProtobuf("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    api_version = kind = ""
    raw = b""
    for number, _, value in _fields(body[len(MAGIC) :]):
        if number == 1:
            for inner, _, text in _fields(_bytes(value)):
                if inner == 1:
                    api_version = _text(text)
                elif inner == 2:
                    kind = _text(text)
        elif number == 2:
            raw = _bytes(value)
    return api_version, kind, raw


def decode_message(raw: bytes, schema: Schema) -> dict[str, Any]:
    """Read the message of an object type. Zero values that JSON would leave out are left out. Raises ProtobufError."""
    return _message(raw, schema, _plan(schema), 0)


# What a field number means inside of one message: the field, or the plan of a struct that Go inlines.
_Plan = dict[int, "Field | _Plan"]
_plans: dict[int, tuple[Schema, _Plan]] = {}


def _plan(schema: Schema) -> _Plan:
    """Turn the numbers of an object's fields into a tree, one level per inlined struct; kept per node."""
    known = _plans.get(id(schema))
    if known is not None:
        return known[1]
    plan: _Plan = {}
    for field in schema.fields.values():
        if not field.path:
            continue
        level = plan
        for number in field.path[:-1]:
            inner = level.setdefault(number, {})
            if not isinstance(inner, dict):
                raise TypeError(f"{schema.go}: field number {number} means two things")
            level = inner
        level[field.path[-1]] = field
    _plans[id(schema)] = (schema, plan)  # the schema is kept, so that its id stays its own
    return plan


def _message(raw: bytes, schema: Schema, plan: _Plan, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise ProtobufError("proto: message is nested too deeply")
    out: dict[str, Any] = {}
    for number, wire, value in _fields(raw):
        target = plan.get(number)
        if target is None:
            continue
        if isinstance(target, dict):
            out.update(_message(_bytes(value), schema, target, depth + 1))
            continue
        kind = target.schema.type
        if kind is Type.LIST and not target.schema.wrapped:
            out.setdefault(target.name, []).extend(_elements(value, wire, target.schema.items, depth))
        elif kind is Type.MAP:
            key, item = _entry(_bytes(value), target.schema.items, depth)
            out.setdefault(target.name, {})[key] = item
        else:
            out[target.name] = _value(value, target.schema, depth)
    return {name: value for name, value in out.items() if value is not None and not dropped(value, schema.fields[name])}


def _elements(value: int | bytes, wire: int, items: Schema, depth: int) -> list[Any]:
    """Read one occurrence of a repeated field: an element, or several packed numbers."""
    if wire == _BYTES and items.type in (Type.INT32, Type.INT64, Type.BOOL):
        packed, at = _bytes(value), 0
        out = []
        while at < len(packed):
            number, at = _varint(packed, at)
            out.append(_value(number, items, depth))
        return out
    return [_value(value, items, depth)]


def _entry(raw: bytes, values: Schema, depth: int) -> tuple[str, Any]:
    key, value = "", _empty(values)
    for number, _, item in _fields(raw):
        if number == 1:
            key = _text(item)
        elif number == 2:
            value = _value(item, values, depth)
    return key, value


def _empty(schema: Schema) -> Any:
    """What a map's entry without a value holds."""
    if schema.type is Type.OBJECT:
        return {}
    return {Type.STRING: "", Type.BYTES: "", Type.QUANTITY: "0", Type.LIST: []}.get(schema.type)


def _value(value: int | bytes, schema: Schema, depth: int) -> Any:
    kind = schema.type
    if kind is Type.STRING:
        return _text(value)
    if kind is Type.OBJECT:
        return _message(_bytes(value), schema, _plan(schema), depth + 1)
    if kind is Type.BOOL:
        return _integer(value) != 0
    if kind in (Type.INT32, Type.INT64):
        return _signed(_integer(value), 32 if kind is Type.INT32 else 64)
    if kind is Type.BYTES:
        return base64.b64encode(_bytes(value)).decode()
    if kind is Type.DOUBLE:
        return struct.unpack("<d", struct.pack("<Q", _integer(value)))[0]
    if kind is Type.LIST:  # a named list with a message of its own: its elements are field 1
        return [_value(item, schema.items, depth) for number, _, item in _fields(_bytes(value)) if number == 1]
    parts = {number: item for number, _, item in _fields(_bytes(value))}
    if kind in (Type.TIME, Type.MICRO_TIME):
        return _time(parts, micro=kind is Type.MICRO_TIME)
    if kind is Type.QUANTITY:
        return _text(parts.get(1, b"")) or "0"
    if kind is Type.INT_OR_STRING:
        return _text(parts.get(3, b"")) if parts.get(1) else _signed(_integer(parts.get(2, 0)), 32)
    if kind in (Type.RAW_EXTENSION, Type.FIELDS_V1, Type.JSON, Type.ANY):
        return _json(_bytes(parts.get(1, b"")))
    return _schema_or(_bytes(value), schema, depth)


def _schema_or(raw: bytes, schema: Schema, depth: int) -> Any:
    """Read a field of a JSON schema that is a schema or something else."""
    first, second = (2, 1) if schema.type is Type.SCHEMA_OR_BOOL else (1, 2)
    others: list[Any] = []
    allows = False
    for number, _, item in _fields(raw):
        if number == first:
            return _message(_bytes(item), schema.items, _plan(schema.items), depth + 1)
        if number == second and schema.type is Type.SCHEMA_OR_BOOL:
            allows = _integer(item) != 0
        elif number == second and schema.type is Type.SCHEMA_OR_STRINGS:
            others.append(_text(item))
        elif number == second:
            others.append(_message(_bytes(item), schema.items, _plan(schema.items), depth + 1))
    return allows if schema.type is Type.SCHEMA_OR_BOOL else others


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _time(parts: dict[int, int | bytes], *, micro: bool) -> str | None:
    seconds = _signed(_integer(parts.get(1, 0)), 64)
    nanos = _signed(_integer(parts.get(2, 0)), 32)
    if not seconds and not nanos:
        return None
    try:
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError:
        raise ProtobufError("proto: timestamp is out of range") from None
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds" if micro else "seconds") + "Z"


def _json(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return plain(loads(raw))
    except JsonError as error:
        raise ProtobufError(str(error)) from None


def _fields(raw: bytes) -> list[tuple[int, int, int | bytes]]:
    """Split a message into (number, wire type, number or bytes); a field seen twice is there twice."""
    out: list[tuple[int, int, int | bytes]] = []
    at, size = 0, len(raw)
    while at < size:
        key, at = _varint(raw, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ProtobufError(f"proto: illegal tag {number} (wire type {key})")
        if wire == _VARINT:
            value, at = _varint(raw, at)
            out.append((number, wire, value))
        elif wire == _BYTES:
            length, at = _varint(raw, at)
            if length > size - at:
                raise ProtobufError("unexpected EOF")
            out.append((number, wire, raw[at : at + length]))
            at += length
        elif wire in (_FIXED64, _FIXED32):
            width = 8 if wire == _FIXED64 else 4
            if width > size - at:
                raise ProtobufError("unexpected EOF")
            out.append((number, wire, int.from_bytes(raw[at : at + width], "little")))
            at += width
        else:
            raise ProtobufError(f"proto: illegal wireType {wire}")
    return out


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw):
            raise ProtobufError("unexpected EOF")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift >= 64:
            raise ProtobufError("proto: integer overflow")


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _integer(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ProtobufError("proto: wrong wireType = 2 for a number")
    return value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ProtobufError("proto: wrong wireType = 0 for a message")
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode("utf-8", "replace")
