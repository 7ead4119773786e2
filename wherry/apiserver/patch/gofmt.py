"""Values as Go's ``%v`` prints them, for messages that quote a patch."""

from __future__ import annotations

from typing import Any


def show(value: Any) -> str:
    """Print a decoded JSON value as Go prints ``map[string]interface{}`` and its like."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(show(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_float(value)
    return str(value)


def format_float(value: float) -> str:
    """Print a float in Go's shortest form."""
    text = repr(value)
    if text.endswith(".0"):
        text = text[:-2]
    if abs(value) >= 1e21 and "e" not in text:
        text = f"{value:e}"
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    sign = "-" if exponent.startswith("-") else "+"
    return f"{mantissa}e{sign}{exponent.lstrip('+-').zfill(2)}"
