"""Custom kinds: what a CustomResourceDefinition's schema says about an object.

A structural schema (the "Structural schemas" part of the CRD page) is pruned after, defaulted from and checked against.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from wherry.apiserver.kinds.model import FieldError, invalid
from wherry.apiserver.schema.bundle import object_meta
from wherry.apiserver.schema.custom_checks import check, list_duplicates
from wherry.apiserver.schema.custom_rules import MISSING, rule_errors
from wherry.apiserver.schema.custom_types import typed_schema
from wherry.apiserver.schema.decode import Decoded, DecodeError, Validation, Walk, parse
from wherry.apiserver.schema.gojson import Doubled, plain
from wherry.apiserver.schema.model import Schema
from wherry.apiserver.schema.scalars import json_kind

JsonSchema = Mapping[str, Any]
Object = dict[str, Any]

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"
_BLOCKING = frozenset(
    {"FieldValueRequired", "FieldValueTypeInvalid", "FieldValueNotSupported", "FieldValueTooLong", "FieldValueTooMany"}
)
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


class CustomSchema:
    """The schema of one version of a custom kind.

    ``schema`` is ``spec.versions[].schema.openAPIV3Schema``; ``scale`` the version's ``subresources.scale``, whose
    paths must point to counts; ``has_status`` says whether status is a subresource.
    """

    def __init__(self, schema: JsonSchema | None, *, scale: JsonSchema | None = None, has_status: bool = False) -> None:
        self._schema: JsonSchema = schema if schema is not None else {"type": "object", _PRESERVE: True}
        self._scale = scale
        self.has_status = has_status
        self._has_rules = _has_rules(self._schema)
        self._typed: Schema | None = None

    @property
    def schema(self) -> JsonSchema:
        """The schema as the definition has it."""
        return self._schema

    @property
    def typed(self) -> Schema:
        """The schema as nodes for server-side apply."""
        if self._typed is None:
            self._typed = typed_schema(self._schema)
        return self._typed

    def decode(self, body: bytes, content_type: str, validation: Validation = "Warn") -> Decoded:
        """Decode a JSON or YAML body. Raises JsonError for a broken body, DecodeError where it is no object."""
        value, findings = parse(body, content_type)
        return self.decode_value(value, validation, findings=findings)

    def decode_value(
        self, value: Any, validation: Validation = "Warn", *, findings: list[str] | None = None
    ) -> Decoded:
        """Prune a parsed object: unknown fields go, nulls go where no null is allowed, metadata is typed."""
        if not isinstance(value, dict):
            go = "map[string]interface {}"
            raise DecodeError(f"json: cannot unmarshal {json_kind(value)} into Go value of type {go}")
        found = list(findings or [])
        _note_doubled(value, "", found)
        obj = plain(value)
        for name in ("apiVersion", "kind"):
            if not isinstance(obj.get(name, ""), str):
                raise DecodeError(f"json: cannot unmarshal {json_kind(obj[name])} into Go value of type string")
        _prune(obj, self._schema, "", found, root=True)
        if "metadata" in obj:
            obj["metadata"] = _metadata(obj["metadata"], "metadata", found)
        if validation == "Strict":
            return Decoded(obj, errors=found)
        return Decoded(obj, warnings=found if validation == "Warn" else [])

    def default(self, obj: Object) -> None:
        """Fill in the schema's defaults, in place."""
        _default(obj, self._schema)

    def validate(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """Check an object, after an update from ``old``, against the schema and its rules."""
        errors = check(obj, self._schema, "", "")
        errors += list_duplicates(obj, self._schema, "")
        return self._finished(errors, obj, old, paths=("specReplicasPath", "statusReplicasPath"))

    def validate_status(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """Check only ``status``, as a write to the status subresource does; the rules see the whole object."""
        schema = self._schema.get("properties", {}).get("status")
        errors: list[FieldError] = []
        if schema is not None and "status" in obj:
            errors = check(obj["status"], schema, "status", "")
            errors += list_duplicates(obj["status"], schema, "status")
        return self._finished(errors, obj, old, paths=("statusReplicasPath",))

    def _finished(
        self, errors: list[FieldError], obj: Object, old: Object | None, *, paths: tuple[str, ...]
    ) -> list[FieldError]:
        if self._scale is not None:
            for name in paths:
                errors += _count_errors(obj, str(self._scale.get(name, "")))
        if self._has_rules and any(error.type in _BLOCKING for error in errors):
            errors.append(invalid("<nil>", None, _UNCHECKED))
        elif self._has_rules:
            errors += rule_errors(obj, MISSING if old is None else old, self._schema, "")
        return errors


def _count_errors(obj: Object, path: str) -> list[FieldError]:
    """Check the count at a scale path (``.spec.replicas``)."""
    value: Any = obj
    for name in path.split(".")[1:]:
        if not isinstance(value, dict) or name not in value:
            return []
        value = value[name]
    if isinstance(value, bool) or not isinstance(value, int):
        go = {"string": "string", "number": "float64", "bool": "bool", "array": "[]interface {}"}
        kind = "<nil>" if value is None else go.get(json_kind(value), "map[string]interface {}")
        shown = "<nil>" if value is None else value
        return [invalid(path, 0, f"{path} accessor error: {shown} is of the type {kind}, expected int64")]
    if value < 0:
        return [invalid(path, value, "should be a non-negative integer")]
    if value > 2**31 - 1:
        return [invalid(path, value, f"should be less than or equal to {2**31 - 1}")]
    return []


def _metadata(value: Any, path: str, found: list[str]) -> Any:
    """Read ``metadata`` as the built-in kinds do."""
    if not isinstance(value, dict):
        where = f"Go struct field ObjectMeta.{path} of type v1.ObjectMeta"
        raise DecodeError(f"json: cannot unmarshal {json_kind(value)} into {where}")
    walk = Walk([], path=path)
    decoded = walk.object(value, object_meta())
    found.extend(walk.findings)
    return decoded


def _note_doubled(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, dict):
        for key in value.keys_again if isinstance(value, Doubled) else ():
            found.append(f'duplicate field "{_join(path, key)}"')
        for key, item in value.items():
            _note_doubled(item, _join(path, key), found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _note_doubled(item, f"{path}[{index}]", found)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _prune(value: Any, schema: JsonSchema, path: str, found: list[str], *, root: bool = False) -> None:
    """Remove what the schema does not know, and nulls that it does not allow; note the unknown fields."""
    if isinstance(value, list):
        items = schema.get("items")
        for index, item in enumerate(value):
            _prune(item, items if isinstance(items, dict) else {_PRESERVE: True}, f"{path}[{index}]", found)
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    open_ended = schema.get(_PRESERVE) is True or others is True
    embedded = root or schema.get(_EMBEDDED) is True
    for name in list(value):
        where = _join(path, name)
        if embedded and name in ("apiVersion", "kind", "metadata"):
            if not root and name == "metadata" and value[name] is not None:
                value[name] = _metadata(value[name], where, found)
            continue
        inner = properties.get(name)
        if inner is None and isinstance(others, dict):
            inner = others
        if inner is None:
            if not open_ended:
                del value[name]
                found.append(f'unknown field "{where}"')
        elif value[name] is None:
            if not inner.get("nullable"):
                del value[name]
        else:
            _prune(value[name], inner, where, found)


def _default(value: Any, schema: JsonSchema) -> None:
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for item in value:
                _default(item, items)
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    for name, inner in properties.items():
        if "default" in inner and name not in value:
            value[name] = copy.deepcopy(inner["default"])
        if name in value:
            _default(value[name], inner)
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        for name, item in value.items():
            if name not in properties:
                _default(item, others)


def _has_rules(schema: Any) -> bool:
    """Tell whether any part of a schema carries CEL rules."""
    if isinstance(schema, dict):
        return "x-kubernetes-validations" in schema or any(_has_rules(item) for item in schema.values())
    if isinstance(schema, list):
        return any(_has_rules(item) for item in schema)
    return False
