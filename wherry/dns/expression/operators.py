"""What operators and built-in functions of expressions do with values: booleans, numbers, strings, arrays and nil.

Values of the wrong kind raise TypeError, as Go's compiler or its expressions would; sizes are bounded.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from wherry.dns.regex import Pattern

_MOST = 1_000_000  # items of a range, characters of a string
_LARGEST = 2**63


class Constant:
    """A value that is known before there is an environment."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, env: Any) -> Any:
        """The value."""
        return self.value


constant = Constant


Step = Callable[[Any, Any], Any]
"""An operator and what stands right of it, as a function of the environment and of what stands left."""


def step(name: str, operator: Callable[[Any, Any], Any], right: Callable[[Any], Any]) -> Step:
    """Join an operator and a node; a pattern that is a literal is compiled, and refused, now. Raises ValueError."""
    if name == "matches" and isinstance(right, Constant):
        if not isinstance(right.value, str):
            raise ValueError(f"matches needs a string, not {right.value!r}")
        pattern = _pattern(right.value)
        return lambda env, left: pattern.matches(_str(left))
    return lambda env, left: operator(left, right(env))


def gathered(nodes: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """An array; of literals it is made once."""
    if all(isinstance(node, Constant) for node in nodes):
        return Constant([node(None) for node in nodes])
    return lambda env: [node(env) for node in nodes]


def truth(value: Any) -> bool:
    """A boolean; nothing else is one."""
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not a bool")
    return value


def number(value: Any) -> int | float:
    """A number within 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise ValueError("number does not fit into 64 bits")
    return value


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def equal(left: Any, right: Any) -> bool:
    """Whether both are equal and of one kind."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def unequal(left: Any, right: Any) -> bool:
    """Whether they are not equal."""
    return not equal(left, right)


def _ordered(left: Any, right: Any) -> tuple[Any, Any]:
    if isinstance(left, str) and isinstance(right, str):
        return left, right
    return number(left), number(right)


def less(left: Any, right: Any) -> bool:
    """Numbers or strings."""
    one, other = _ordered(left, right)
    return bool(one < other)


def more(left: Any, right: Any) -> bool:
    """Numbers or strings."""
    return less(right, left)


def not_less(left: Any, right: Any) -> bool:
    """Numbers or strings."""
    one, other = _ordered(left, right)
    return bool(one >= other)


def not_more(left: Any, right: Any) -> bool:
    """Numbers or strings."""
    return not_less(right, left)


def is_in(item: Any, items: Any) -> bool:
    """Whether an array has an item that is equal."""
    if not isinstance(items, list):
        raise TypeError(f"{items!r} is not an array")
    return any(equal(item, other) for other in items)


def is_not_in(item: Any, items: Any) -> bool:
    """Whether it has none."""
    return not is_in(item, items)


@lru_cache(maxsize=128)
def _pattern(text: str) -> Pattern:
    return Pattern(text)


def matches(text: Any, pattern: Any) -> bool:
    """Whether a regular expression matches anywhere in a string."""
    return _pattern(_str(pattern)).matches(_str(text))


def contains(text: Any, part: Any) -> bool:
    """Whether a string holds another."""
    return _str(part) in _str(text)


def starts_with(text: Any, part: Any) -> bool:
    """Whether a string begins with another."""
    return _str(text).startswith(_str(part))


def ends_with(text: Any, part: Any) -> bool:
    """Whether a string ends with another."""
    return _str(text).endswith(_str(part))


def span(first: Any, last: Any) -> list[int]:
    """Whole numbers from the first to the last."""
    low, high = _int(first), _int(last)
    if high - low >= _MOST:
        raise ValueError(f"range {low}..{high} is too long")
    return list(range(low, high + 1))


def add(left: Any, right: Any) -> Any:
    """Sum of numbers, or two strings as one."""
    if isinstance(left, str) and isinstance(right, str):
        if len(left) + len(right) > _MOST:
            raise ValueError("string is too long")
        return left + right
    return number(number(left) + number(right))


def subtract(left: Any, right: Any) -> int | float:
    """Difference of numbers."""
    return number(number(left) - number(right))


def multiply(left: Any, right: Any) -> int | float:
    """Product of numbers."""
    return number(number(left) * number(right))


def divide(left: Any, right: Any) -> float:
    """Quotient of numbers, never whole as with expr-lang; by zero it is infinite or no number."""
    dividend, divisor = number(left), number(right)
    if divisor == 0:
        return math.nan if dividend == 0 or math.isnan(dividend) else math.copysign(math.inf, dividend)
    return dividend / divisor


def remainder(left: Any, right: Any) -> int:
    """Remainder of whole numbers, with the sign of the first as in Go."""
    dividend, divisor = _int(left), _int(right)
    if divisor == 0:
        raise ValueError("remainder of a division by zero")
    rest = abs(dividend) % abs(divisor)
    return -rest if dividend < 0 else rest


def power(base: Any, exponent: Any) -> float:
    """Power of numbers, as a floating-point number."""
    try:
        return math.pow(number(base), number(exponent))
    except OverflowError:
        return math.inf


def negative(value: Any) -> int | float:
    """A number with the other sign."""
    return number(-number(value))


def member(items: Any, index: Any) -> Any:
    """An array's item, counted from 0, or from the end where negative."""
    if not isinstance(items, list | str):
        raise TypeError(f"{items!r} is not an array")
    place = _int(index)
    if not -len(items) <= place < len(items):
        raise ValueError(f"index {place} is out of range")
    return items[place]


def length(value: Any) -> int:
    """How many items or characters."""
    if not isinstance(value, list | str):
        raise TypeError(f"{value!r} has no length")
    return len(value)


def lower(value: Any) -> str:
    """A string in lower case."""
    return _str(value).lower()


def upper(value: Any) -> str:
    """A string in upper case."""
    return _str(value).upper()


def trim(value: Any) -> str:
    """A string without white space at its ends."""
    return _str(value).strip()


def split(value: Any, separator: Any) -> list[str]:
    """A string's parts."""
    between = _str(separator)
    return _str(value).split(between) if between else list(_str(value))


def integer(value: Any) -> int:
    """A whole number of a number or of its decimal text."""
    if isinstance(value, str):
        return int(number(int(value, 10)))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no whole number")
    return int(number(value))


def text(value: Any) -> str:
    """A string of a value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)
