"""Hold a reported object against what a real cluster reports for it, and name every difference.

An expected value is plain data with a few words for what differs from run to run:

* ``<time>``, ``<ip>``, ``<id>`` (a container's id), ``<any>``: any value of that form;
* ``~PATTERN``: a string that the regular expression matches wholly;
* a key that ends in ``?`` need not be there; every other key must, and no key may be there that is not expected;
* lists whose items have a ``type`` or a ``name`` are compared by it, others in their order.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_ID = re.compile(r"[a-z0-9-]+://.+")
_KEYS = ("type", "name")


def differences(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Where ``actual`` is not what is expected, a line each; empty where it is."""
    if isinstance(expected, dict):
        return _objects(expected, actual, path) if isinstance(actual, dict) else [_unequal(expected, actual, path)]
    if isinstance(expected, list):
        return _lists(expected, actual, path) if isinstance(actual, list) else [_unequal(expected, actual, path)]
    if isinstance(expected, str) and (verdict := _word(expected, actual)) is not None:
        return [] if verdict else [_unequal(expected, actual, path)]
    return [] if expected == actual and isinstance(expected, bool) == isinstance(actual, bool) else [
        _unequal(expected, actual, path)
    ]  # fmt: skip


def _objects(expected: dict[str, Any], actual: dict[str, Any], path: str) -> list[str]:
    found = []
    names = set()
    for key, value in expected.items():
        name = key.removesuffix("?")
        names.add(name)
        if name in actual:
            found += differences(value, actual[name], f"{path}.{name}")
        elif name == key:
            found.append(f"{path}.{name}: missing, expected {value!r}")
    return found + [f"{path}.{name}: unexpected {value!r}" for name, value in actual.items() if name not in names]


def _lists(expected: list[Any], actual: list[Any], path: str) -> list[str]:
    key = _key(expected) if expected else ""
    if key and all(isinstance(item, dict) and key in item for item in actual):
        return _objects(
            {str(item[key]): item for item in expected}, {str(item[key]): item for item in actual}, path
        )  # fmt: skip
    if len(expected) != len(actual):
        return [f"{path}: {len(actual)} items {actual!r}, expected {len(expected)}"]
    pairs = enumerate(zip(expected, actual, strict=True))
    return [line for index, (one, other) in pairs for line in differences(one, other, f"{path}[{index}]")]


def _key(items: list[Any]) -> str:
    """The key that tells the items apart, if each names a value of its own for it."""
    for key in _KEYS:
        values = [item.get(key) for item in items if isinstance(item, dict)]
        plain = {value for value in values if isinstance(value, str) and _word(value, "") is None}
        if len(plain) == len(items):
            return key
    return ""


def _word(expected: str, actual: Any) -> bool | None:
    """Whether ``actual`` has the form that a word asks for; None where ``expected`` is an ordinary string."""
    if expected == "<any>":
        return True
    if expected == "<time>":
        return isinstance(actual, str) and bool(_TIME.fullmatch(actual))
    if expected == "<id>":
        return isinstance(actual, str) and bool(_ID.fullmatch(actual))
    if expected == "<ip>":
        return isinstance(actual, str) and _is_address(actual)
    if expected.startswith("~"):
        return isinstance(actual, str) and bool(re.fullmatch(expected[1:], actual, re.DOTALL))
    return None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _unequal(expected: Any, actual: Any, path: str) -> str:
    return f"{path}: {actual!r}, expected {expected!r}"
