"""Decoding the result of a strategic merge: Go converts it by reflection there, with words of its own."""

from __future__ import annotations

from typing import Any

from wherry.apiserver.schema.decode import Decoded, DecodeError, Validation, Walk
from wherry.apiserver.schema.model import Schema, Type

_KINDS = {Type.DOUBLE: "float64", Type.STRING: "string", Type.BOOL: "bool", Type.INT32: "int32", Type.INT64: "int64"}


class _Converter(Walk):
    def mismatch(self, value: Any, schema: Schema) -> DecodeError:
        source = _source(value)
        if schema.type in (Type.LIST, Type.BYTES):
            return DecodeError(f"cannot restore slice from {source}")
        if schema.type is Type.MAP:
            return DecodeError(f"cannot restore map from {source}")
        if schema.type in _KINDS:
            return DecodeError(f"unrecognized type: {_KINDS[schema.type]}")
        return DecodeError(f"cannot restore struct from: {source}")


def convert(value: dict[str, Any], schema: Schema, validation: Validation) -> Decoded:
    """Decode a merged object. Raises DecodeError in the words of Go's converter."""
    walk = _Converter([])
    obj = walk.object(value, schema)
    found = walk.findings if validation != "Ignore" else []
    return Decoded(obj, errors=found) if validation == "Strict" else Decoded(obj, warnings=found)


def _source(value: Any) -> str:
    if isinstance(value, dict):
        return "map"
    if isinstance(value, list):
        return "slice"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "int64" if isinstance(value, int) else "float64"
