"""Structural schemas of custom kinds as schema nodes, for server-side apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherry.apiserver.schema.bundle import object_meta
from wherry.apiserver.schema.model import Field, Schema, Type

_SCALARS = {"string": Type.STRING, "boolean": Type.BOOL, "integer": Type.INT64, "number": Type.DOUBLE}
_TEXT = Schema(Type.STRING, go="string")


def typed_schema(schema: Mapping[str, Any]) -> Schema:
    """Turn the schema of a custom kind into a node, with the metadata that all kinds share."""
    return _object(schema, embedded=True)


def _node(schema: Mapping[str, Any]) -> Schema:
    if schema.get("x-kubernetes-int-or-string"):
        return Schema(Type.INT_OR_STRING, go="intstr.IntOrString")
    kind = schema.get("type")
    if kind == "object":
        others = schema.get("additionalProperties")
        if isinstance(others, dict):
            return Schema(Type.MAP, go="map", load_items=lambda: _node(others))
        if schema.get("properties") or schema.get("x-kubernetes-embedded-resource"):
            return _object(schema, embedded=bool(schema.get("x-kubernetes-embedded-resource")))
        return Schema(Type.MAP, go="map", load_items=lambda: Schema(Type.ANY, go="interface {}"))
    if kind == "array":
        items = schema.get("items") or {}
        return Schema(Type.LIST, go="list", load_items=lambda: _node(items))
    return Schema(_SCALARS.get(kind or "", Type.ANY), go=kind or "interface {}")


def _object(schema: Mapping[str, Any], *, embedded: bool) -> Schema:
    return Schema(
        Type.OBJECT,
        go="object",
        open_ended=bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        load_fields=lambda: _fields(schema, embedded=embedded),
    )


def _fields(schema: Mapping[str, Any], *, embedded: bool) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    if embedded:
        fields = {
            "apiVersion": Field("apiVersion", _TEXT, omit_empty=True),
            "kind": Field("kind", _TEXT, omit_empty=True),
            "metadata": Field("metadata", object_meta(), omit_empty=True),
        }
    for name, inner in (schema.get("properties") or {}).items():
        if name not in fields:
            fields[name] = Field(
                name,
                _node(inner),
                pointer=True,
                list_type=inner.get("x-kubernetes-list-type") or "",
                list_keys=tuple(inner.get("x-kubernetes-list-map-keys") or ()),
                atomic=inner.get("x-kubernetes-map-type") == "atomic",
                default=inner.get("default"),
            )
    return fields
