"""The CEL rules of custom kinds (``x-kubernetes-validations``): an object is walked along its schema, each rule asked.

A value that an update leaves as it was is not asked again (KEP-4008, ratcheting), except about its transition.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wherry.apiserver.kinds.model import DUPLICATE, FORBIDDEN, INVALID, REQUIRED, FieldError
from wherry.apiserver.patch.json_patch import same_json
from wherry.apiserver.schema.cel import CelError, Unsupported, compile_rule

JsonSchema = Mapping[str, Any]
MISSING: Any = object()
_REASONS = frozenset({INVALID, FORBIDDEN, REQUIRED, DUPLICATE})


class WholeError(FieldError):
    """A finding about an object or list, whose text does not repeat the value."""

    __slots__ = ()

    @property
    def body(self) -> str:
        """The text after the field path."""
        return f"Invalid value: {self.detail}" if self.type == INVALID else super().body


def rule_errors(value: Any, old: Any, schema: JsonSchema, field: str) -> list[FieldError]:
    """List the rules that ``value`` breaks; ``old`` is what was there before, MISSING where nothing was."""
    errors = []
    for rule in schema.get("x-kubernetes-validations") or ():
        found = _ask(rule, value, old, field)
        if found is not None:
            errors.append(found)
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        others = schema.get("additionalProperties")
        for key, item in value.items():
            inner = properties.get(key, others)
            if isinstance(inner, dict):
                before = old.get(key, MISSING) if isinstance(old, dict) else MISSING
                below = f"{field}[{key}]" if key not in properties else f"{field}.{key}" if field else key
                errors += rule_errors(item, before, inner, below)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        before_by_key = _by_key(old, schema)
        for index, item in enumerate(value):
            before = before_by_key.get(_key(item, schema), MISSING)
            errors += rule_errors(item, before, schema["items"], f"{field}[{index}]")
    return errors


def _by_key(old: Any, schema: JsonSchema) -> dict[str | None, Any]:
    """Index the elements of a list that can be recognised in its next version: those with keys."""
    if not isinstance(old, list) or schema.get("x-kubernetes-list-type") != "map":
        return {}
    return {_key(item, schema): item for item in old}


def _key(item: Any, schema: JsonSchema) -> str | None:
    if not isinstance(item, dict):
        return None
    return json.dumps([item.get(key) for key in schema.get("x-kubernetes-list-map-keys") or ()])


def _ask(rule: JsonSchema, value: Any, old: Any, field: str) -> FieldError | None:
    text = str(rule.get("rule", ""))
    variables = {"self": value}
    if "oldSelf" in text:
        if old is MISSING or rule.get("optionalOldSelf"):
            return None  # a transition rule says nothing about what is new
        variables["oldSelf"] = old
    elif old is not MISSING and same_json(value, old):
        return None
    try:
        holds = compile_rule(text)(variables)
    except Unsupported:
        return None
    except CelError as error:
        return WholeError(INVALID, field, value, f"rule evaluation error: {error}: {text}")
    if holds is True:
        return None
    reason = rule.get("reason") if rule.get("reason") in _REASONS else INVALID
    where = field + str(rule.get("fieldPath") or "")
    form = WholeError if isinstance(value, dict | list) else FieldError
    return form(str(reason), where.removeprefix("."), value, _message(rule, variables, text))


def _message(rule: JsonSchema, variables: Mapping[str, Any], text: str) -> str:
    expression = rule.get("messageExpression")
    if expression:
        try:
            said = compile_rule(str(expression))(variables)
        except (Unsupported, CelError):
            said = None
        if isinstance(said, str) and said.strip() and "\n" not in said:
            return said
    return str(rule.get("message") or f"failed rule: {text}").strip()
