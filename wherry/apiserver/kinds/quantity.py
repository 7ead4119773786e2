"""Resource quantities: exact values and the canonical form in which Kubernetes stores them.

Grammar and canonical form follow the API reference of `Quantity`: no precision is lost, no fraction is left, and the
exponent (or suffix) is the largest that allows both.  Values are exact integers of nano-units.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

NANO = 10**9

_PATTERN = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][+-]?\d+)")
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_NAMES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL_NAMES = {power: name for name, power in _DECIMAL.items()}


class BadQuantity(ValueError):
    """The text is no quantity."""


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[int, str]:
    """(nano-units rounded away from zero, style: "binary", "exponent" or "decimal")."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise BadQuantity(text)
    sign, digits, suffix = match.groups()
    whole, _, fraction = digits.partition(".")
    number = int((whole + fraction) or "0")
    numerator, denominator = number * NANO, 10 ** len(fraction)
    if suffix in _BINARY:
        numerator <<= _BINARY[suffix]
        style = "binary"
    else:
        style = "decimal"
        if suffix in _DECIMAL:
            power = _DECIMAL[suffix]
        else:
            power, style = int(suffix[1:]), "exponent"
        if power >= 0:
            numerator *= 10**power
        else:
            denominator *= 10**-power
    nano = -(-numerator // denominator)
    return (-nano if sign == "-" else nano), style


def parse(value: Any) -> int:
    """The exact value in nano-units; numbers are accepted as well as text.  Raises BadQuantity."""
    return _parse(str(value))[0]


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return _write(*_parse(text))


def _write(nano: int, style: str) -> str:
    if nano == 0:
        return "0"
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    if style == "binary" and nano % NANO == 0 and nano // NANO >= 1024:
        value, power = nano // NANO, 0
        while value % 1024 == 0 and power < 6:
            value //= 1024
            power += 1
        return f"{sign}{value}{_BINARY_NAMES[power]}"
    value, exponent = nano, -9
    while value % 1000 == 0 and exponent < 18:
        value //= 1000
        exponent += 3
    if style == "exponent" and exponent != 0:
        return f"{sign}{value}e{exponent}"
    return f"{sign}{value}{_DECIMAL_NAMES[exponent]}"


def canonical(value: Any) -> str:
    """The stored form: `0.5` is `500m`, `1024Mi` is `1Gi`, `1000m` is `1`.  Raises BadQuantity."""
    return _canonical(str(value))


def add(first: Any, second: Any, *, times: int = 1) -> str:
    """`first` plus `second` (as often as `times` says, -1 to subtract it), in the style of the one that is not zero.

    Raises BadQuantity.
    """
    nano, style = _parse(str(first))
    more, other = _parse(str(second))
    return _write(nano + times * more, style if nano else other)
