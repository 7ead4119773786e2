"""JSON merge patches (RFC 7386): applying one, and making one out of the difference between two objects."""

from __future__ import annotations

from typing import Any

import msgspec


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply ``patch`` to ``target`` (section 2 of the RFC); neither is changed, untouched parts are shared."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def merge_diff(old: Any, new: Any) -> dict[str, Any]:
    """The merge patch that turns ``old`` into ``new`` (structs or plain dictionaries); empty when they are equal.

    What only ``old`` has becomes ``null``, so a number that went back to its default is removed on the server, where
    an absent field means the same. Fields neither object holds are not touched; lists are replaced whole.
    """
    return _diff(_plain(old), _plain(new))


def _plain(value: Any) -> dict[str, Any]:
    plain = msgspec.to_builtins(value)
    if not isinstance(plain, dict):
        raise TypeError(f"not an object: {type(value).__name__}")
    return plain


def _diff(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := _diff(before, value):
                patch[key] = inner
        elif value != before or key not in old:
            patch[key] = value
    return patch
