"""Reading the query of a request to the kubelet API."""

from __future__ import annotations

from collections.abc import Mapping

from wherry.pods.api.backend import Refused


def flag(query: Mapping[str, str], *names: str) -> bool:
    """Tell whether a switch is on, under any of its names."""
    return any(query.get(name, "").lower() in ("1", "true") for name in names)


def number(query: Mapping[str, str], name: str) -> int | None:
    """Return a number, None where there is none. Raises `Refused`."""
    text = query.get(name, "")
    if not text:
        return None
    if not text.isdigit():
        raise Refused(400, f"{name} must be a whole number that is not negative, not {text!r}")
    return int(text)
