"""Checking values of custom kinds against their JSON schema, in the words of Kubernetes' validator.

Paths come twice: where the value is in the object (``field``) and how the message calls it (``name``); they differ
below ``status``, which is checked on its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from wherry.apiserver.kinds.model import (
    DUPLICATE,
    TOO_LONG,
    TOO_MANY,
    TYPE_INVALID,
    FieldError,
    invalid,
    required,
    unsupported,
)
from wherry.apiserver.schema.formats import fits_format

JsonSchema = Mapping[str, Any]
NOWHERE = "<nil>"


def json_type(value: Any) -> str:
    """Name a value's JSON schema type; whole numbers written as such are integers."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def check(value: Any, schema: JsonSchema, field: str, name: str) -> list[FieldError]:
    """List everything in ``value`` that ``schema`` does not allow."""
    if value is None and schema.get("nullable"):
        return []
    if schema.get("x-kubernetes-int-or-string"):
        if json_type(value) not in ("integer", "string"):
            return [_type_error(value, "integer,string", field, name)]
    elif not _has_type(value, schema.get("type")):
        errors = [_type_error(value, str(schema["type"]), field, name)]
        if schema["type"] == "integer" and isinstance(value, float):
            text = f"Checked value must be of type integer (default format) in {name}"
            errors.append(invalid(NOWHERE, "", text))
        return errors
    errors = []
    enum = schema.get("enum")
    if enum is not None and not any(_same(value, allowed) for allowed in enum):
        errors.append(unsupported(field, value, [v if isinstance(v, str) else json.dumps(v) for v in enum]))
    if isinstance(value, str):
        errors += _check_text(value, schema, field, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        errors += _check_number(value, schema, field, name)
    elif isinstance(value, list):
        errors += _check_list(value, schema, field, name)
    elif isinstance(value, dict):
        errors += _check_object(value, schema, field, name)
    return errors + _check_combined(value, schema, field, name)


def _has_type(value: Any, wanted: str | None) -> bool:
    if not wanted:
        return True
    kind = json_type(value)
    if wanted == "number":
        return kind in ("integer", "number")
    if wanted == "integer":
        return kind == "integer" or (isinstance(value, float) and value.is_integer())
    return kind == wanted


def _type_error(value: Any, wanted: str, field: str, name: str) -> FieldError:
    kind = json_type(value)
    return FieldError(TYPE_INVALID, field or NOWHERE, kind, f'{name} in body must be of type {wanted}: "{kind}"')


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _check_text(value: str, schema: JsonSchema, field: str, name: str) -> list[FieldError]:
    errors = []
    if (limit := schema.get("maxLength")) is not None and len(value) > limit:
        unit = "byte" if limit == 1 else "bytes"
        errors.append(FieldError(TOO_LONG, field, None, f"may not be more than {limit} {unit}"))
    if (limit := schema.get("minLength")) is not None and len(value) < limit:
        errors.append(invalid(field, value, f"{name} in body should be at least {limit} chars long"))
    pattern = schema.get("pattern")
    if pattern and not matches(pattern, value):
        errors.append(invalid(field, value, f"{name} in body should match '{pattern}'"))
    format_name = schema.get("format")
    if format_name and not fits_format(format_name, value):
        text = f"{name} in body must be of type {format_name}: {json.dumps(value, ensure_ascii=False)}"
        errors.append(FieldError(TYPE_INVALID, field, value, text))
    return errors


def matches(pattern: str, value: str) -> bool:
    """Search for a Go regular expression; one that Python cannot read matches everything."""
    compiled = _compiled(pattern)
    return compiled is None or compiled.search(value) is not None


_patterns: dict[str, re.Pattern[str] | None] = {}


def go_pattern(pattern: str) -> str:
    """Write a Go regular expression as Python's, as far as the two differ in what schemas use."""
    text = re.sub(r"\\z", r"\\Z", pattern)
    text = re.sub(r"(?<!\\)\$$", r"\\Z", text)  # Go's $ does not match before a final line break
    return text.replace("[[:alnum:]]", "[0-9A-Za-z]").replace("[[:alpha:]]", "[A-Za-z]")


def _compiled(pattern: str) -> re.Pattern[str] | None:
    if pattern not in _patterns:
        try:
            _patterns[pattern] = re.compile(go_pattern(pattern), re.ASCII)
        except re.error:
            _patterns[pattern] = None
    return _patterns[pattern]


_BOUNDS: tuple[tuple[str, str, Callable[[Any, Any], bool], str, Callable[[Any, Any], bool], str], ...] = (
    (
        "maximum",
        "exclusiveMaximum",
        lambda value, bound: value <= bound,
        "less than or equal to",
        lambda value, bound: value < bound,
        "less than",
    ),
    (
        "minimum",
        "exclusiveMinimum",
        lambda value, bound: value >= bound,
        "greater than or equal to",
        lambda value, bound: value > bound,
        "greater than",
    ),
)


def _check_number(value: float, schema: JsonSchema, field: str, name: str) -> list[FieldError]:
    errors = []
    for bound_name, exclusive_name, holds, words, strictly_holds, strict_words in _BOUNDS:
        bound = schema.get(bound_name)
        if bound is None:
            continue
        exclusive = schema.get(exclusive_name) is True
        if not (strictly_holds if exclusive else holds)(value, bound):
            said = strict_words if exclusive else words
            errors.append(invalid(field, value, f"{name} in body should be {said} {_number(bound)}"))
    factor = schema.get("multipleOf")
    if factor and (value / factor) != int(value / factor):
        errors.append(invalid(field, value, f"{name} in body should be a multiple of {_number(factor)}"))
    bits = {"int32": 32, "int64": 64}.get(schema.get("format", ""))
    if bits is not None and not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        text = f"Checked value must be of type integer with format {schema['format']} in {name}"
        errors.append(invalid(NOWHERE, "", text))
    return errors


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _check_list(value: list[Any], schema: JsonSchema, field: str, name: str) -> list[FieldError]:
    errors = []
    if (limit := schema.get("maxItems")) is not None and len(value) > limit:
        errors.append(_too_many(field, len(value), limit))
    if (limit := schema.get("minItems")) is not None and len(value) < limit:
        errors.append(invalid(field, len(value), f"{name} in body should have at least {limit} items"))
    items = schema.get("items")
    if isinstance(items, dict):
        for index, item in enumerate(value):
            errors += check(item, items, f"{field}[{index}]", f"{name}[{index}]")
    return errors


def _too_many(field: str, count: int, limit: int) -> FieldError:
    unit = "item" if limit == 1 else "items"
    return FieldError(TOO_MANY, field, count, f"must have at most {limit} {unit}")


def _check_object(value: dict[str, Any], schema: JsonSchema, field: str, name: str) -> list[FieldError]:
    errors = []
    if (limit := schema.get("maxProperties")) is not None and len(value) > limit:
        errors.append(_too_many(field, len(value), limit))
    if (limit := schema.get("minProperties")) is not None and len(value) < limit:
        errors.append(invalid(field, len(value), f"{name} in body should have at least {limit} properties"))
    errors += [required(_below(field, key)) for key in schema.get("required") or () if key not in value]
    properties = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    for key, item in value.items():
        inner = properties.get(key, others if isinstance(others, dict) else None)
        if inner is not None and not (not field and key in ("apiVersion", "kind", "metadata")):
            errors += check(item, inner, _below(field, key), _below(name, key))
    return errors


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _check_combined(value: Any, schema: JsonSchema, field: str, name: str) -> list[FieldError]:
    """Check allOf, anyOf, oneOf and not."""
    errors = []
    for inner in schema.get("allOf") or ():
        found = check(value, inner, field, name)
        if found:
            errors += [*found, invalid(NOWHERE, "", f'"{name}" must validate all the schemas (allOf)')]
    choices = schema.get("anyOf")
    if choices and all(check(value, inner, field, name) for inner in choices):
        errors.append(invalid(NOWHERE, "", f'"{name}" must validate at least one schema (anyOf)'))
        errors += _closest(value, choices, field, name)
    choices = schema.get("oneOf")
    if choices:
        valid = sum(not check(value, inner, field, name) for inner in choices)
        if valid != 1:
            found_text = "Found none valid" if valid == 0 else f"Found {valid} valid alternatives"
            text = f'"{name}" must validate one and only one schema (oneOf). {found_text}'
            errors.append(invalid(NOWHERE, "", text))
            if valid == 0:
                errors += _closest(value, choices, field, name)
    refused = schema.get("not")
    if refused is not None and not check(value, refused, field, name):
        errors.append(invalid(NOWHERE, "", f'"{name}" must not validate the schema (not)'))
    return errors


def _closest(value: Any, choices: list[JsonSchema], field: str, name: str) -> list[FieldError]:
    return min((check(value, inner, field, name) for inner in choices), key=len)


def list_duplicates(value: Any, schema: JsonSchema, field: str) -> list[FieldError]:
    """List the elements that occur twice in lists that are sets or maps."""
    errors: list[FieldError] = []
    if isinstance(value, list):
        items = schema.get("items")
        items = items if isinstance(items, dict) else {}
        kind = schema.get("x-kubernetes-list-type")
        if kind in ("set", "map"):
            errors += _duplicates(value, schema, field)
        for index, item in enumerate(value):
            errors += list_duplicates(item, items, f"{field}[{index}]")
    elif isinstance(value, dict):
        properties = schema.get("properties") or {}
        others = schema.get("additionalProperties")
        for key, item in value.items():
            inner = properties.get(key, others)
            if isinstance(inner, dict):
                below = f"{field}[{key}]" if key not in properties else _below(field, key)
                errors += list_duplicates(item, inner, below)
    return errors


def _duplicates(value: list[Any], schema: JsonSchema, field: str) -> list[FieldError]:
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    seen: set[str] = set()
    errors = []
    for index, item in enumerate(value):
        identity = item
        if schema["x-kubernetes-list-type"] == "map":
            if not isinstance(item, dict):
                continue
            identity = {key: item[key] for key in keys if key in item}
        mark = json.dumps(identity, sort_keys=True)
        if mark in seen:
            errors.append(FieldError(DUPLICATE, f"{field}[{index}]", identity))
        seen.add(mark)
    return errors
