"""JSON patch, RFC 6902, with two habits of Kubernetes' implementation: ``replace`` adds an object member that is not
there, and list indexes may be negative (counted from the end).
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_OPERATIONS = 10_000
"""More than any honest patch has; Kubernetes refuses longer ones, too."""

MAX_COPIED = 3 * 1024 * 1024
"""Bytes of JSON that the copies of one patch may add; each of a few could double the document."""

_INDEX = re.compile(r"-?(?:0|[1-9][0-9]*)")


class PatchFailed(ValueError):
    """An operation cannot be carried out, or its test failed."""


def json_patch(document: Any, operations: list[dict[str, Any]]) -> Any:
    """Apply the operations in order; ``document`` is not changed. Raises PatchFailed at the first that fails."""
    box: dict[str, Any] = {"": document}
    copied = 0
    for operation in operations:
        copied += _apply(box, operation)
        if copied > MAX_COPIED:
            raise PatchFailed("the copies of the patch are too large")
    return box[""]


def _apply(box: dict[str, Any], operation: dict[str, Any]) -> int:
    """Carry out one operation on the document in ``box``; the empty key lets a pointer address all of it.

    Returns the size of what was copied.
    """
    op = operation.get("op")
    path = _pointer(operation, "path")
    if op == "add":
        _add(box, path, _value(operation))
    elif op == "remove":
        _remove(box, path)
    elif op == "replace":
        _replace(box, path, _value(operation))
    elif op == "move":
        source = _pointer(operation, "from")
        if path[: len(source)] == source and len(path) > len(source):
            raise PatchFailed("a value cannot be moved into itself")
        value = _get(box, source)
        _remove(box, source)
        _add(box, path, value)
    elif op == "copy":
        value = _get(box, _pointer(operation, "from"))
        _add(box, path, value)
        return len(json.dumps(value))
    elif op == "test":
        if not same_json(_get(box, path, missing_is_null=True), operation.get("value")):
            raise PatchFailed("test failed")
    else:
        raise PatchFailed(f"unknown operation {op!r}")
    return 0


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchFailed("missing value")
    return operation["value"]


def _pointer(operation: dict[str, Any], name: str) -> list[str]:
    """Split a pointer (RFC 6901) into its tokens, after the empty one for the document."""
    text = operation.get(name)
    if not isinstance(text, str):
        raise PatchFailed(f"missing {name}")
    if text and not text.startswith("/"):
        raise PatchFailed(f"{name} must begin with a slash")
    return ["", *(token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:])]


def _container(box: dict[str, Any], path: list[str]) -> Any:
    """Return the container of the value at ``path``, copying every container on the way: the original stays."""
    here: Any = box
    for token in path[:-1]:
        key = _key(here, token)
        inner = here[key]
        if isinstance(inner, dict):
            inner = dict(inner)
        elif isinstance(inner, list):
            inner = list(inner)
        else:
            raise PatchFailed(f"{token!r} is no object and no list")
        here[key] = inner
        here = inner
    return here


def _key(container: Any, token: str) -> Any:
    """Turn a token into the key of something that is there."""
    if isinstance(container, dict):
        if token in container:
            return token
    elif isinstance(container, list):
        index = _index(token, len(container))
        if index < len(container):
            return index
    raise PatchFailed(f"{token!r} is not there")


def _index(token: str, size: int) -> int:
    if not _INDEX.fullmatch(token) or len(token) > 9:
        raise PatchFailed(f"{token!r} is no index")
    index = int(token)
    if index < -size or index > size:
        raise PatchFailed(f"index {token} is out of range")
    return index + size if index < 0 else index


def _get(box: dict[str, Any], path: list[str], *, missing_is_null: bool = False) -> Any:
    here: Any = box
    for depth, token in enumerate(path):
        if missing_is_null and depth == len(path) - 1 and isinstance(here, dict) and token not in here:
            return None
        here = here[_key(here, token)]
    return here


def _add(box: dict[str, Any], path: list[str], value: Any) -> None:
    container = _container(box, path)
    if isinstance(container, list):
        # A negative index counts from behind the end when something is inserted.
        size = len(container)
        at = size if path[-1] == "-" else _index(path[-1], size + 1 if path[-1].startswith("-") else size)
        container.insert(at, value)
    else:
        container[path[-1]] = value


def _remove(box: dict[str, Any], path: list[str]) -> None:
    if len(path) == 1:
        raise PatchFailed("the whole document cannot be removed")
    container = _container(box, path)
    del container[_key(container, path[-1])]


def _replace(box: dict[str, Any], path: list[str], value: Any) -> None:
    container = _container(box, path)
    if isinstance(container, dict):
        container[path[-1]] = value
    else:
        container[_key(container, path[-1])] = value


def same_json(left: Any, right: Any) -> bool:
    """Compare as JSON: true is not 1, 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same_json(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)
