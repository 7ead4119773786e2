"""Schemas in the dialect of OpenAPI v2, which knows fewer keywords and has one reader with habits of its own: kubectl.

What has to go and why: apiextensions' ``ToStructuralOpenAPIV2``. kubectl takes an object with properties for complete,
wants the items of every array and knows no null, so that a schema that allows more loses the type that would forbid it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherry.apiserver.openapi.protobuf import SCHEMA_KEYS

_V3, _V2 = "#/components/schemas/", "#/definitions/"
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_SEVERAL_TYPES = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "io.k8s.apimachinery.pkg.api.resource.Quantity",
}
"""Built-in definitions that v3 describes by alternatives; v2 calls them strings."""

Schema = dict[str, Any]


def definition(name: str, schema: Mapping[str, Any]) -> Schema:
    """The v2 form of a definition. A whole kind that keeps unknown fields is described by nothing but its name."""
    if name in _SEVERAL_TYPES:
        return {**convert(schema), "type": "string"}
    if schema.get(_PRESERVE) and "x-kubernetes-group-version-kind" in schema:
        mark = {"x-kubernetes-group-version-kind": schema["x-kubernetes-group-version-kind"]}
        return {"type": "object", **mark}
    return convert(schema)


def convert(schema: Mapping[str, Any]) -> Schema:
    """The v2 form of a schema and of those inside it; the same for what is v2 already."""
    out: Schema = {key: value for key, value in schema.items() if key in SCHEMA_KEYS or key.startswith("x-")}
    references = [one["$ref"] for one in out.pop("allOf", ()) if len(one) == 1 and "$ref" in one]
    if references:
        out["$ref"] = references[0]
    if "$ref" in out:
        out["$ref"] = out["$ref"].replace(_V3, _V2)
    preserves = bool(out.get(_PRESERVE))
    if schema.get("nullable"):
        out.pop("type", None)
    if schema.get("nullable") or preserves:
        out.pop("items", None)
        out.pop("properties", None)
    if (out.get("type") == "array" and "items" not in out) or (out.get("type") == "object" and preserves):
        del out["type"]
    _convert_parts(out)
    return out


def _convert_parts(out: Schema) -> None:
    properties = out.get("properties")
    if properties is not None:
        out["properties"] = {name: convert(part) for name, part in properties.items()}
        nullable = {name for name, part in properties.items() if part.get("nullable")}
        if nullable and "required" in out:
            out["required"] = [name for name in out["required"] if name not in nullable]
    if "items" in out:
        out["items"] = convert(out["items"])
    extra = out.get("additionalProperties")
    if isinstance(extra, Mapping):
        out["additionalProperties"] = convert(extra)
        if extra.get("nullable"):
            out.pop("required", None)
    if not out.get("required", True):
        del out["required"]
