"""Structural schemas: every part of a custom object has a type, lists and maps say how they merge.

The rules are those of "Specifying a structural schema" in the Kubernetes documentation.
"""

from __future__ import annotations

from typing import Any

from wherry.apiserver.kinds.model import FieldError, Object, duplicate, forbidden, invalid, required, unsupported
from wherry.apiserver.schema.custom_checks import check

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_EMBEDDED = "x-kubernetes-embedded-resource"
_LIST_TYPE = "x-kubernetes-list-type"
_LIST_KEYS = "x-kubernetes-list-map-keys"
_MAP_TYPE = "x-kubernetes-map-type"
_METADATA_KEYS = frozenset({"name", "generateName"})


def check_schema(errors: list[FieldError], schema: Object, path: str) -> None:
    """Findings about the schema of a version; `path` is that of `openAPIV3Schema`."""
    kind = schema.get("type", "")
    if not kind:
        errors.append(required(f"{path}.type", "must not be empty at the root"))
    elif kind != "object":
        errors.append(invalid(f"{path}.type", kind, "must be object at the root"))
    metadata = (schema.get("properties") or {}).get("metadata")
    if metadata is not None:
        extra = set(metadata) - {"type", "properties", "description"}
        if extra or set(metadata.get("properties") or ()) - _METADATA_KEYS:
            text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            errors.append(forbidden(f"{path}.properties[metadata]", text))
    _check_children(errors, schema, path)


def _check_node(errors: list[FieldError], schema: Object, path: str, where: str) -> None:
    kind = schema.get("type", "")
    if not kind:
        if not schema.get(_INT_OR_STRING) and not schema.get(_PRESERVE):
            errors.append(required(f"{path}.type", f"must not be empty for specified {where}"))
    elif kind not in _TYPES:
        errors.append(unsupported(f"{path}.type", kind, _TYPES))
    if schema.get(_EMBEDDED) and kind != "object":
        errors.append(invalid(f"{path}.type", kind, "must be object if x-kubernetes-embedded-resource is true"))
    if kind == "array" and schema.get("items") is None:
        errors.append(required(f"{path}.items", "must be specified"))
    _check_list(errors, schema, path)
    if schema.get(_MAP_TYPE) not in (None, "atomic", "granular"):
        errors.append(unsupported(f"{path}.{_MAP_TYPE}", schema[_MAP_TYPE], ("atomic", "granular")))
    if "default" in schema:
        errors.extend(check(schema["default"], schema, f"{path}.default", ""))
    _check_children(errors, schema, path)


def _check_list(errors: list[FieldError], schema: Object, path: str) -> None:
    list_type, keys = schema.get(_LIST_TYPE), schema.get(_LIST_KEYS)
    if list_type not in (None, "atomic", "set", "map"):
        errors.append(unsupported(f"{path}.{_LIST_TYPE}", list_type, ("atomic", "map", "set")))
    if list_type == "map":
        if not keys:
            text = "must not be empty if x-kubernetes-list-type is map"
            errors.append(required(f"{path}.{_LIST_KEYS}", text))
        items: Any = schema.get("items") or {}
        properties = items.get("properties") or {} if isinstance(items, dict) else {}
        seen: set[str] = set()
        for index, key in enumerate(keys or ()):
            where = f"{path}.{_LIST_KEYS}[{index}]"
            if key in seen:
                errors.append(duplicate(where, key))
            seen.add(key)
            if key not in properties:
                errors.append(invalid(where, key, "entries must all be names of item properties"))
    elif keys:
        text = "must be empty if x-kubernetes-list-type is not map"
        errors.append(forbidden(f"{path}.{_LIST_KEYS}", text))


def _check_children(errors: list[FieldError], schema: Object, path: str) -> None:
    properties: Object = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    if properties and isinstance(extra, dict):
        text = "additionalProperties and properties are mutual exclusive"
        errors.append(forbidden(f"{path}.additionalProperties", text))
    for name in sorted(properties):
        if isinstance(properties[name], dict) and not (name == "metadata" and path.endswith("openAPIV3Schema")):
            _check_node(errors, properties[name], f"{path}.properties[{name}]", "object fields")
    if isinstance(extra, dict):
        _check_node(errors, extra, f"{path}.additionalProperties", "object fields")
    if isinstance(schema.get("items"), dict):
        _check_node(errors, schema["items"], f"{path}.items", "array items")


def has_defaults(schema: Any) -> bool:
    """Whether any part of a schema has a default."""
    if isinstance(schema, dict):
        return "default" in schema or any(has_defaults(value) for value in schema.values())
    return isinstance(schema, list) and any(has_defaults(value) for value in schema)
