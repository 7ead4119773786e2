"""OpenAPI v2 documents as protobuf: the message ``openapi.v2.Document``.

kubectl reads ``/openapi/v2`` in this form only, to validate the items of a ``List`` and to explain kinds in the older
layout. Messages and field numbers are those of ``openapiv2/OpenAPIv2.proto`` in google/gnostic, as far as our documents
use them; the wire format is protobuf's own (proto3: what has its zero value is left out). Values of no fixed type are
YAML text inside the message ``Any``, for which JSON serves.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec

_json = msgspec.json.Encoder(order="deterministic").encode

_VARINT, _FIXED64, _BYTES = 0, 1, 2

Writer = Callable[[int, Any], bytes]
"""Writes a value as a field with the number given."""


class Message(NamedTuple):
    """How a JSON object becomes a message: its keys' numbers and writers; keys beginning with x- go to one list."""

    fields: Mapping[str, tuple[int, Writer]]
    extensions: int = 0

    def encode(self, value: Mapping[str, Any]) -> bytes:
        """The message's bytes; keys it has no field for are left out."""
        parts = []
        for key, item in value.items():
            field = self.fields.get(key)
            if field is not None:
                parts.append(field[1](field[0], item))
            elif self.extensions and key.startswith("x-"):
                parts.append(_delimited(self.extensions, _string(1, key) + _any(2, item)))
        return b"".join(parts)


def encode(document: Mapping[str, Any]) -> bytes:
    """The bytes of a whole OpenAPI v2 document, given as its JSON object."""
    return _DOCUMENT.encode(document)


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1  # negative numbers take ten bytes
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _delimited(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _string(number: int, value: str) -> bytes:
    return _delimited(number, value.encode()) if value else b""


def _strings(number: int, values: list[str]) -> bytes:
    return b"".join(_delimited(number, value.encode()) for value in values)


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(int(value)) if value else b""


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | _FIXED64) + struct.pack("<d", value) if value else b""


def _any(number: int, value: object) -> bytes:
    return _delimited(number, _delimited(2, _json(value)))


def _anys(number: int, values: list[object]) -> bytes:
    return b"".join(_any(number, value) for value in values)


def _message(message: Message, number: int, value: Mapping[str, Any]) -> bytes:
    return _delimited(number, message.encode(value))


def _named(write: Writer, inner: int, number: int, value: Mapping[str, Any]) -> bytes:
    """A map: a message whose field `inner` repeats pairs of name and value."""
    pairs = (_delimited(inner, _string(1, name) + write(2, item)) for name, item in value.items())
    return _delimited(number, b"".join(pairs))


def _schema(number: int, value: Mapping[str, Any]) -> bytes:
    return _delimited(number, _SCHEMA.encode(value))


def _schemas(number: int, values: list[Mapping[str, Any]]) -> bytes:
    return b"".join(_schema(number, value) for value in values)


def _schema_or_bool(number: int, value: Mapping[str, Any] | bool) -> bytes:
    """``AdditionalPropertiesItem``, a choice: false is written, too."""
    if isinstance(value, bool):
        return _delimited(number, _varint(2 << 3 | _VARINT) + _varint(value))
    return _delimited(number, _schema(1, value))


def _type(number: int, value: str | list[str]) -> bytes:
    return _delimited(number, _strings(1, [value] if isinstance(value, str) else value))


def _items(number: int, value: Mapping[str, Any]) -> bytes:
    return _delimited(number, _schema(1, value))


def _parameters(number: int, values: list[Mapping[str, Any]]) -> bytes:
    """``ParametersItem``: a choice by place of the parameter, two and three messages deep."""
    return b"".join(_delimited(number, _delimited(1, _parameter(value))) for value in values)


def _parameter(value: Mapping[str, Any]) -> bytes:
    if value["in"] == "body":
        return _delimited(1, _BODY.encode(value))
    inner = _delimited(4, _PATH.encode(value)) if value["in"] == "path" else _delimited(3, _QUERY.encode(value))
    return _delimited(2, inner)


def _response(number: int, value: Mapping[str, Any]) -> bytes:
    return _delimited(number, _delimited(1, _RESPONSE.encode(value)))


_properties: Writer = partial(_named, _schema, 1)

_SCHEMA = Message(
    {
        "$ref": (1, _string),
        "format": (2, _string),
        "title": (3, _string),
        "description": (4, _string),
        "default": (5, _any),
        "multipleOf": (6, _double),
        "maximum": (7, _double),
        "exclusiveMaximum": (8, _integer),
        "minimum": (9, _double),
        "exclusiveMinimum": (10, _integer),
        "maxLength": (11, _integer),
        "minLength": (12, _integer),
        "pattern": (13, _string),
        "maxItems": (14, _integer),
        "minItems": (15, _integer),
        "uniqueItems": (16, _integer),
        "maxProperties": (17, _integer),
        "minProperties": (18, _integer),
        "required": (19, _strings),
        "enum": (20, _anys),
        "additionalProperties": (21, _schema_or_bool),
        "type": (22, _type),
        "items": (23, _items),
        "allOf": (24, _schemas),
        "properties": (25, _properties),
        "discriminator": (26, _string),
        "readOnly": (27, _integer),
        "example": (30, _any),
    },
    extensions=31,
)
SCHEMA_KEYS = frozenset(_SCHEMA.fields)
"""The keywords that a schema of OpenAPI v2 can have, beside those beginning with x-."""

_BODY = Message(
    {
        "description": (1, _string),
        "name": (2, _string),
        "in": (3, _string),
        "required": (4, _integer),
        "schema": (5, _schema),
    },
    extensions=6,
)
_QUERY = Message(
    {
        "required": (1, _integer),
        "in": (2, _string),
        "description": (3, _string),
        "name": (4, _string),
        "type": (6, _string),
        "format": (7, _string),
        "uniqueItems": (20, _integer),
    },
    extensions=23,
)
_PATH = Message(
    {
        "required": (1, _integer),
        "in": (2, _string),
        "description": (3, _string),
        "name": (4, _string),
        "type": (5, _string),
        "format": (6, _string),
        "uniqueItems": (19, _integer),
    },
    extensions=22,
)
_RESPONSE = Message(
    # The schema is the first choice of the message SchemaItem, which looks like the list of one schema in `_items`.
    {"description": (1, _string), "schema": (2, _items)},
    extensions=5,
)
_OPERATION = Message(
    {
        "tags": (1, _strings),
        "summary": (2, _string),
        "description": (3, _string),
        "operationId": (5, _string),
        "produces": (6, _strings),
        "consumes": (7, _strings),
        "parameters": (8, _parameters),
        "responses": (9, partial(_named, _response, 1)),
        "deprecated": (11, _integer),
    },
    extensions=13,
)
_operation: Writer = partial(_message, _OPERATION)
_PATH_ITEM = Message(
    {
        "get": (2, _operation),
        "put": (3, _operation),
        "post": (4, _operation),
        "delete": (5, _operation),
        "patch": (8, _operation),
        "parameters": (9, _parameters),
    },
    extensions=10,
)
_INFO = Message({"title": (1, _string), "version": (2, _string), "description": (3, _string)}, extensions=7)
_DOCUMENT = Message(
    {
        "swagger": (1, _string),
        "info": (2, partial(_message, _INFO)),
        "paths": (8, partial(_named, partial(_message, _PATH_ITEM), 2)),
        "definitions": (9, _properties),
    },
    extensions=16,
)
