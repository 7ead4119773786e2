"""The schemas of the built-in kinds, from the bundle that ``tools/schema_bundle.py`` cuts.

The bundle is read once (133 kB); a type becomes a node when something asks for it. Not thread-safe at first use: the
API server's event loop is the only reader.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from wherry.apiserver.schema.model import Field, Schema, Type

_TYPES = "types.json.gz"

# Kinds that every group has; client-go sends them under the group of the object they are about.
_EVERYWHERE = frozenset({"DeleteOptions"})


class _Bundle(msgspec.Struct):
    kinds: dict[str, str]
    types: dict[str, msgspec.Raw]


_MARKS = {"list": "l", "keys": "k", "map": "m", "strategy": "s", "key": "p", "default": "d"}


class _Marks(msgspec.Struct, frozen=True, rename=_MARKS):
    list: str = ""
    keys: tuple[str, ...] = ()
    map: str = ""
    strategy: tuple[str, ...] = ()
    key: str = ""
    default: Any = None


class _Row(msgspec.Struct, array_like=True, frozen=True):
    json: str
    type: str
    flags: str
    number: int
    marks: _Marks = _Marks()


class _Definition(msgspec.Struct, frozen=True, rename={"go": "g", "rows": "f", "atomic": "a"}):
    go: str
    rows: list[_Row]
    atomic: int = 0


@cache
def _bundle() -> _Bundle:
    data = resources.files("wherry.apiserver.schema").joinpath(_TYPES).read_bytes()
    return msgspec.json.decode(gzip.decompress(data), type=_Bundle)


def schema_for(group: str, version: str, kind: str) -> Schema | None:
    """Return the schema of a built-in kind, None where there is none (a custom kind or one we do not carry)."""
    definition = definition_of(group, version, kind)
    return None if definition is None else definition_schema(definition)


def kinds() -> list[tuple[str, str, str]]:
    """List (group, version, kind) of everything in the bundle, lists of a kind included."""
    return [_split(key) for key in _bundle().kinds]


def definition_of(group: str, version: str, kind: str) -> str | None:
    """Name the definition of a kind, without the leading ``io.k8s.``."""
    if kind in _EVERYWHERE:
        group, version = "", "v1"
    return _bundle().kinds.get(f"{group}/{version}/{kind}")


@cache
def definition_schema(name: str) -> Schema:
    """Return the object node of definition ``name`` (without ``io.k8s.``). Raises KeyError where there is none."""
    definition = msgspec.json.decode(_bundle().types[name], type=_Definition)
    return Schema(
        Type.OBJECT,
        go=definition.go,
        definition=name,
        atomic=bool(definition.atomic),
        load_fields=lambda: _fields(definition.rows, []),
    )


def object_meta() -> Schema:
    """Return the schema of ``metadata``, which custom kinds share with the built-in ones."""
    return definition_schema("apimachinery.pkg.apis.meta.v1.ObjectMeta")


def _split(key: str) -> tuple[str, str, str]:
    group, version, kind = key.split("/")
    return group, version, kind


def _fields(rows: list[_Row], path: list[int] | None) -> Mapping[str, Field]:
    """Build an object's fields, those of inlined structs in their place; ``path`` is None outside of protobuf."""
    fields: dict[str, Field] = {}
    for row in rows:
        number = [*path, row.number] if path is not None and row.number else None
        if row.json:
            fields[row.json] = _field(row, number)
        else:
            inlined = msgspec.json.decode(_bundle().types[row.type.removeprefix("@")], type=_Definition)
            fields.update(_fields(inlined.rows, number))
    return fields


def _field(row: _Row, path: list[int] | None) -> Field:
    marks = row.marks
    schema = type_schema(row.type)
    pointer, omit_empty, omit_zero = ("p" in row.flags), ("o" in row.flags), ("z" in row.flags)
    plain_struct = schema.type in _STRUCTS and not pointer and not omit_zero
    return Field(
        name=row.json,
        schema=schema,
        pointer=pointer,
        omit_empty=omit_empty,
        omit_zero=omit_zero,
        always=not omit_empty or plain_struct,
        path=tuple(path or ()),
        list_type=marks.list,
        list_keys=marks.keys,
        atomic=marks.map == "atomic",
        patch_strategy=frozenset(marks.strategy),
        patch_key=marks.key,
        default=marks.default,
    )


# Types that Go writes as null or {} when they are empty, since omitempty does nothing for structs.
_STRUCTS = (Type.OBJECT, Type.TIME, Type.MICRO_TIME)

_SCALARS = {member.value: member for member in Type if member not in (Type.OBJECT, Type.MAP, Type.LIST)}
_GO_NAMES = {
    Type.BYTES: "[]uint8",
    Type.DOUBLE: "float64",
    Type.QUANTITY: "resource.Quantity",
    Type.INT_OR_STRING: "intstr.IntOrString",
    Type.TIME: "v1.Time",
    Type.MICRO_TIME: "v1.MicroTime",
    Type.RAW_EXTENSION: "runtime.RawExtension",
    Type.FIELDS_V1: "v1.FieldsV1",
    Type.JSON: "v1.JSON",
    Type.SCHEMA_OR_ARRAY: "v1.JSONSchemaPropsOrArray",
    Type.SCHEMA_OR_BOOL: "v1.JSONSchemaPropsOrBool",
    Type.SCHEMA_OR_STRINGS: "v1.JSONSchemaPropsOrStringArray",
    Type.ANY: "interface {}",
}
_SCHEMA_PROPS = "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"


@cache
def type_schema(expression: str) -> Schema:
    """Build the node of a type as the bundle writes it (``tools/schema_bundle.py`` lists the forms)."""
    if expression.startswith("@"):
        return definition_schema(expression[1:])
    wrapped = expression.startswith("!")
    body = expression.removeprefix("!")
    name = ""
    if body.startswith("("):
        name, body = body[1:].split(")", 1)
    if body.startswith("[]"):
        items = body[2:]
        return Schema(Type.LIST, go=name or f"[]{_go(items)}", wrapped=wrapped, load_items=lambda: type_schema(items))
    if body.startswith("{"):
        key, values = body[1:].split("}", 1)
        return Schema(Type.MAP, go=name or f"map[{key}]{_go(values)}", load_items=lambda: type_schema(values))
    body, _, name = body.partition("=")
    scalar = _SCALARS[body]
    load = (lambda: definition_schema(_SCHEMA_PROPS)) if body.startswith("schemaOr") else None
    return Schema(scalar, go=name or _GO_NAMES.get(scalar, body), load_items=load)


def _go(expression: str) -> str:
    """Spell an element type as Go does, without building its node."""
    if expression.startswith("@"):
        return msgspec.json.decode(_bundle().types[expression[1:]], type=_Definition).go
    return type_schema(expression).go
