"""Random objects of any built-in kind, and their protobuf form: a second, independent reading of the bundle."""

from __future__ import annotations

import base64
import json
import struct
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from wherry.apiserver.schema.model import Field, Schema, Type

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
_TIMES = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1))
_JSON = st.recursive(
    st.booleans() | st.integers(-1000, 1000) | _TEXT,
    lambda inner: st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=3,
)

_SCALARS: dict[Type, st.SearchStrategy[Any]] = {
    Type.STRING: _TEXT,
    Type.BYTES: st.binary(max_size=5).map(lambda data: base64.b64encode(data).decode()),
    Type.BOOL: st.booleans(),
    Type.INT32: st.integers(-(2**31), 2**31 - 1),
    Type.INT64: st.integers(-(2**63), 2**63 - 1),
    Type.DOUBLE: st.floats(allow_nan=False, allow_infinity=False, width=32),
    Type.QUANTITY: st.sampled_from(["0", "1", "500m", "1Gi", "3M", "-2", "1536Mi"]),
    Type.INT_OR_STRING: _TEXT | st.integers(-(2**31), 2**31 - 1),
    Type.TIME: _TIMES.map(lambda moment: moment.isoformat(timespec="seconds") + "Z"),
    Type.MICRO_TIME: _TIMES.map(lambda moment: moment.isoformat(timespec="microseconds") + "Z"),
    Type.RAW_EXTENSION: st.dictionaries(_TEXT, _JSON, min_size=1, max_size=2),
    Type.FIELDS_V1: st.dictionaries(_TEXT, _JSON, min_size=1, max_size=2),
    Type.JSON: _JSON,
}


@st.composite
def objects_of(draw: st.DrawFn, schema: Schema, depth: int = 4) -> dict[str, Any]:
    """An object as the server keeps it: only members that say something."""
    known = [name for name, field in schema.fields.items() if field.path]  # all but kind and apiVersion
    names = draw(st.lists(st.sampled_from(known), max_size=4, unique=True)) if known else []
    found: dict[str, Any] = {}
    for name in names:
        field = schema.fields[name]
        value = draw(values_of(field.schema, depth))
        if value is not None and not _says_nothing(value, field):
            found[name] = value
    return found


def _says_nothing(value: Any, field: Field) -> bool:
    empty = not value and field.schema.type not in (Type.QUANTITY, Type.INT_OR_STRING, Type.OBJECT, Type.JSON)
    return field.omit_empty and not field.pointer and empty


@st.composite
def values_of(draw: st.DrawFn, schema: Schema, depth: int) -> Any:
    """A value of any type; None where the depth is used up."""
    kind = schema.type
    if kind in _SCALARS:
        return draw(_SCALARS[kind])
    if depth <= 0:
        return None
    if kind is Type.OBJECT:
        return draw(objects_of(schema, depth - 1))
    if kind is Type.LIST:
        items = draw(st.lists(values_of(schema.items, depth - 1), min_size=1, max_size=2))
        return None if None in items else items
    if kind is Type.MAP:
        entries = draw(st.dictionaries(_TEXT, values_of(schema.items, depth - 1), min_size=1, max_size=2))
        return None if None in entries.values() else entries
    if kind is Type.SCHEMA_OR_BOOL and draw(st.booleans()):
        return draw(st.booleans())
    return draw(objects_of(schema.items, depth - 1))


def encode_message(value: dict[str, Any], schema: Schema) -> bytes:
    """Write an object as protobuf."""
    tree: dict[int, Any] = {}
    for name, item in value.items():
        field = schema.fields[name]
        if field.path:
            level = tree
            for number in field.path[:-1]:
                level = level.setdefault(number, {})
            level[field.path[-1]] = (field, item)
    return _level(tree)


def _level(tree: dict[int, Any]) -> bytes:
    out = b""
    for number, entry in tree.items():
        if isinstance(entry, dict):
            out += _tagged(number, _level(entry))
            continue
        field, item = entry
        kind = field.schema.type
        if kind is Type.LIST and not field.schema.wrapped:
            out += b"".join(_field(number, one, field.schema.items) for one in item)
        elif kind is Type.MAP:
            for key, one in item.items():
                out += _tagged(number, _tagged(1, key.encode()) + _field(2, one, field.schema.items))
        else:
            out += _field(number, item, field.schema)
    return out


def _field(number: int, value: Any, schema: Schema) -> bytes:
    kind = schema.type
    if kind in (Type.BOOL, Type.INT32, Type.INT64):
        return varint(number << 3) + varint(int(value) & (2**64 - 1))
    if kind is Type.DOUBLE:
        return varint(number << 3 | 1) + struct.pack("<d", value)
    return _tagged(number, _payload(value, schema))


def _payload(value: Any, schema: Schema) -> bytes:
    kind = schema.type
    if kind is Type.STRING:
        return bytes(value.encode())
    if kind is Type.BYTES:
        return base64.b64decode(value)
    if kind is Type.OBJECT:
        return encode_message(value, schema)
    if kind is Type.LIST:
        return b"".join(_field(1, one, schema.items) for one in value)
    if kind in (Type.TIME, Type.MICRO_TIME):
        moment = datetime.fromisoformat(value.removesuffix("Z") + "+00:00")
        nanos = moment.microsecond * 1000
        return _tag_number(1, int(moment.replace(microsecond=0).timestamp())) + _tag_number(2, nanos)
    if kind is Type.QUANTITY:
        return _tagged(1, value.encode())
    if kind is Type.INT_OR_STRING:
        if isinstance(value, str):
            return _tag_number(1, 1) + _tagged(3, value.encode())
        return _tag_number(2, value)
    if kind in (Type.RAW_EXTENSION, Type.FIELDS_V1, Type.JSON):
        return _tagged(1, json.dumps(value).encode())
    if isinstance(value, bool):
        return _tag_number(1, int(value))
    return _tagged(2 if kind is Type.SCHEMA_OR_BOOL else 1, encode_message(value, schema.items))


def _tag_number(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value & (2**64 - 1))


def _tagged(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    """Write a base-128 number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def envelope(api_version: str, kind: str, message: bytes) -> bytes:
    """Write a whole request body."""
    head = _tagged(1, api_version.encode()) + _tagged(2, kind.encode())
    return b"k8s\x00" + _tagged(1, head) + _tagged(2, message)
