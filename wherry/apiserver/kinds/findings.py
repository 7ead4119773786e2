"""Findings about single fields, worded as Kubernetes' field errors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""An API object as decoded JSON; its own, to be changed in place."""

REQUIRED = "FieldValueRequired"
INVALID = "FieldValueInvalid"
FORBIDDEN = "FieldValueForbidden"
NOT_SUPPORTED = "FieldValueNotSupported"
DUPLICATE = "FieldValueDuplicate"
NOT_FOUND = "FieldValueNotFound"
TOO_LONG = "FieldValueTooLong"
TOO_MANY = "FieldValueTooMany"
TYPE_INVALID = "FieldValueTypeInvalid"
INTERNAL = "InternalError"

_TITLES = {
    REQUIRED: "Required value",
    INVALID: "Invalid value",
    FORBIDDEN: "Forbidden",
    NOT_SUPPORTED: "Unsupported value",
    DUPLICATE: "Duplicate value",
    NOT_FOUND: "Not found",
    TOO_LONG: "Too long",
    TOO_MANY: "Too many",
    TYPE_INVALID: "Invalid value",
    INTERNAL: "Internal error",
}

# Kinds of finding whose text names no value.
_VALUELESS = frozenset({REQUIRED, FORBIDDEN, TOO_LONG, INTERNAL})


OMITTED = object()
"""Value of a finding whose text does not show it."""


def render_value(value: object) -> str:
    """A value as Kubernetes prints it inside a finding: quoted strings, bare numbers, JSON for the rest."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One finding about one field: `type` is the cause reason of the Status (`FieldValueInvalid`, ...)."""

    type: str
    field: str
    value: Any = None
    detail: str = ""

    @property
    def body(self) -> str:
        """The text after the field path, which is also the message of the Status cause."""
        text = _TITLES[self.type]
        if self.type not in _VALUELESS and self.value is not OMITTED:
            text = f"{text}: {render_value(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    @property
    def message(self) -> str:
        """Path and text, as joined into the message of the Status."""
        return f"{self.field}: {self.body}"

    @property
    def cause(self) -> Object:
        """The entry of `details.causes`."""
        return {"reason": self.type, "message": self.body, "field": self.field}


def required(path: str, detail: str = "") -> FieldError:
    """The field must be given."""
    return FieldError(REQUIRED, path, None, detail)


def invalid(path: str, value: object, detail: str) -> FieldError:
    """The value is malformed or contradicts another one."""
    return FieldError(INVALID, path, value, detail)


def forbidden(path: str, detail: str) -> FieldError:
    """The field may not be set here (or not be changed)."""
    return FieldError(FORBIDDEN, path, None, detail)


def duplicate(path: str, value: object) -> FieldError:
    """The value occurs a second time where it must be unique."""
    return FieldError(DUPLICATE, path, value)


def not_found(path: str, value: object) -> FieldError:
    """The value names something that does not exist."""
    return FieldError(NOT_FOUND, path, value)


def unsupported(path: str, value: object, supported: Iterable[str]) -> FieldError:
    """The value is none of the supported ones, which are listed in the order given."""
    listed = ", ".join(f'"{name}"' for name in supported)
    return FieldError(NOT_SUPPORTED, path, value, f"supported values: {listed}" if listed else "")


def too_long(path: str, limit: int) -> FieldError:
    """The value exceeds `limit` bytes."""
    unit = "byte" if limit == 1 else "bytes"
    return FieldError(TOO_LONG, path, None, f"may not be more than {limit} {unit}")


def too_many(path: str, count: int, limit: int) -> FieldError:
    """The list holds `count` items, more than `limit`."""
    unit = "item" if limit == 1 else "items"
    return FieldError(TOO_MANY, path, count, f"must have at most {limit} {unit}")
