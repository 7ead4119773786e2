"""The form in which a built-in object is written: Go's field order, no empty optional fields, no required one missing.

Go writes every field that has no ``omitempty``, and every plain struct: a container has ``resources: {}``, a condition
``lastTransitionTime: null``. Handlers work on objects without such padding; this is applied once before an object is
stored and encoded.
"""

from __future__ import annotations

from typing import Any

from wherry.apiserver.schema.decode import dropped
from wherry.apiserver.schema.model import Schema, Type

_ZERO: dict[Type, Any] = {
    Type.STRING: "",
    Type.BOOL: False,
    Type.INT32: 0,
    Type.INT64: 0,
    Type.DOUBLE: 0,
    Type.QUANTITY: "0",
    Type.INT_OR_STRING: 0,
}


def canonical(obj: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """Return ``obj`` as Go would write it. Unknown fields are left out; values are not checked."""
    out: dict[str, Any] = {}
    for name, field in schema.fields.items():
        value = obj.get(name)
        if value is None:
            if field.always:
                out[name] = None if field.pointer else _zero(field.schema)
            continue
        value = _value(value, field.schema)
        if not dropped(value, field):
            out[name] = value
    return out


def _zero(schema: Schema) -> Any:
    if schema.type is Type.OBJECT:
        return canonical({}, schema)
    return _ZERO.get(schema.type)


def _value(value: Any, schema: Schema) -> Any:
    kind = schema.type
    if kind is Type.OBJECT:
        return canonical(value, schema) if isinstance(value, dict) else value
    if kind is Type.LIST and isinstance(value, list):
        items = schema.items
        if items.type in _NESTED:
            return [_value(item, items) for item in value]
    elif kind is Type.MAP and isinstance(value, dict):
        items = schema.items
        if items.type in _NESTED:
            return {key: _value(item, items) for key, item in value.items()}
    return value


_NESTED = (Type.OBJECT, Type.LIST, Type.MAP)
