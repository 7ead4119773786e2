"""Functions and methods of CEL's standard library and of Kubernetes' string and list libraries."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from wherry.apiserver.schema.custom_checks import go_pattern


class CelError(Exception):
    """An expression has no value: a missing key, a wrong type, an overflow."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def function(left: Any, right: Any) -> bool:
        same = (_number(left) and _number(right)) or (type(left) is type(right) and isinstance(left, str | bool))
        if not same:
            raise CelError("no such overload")
        return compare(left, right)

    return function


def _arithmetic(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def function(left: Any, right: Any) -> Any:
        if not (_number(left) and _number(right) and type(left) is type(right)):
            raise CelError("no such overload")
        return _checked(compute(left, right))

    return function


def _checked(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise CelError("integer overflow")
    return value


def _add(left: Any, right: Any) -> Any:
    if type(left) is type(right) and isinstance(left, str | list):
        return left + right
    return _arithmetic(operator.add)(left, right)


def _divide(left: Any, right: Any) -> Any:
    if not right and isinstance(right, int):
        raise CelError("division by zero")
    if isinstance(left, int):
        return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)  # CEL rounds towards zero
    return left / right if right else float("inf") * (1 if left >= 0 else -1)


def _remainder(left: Any, right: Any) -> Any:
    if not isinstance(left, int) or not right:
        raise CelError("modulus by zero")
    return left - _divide(left, right) * right


def _contained(item: Any, container: Any) -> bool:
    if isinstance(container, dict):
        return item in container
    if isinstance(container, list):
        return any(type(item) is type(other) and item == other for other in container)
    raise CelError("no such overload")


def _not(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CelError("no such overload")
    return not value


def _negate(value: Any) -> Any:
    if not _number(value):
        raise CelError("no such overload")
    return _checked(-value)


def _size(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise CelError("no such overload")
    return len(value)


def _to_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise CelError("no such overload")
    try:
        return int(_checked(int(value)))
    except (ValueError, OverflowError):
        raise CelError("type conversion error") from None


def _to_double(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise CelError("type conversion error") from None


def _to_string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    raise CelError("no such overload")


FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("_<_", 2): _ordered(operator.lt),
    ("_<=_", 2): _ordered(operator.le),
    ("_>_", 2): _ordered(operator.gt),
    ("_>=_", 2): _ordered(operator.ge),
    ("_+_", 2): _add,
    ("_-_", 2): _arithmetic(operator.sub),
    ("_*_", 2): _arithmetic(operator.mul),
    ("_/_", 2): _arithmetic(_divide),
    ("_%_", 2): _arithmetic(_remainder),
    ("_in_", 2): _contained,
    ("!_", 1): _not,
    ("-_", 1): _negate,
    ("size", 1): _size,
    ("int", 1): _to_int,
    ("double", 1): _to_double,
    ("string", 1): _to_string,
    ("dyn", 1): lambda value: value,
}


def _text(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method of strings whose arguments are strings or positions."""

    def method(receiver: Any, *arguments: Any) -> Any:
        if not isinstance(receiver, str) or not all(isinstance(argument, str | int) for argument in arguments):
            raise CelError("no such overload")
        try:
            return function(receiver, *arguments)
        except (TypeError, IndexError, ValueError):
            raise CelError("no such overload") from None

    return method


def _substring(value: str, start: int, end: int | None = None) -> str:
    end = len(value) if end is None else end
    if not 0 <= start <= end <= len(value):
        raise CelError("index out of range")
    return value[start:end]


def _matches(value: str, pattern: str) -> bool:
    try:
        return re.search(go_pattern(pattern), value, re.ASCII) is not None
    except re.error:
        raise CelError("invalid regular expression") from None


def _values(function: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    """A method of lists whose elements can be compared."""

    def method(receiver: Any) -> Any:
        if not isinstance(receiver, list):
            raise CelError("no such overload")
        try:
            return function(receiver)
        except (TypeError, ValueError):
            raise CelError("no such overload") from None

    return method


def _position(receiver: Any, item: Any) -> int:
    if isinstance(receiver, str) and isinstance(item, str):
        return receiver.find(item)
    if isinstance(receiver, list):
        return next((i for i, other in enumerate(receiver) if type(other) is type(item) and other == item), -1)
    raise CelError("no such overload")


def _joined(receiver: Any, separator: str = "") -> str:
    if not isinstance(receiver, list) or not all(isinstance(item, str) for item in receiver):
        raise CelError("no such overload")
    return separator.join(receiver)


METHODS: dict[tuple[str, int], Callable[..., Any]] = {
    ("size", 0): _size,
    ("startsWith", 1): _text(str.startswith),
    ("endsWith", 1): _text(str.endswith),
    ("contains", 1): _text(lambda value, part: part in value),
    ("matches", 1): _text(_matches),
    ("lowerAscii", 0): _text(str.lower),
    ("upperAscii", 0): _text(str.upper),
    ("trim", 0): _text(str.strip),
    ("replace", 2): _text(str.replace),
    ("replace", 3): _text(str.replace),
    ("split", 1): _text(lambda value, part: value.split(part) if part else list(value)),
    ("substring", 1): _text(_substring),
    ("substring", 2): _text(_substring),
    ("charAt", 1): _text(lambda value, at: value[at] if at < len(value) else ""),
    ("lastIndexOf", 1): _text(str.rfind),
    ("indexOf", 1): _position,
    ("join", 0): _joined,
    ("join", 1): _joined,
    ("isSorted", 0): _values(lambda items: all(a <= b for a, b in pairwise(items))),
    ("sum", 0): _values(sum),
    ("min", 0): _values(min),
    ("max", 0): _values(max),
}
