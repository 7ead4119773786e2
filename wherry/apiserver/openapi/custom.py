"""The schemas of custom kinds: a definition's own, completed by what every kind has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherry.apiserver.kinds.model import Resource

Schema = Mapping[str, Any]

_META = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1."
_EMBEDDED = "x-kubernetes-embedded-resource"


def name(row: Resource) -> str:
    """The definition's name: the group's parts backwards, version, kind."""
    return ".".join([*reversed(row.group.split(".")), row.version, row.kind])


def schemas(row: Resource, schema: Schema, head: Schema) -> dict[str, dict[str, Any]]:
    """The schemas of a kind and of its list, by name; `head` has those of apiVersion, kind and metadata."""
    mark = {"group": row.group, "version": row.version, "kind": row.kind}
    whole = {**_completed(schema, head), "x-kubernetes-group-version-kind": [mark]}
    whole["properties"] = {**whole.get("properties", {}), **head}
    own = name(row)
    more = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
    items = {
        "type": "array",
        "description": f"List of {row.plural}. More info: {more}",
        "items": {"$ref": f"#/components/schemas/{own}"},
    }
    metadata = {
        "description": f"Standard list metadata. More info: {more}#types-kinds",
        "allOf": [{"$ref": f"{_META}ListMeta"}],
    }
    listing = {
        "type": "object",
        "description": f"{row.list_kind} is a list of {row.kind}",
        "required": ["items"],
        "properties": {
            "apiVersion": head["apiVersion"],
            "items": items,
            "kind": head["kind"],
            "metadata": metadata,
        },
        "x-kubernetes-group-version-kind": [{**mark, "kind": row.list_kind}],
    }
    return {own: whole, f"{own}List": listing}


def _completed(schema: Schema, head: Schema) -> dict[str, Any]:
    """Give every embedded resource inside the fields that all objects have."""
    out = dict(schema)
    if schema.get("properties"):
        out["properties"] = {key: _completed(part, head) for key, part in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            out[key] = _completed(schema[key], head)
    if schema.get(_EMBEDDED):
        out["properties"] = {**out.get("properties", {}), **head}
        required = schema.get("required", [])
        out["required"] = [*required, *(key for key in ("kind", "apiVersion") if key not in required)]
    return out
