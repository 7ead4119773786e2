"""Resource quantities, exactly: ``100m``, ``1.5Gi``, ``2e3`` (k8s.io/apimachinery/pkg/api/resource).

A quantity is a rational number; nothing here goes through floating point. Kubernetes keeps at most nano precision and
rounds finer amounts up, and it writes a quantity back in the format family it was given in.
"""

from __future__ import annotations

import re
from fractions import Fraction

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_DECIMAL_SUFFIX = {power: suffix for suffix, power in _DECIMAL.items()}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY.items()} | {0: ""}
_FORM = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:([KMGTPE]i|[numkMGTPE]?)|[eE]([+-]?\d+))", re.ASCII)
_LONGEST = 64
"""Longer texts are refused before any arithmetic, so that no exponent makes numbers of a million digits."""


class QuantityError(ValueError):
    """Not a quantity."""


def parse(quantity: str | int | float) -> Fraction:
    """The exact value; QuantityError for anything that is not a quantity."""
    return _parse(str(quantity))[0]


def whole(quantity: str | int | float) -> int:
    """The value as a whole number, fractions rounded away from zero, as for bytes and counts."""
    return _away_from_zero(parse(quantity))


def milli(quantity: str | int | float) -> int:
    """Thousandths, finer fractions rounded away from zero, as for CPU."""
    return _away_from_zero(parse(quantity) * 1000)


def canonical(quantity: str | int | float) -> str:
    """The text Kubernetes stores: no fraction, the largest suffix that needs none, the family of the input kept.

    Binary input below 1024 in a unit falls back to smaller units; a binary amount that is not whole is written in
    decimal. Exponent input stays in exponents.
    """
    value, family = _parse(str(quantity))
    value = Fraction(_away_from_zero(value * 10**9), 10**9)
    if family == "binary" and (value.denominator != 1 or -1024 < value < 1024):
        family = "decimal"
    if family == "binary":
        return _in_units(value, 1024, _BINARY_SUFFIX, 0)
    if family == "exponent":
        return _in_exponents(value)
    return _in_units(value, 1000, _DECIMAL_SUFFIX, -3)


def _parse(text: str) -> tuple[Fraction, str]:
    found = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        raise QuantityError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    sign, digits, suffix, exponent = found.groups()
    number = Fraction(digits if not digits.endswith(".") else digits[:-1])
    if sign == "-":
        number = -number
    if exponent is not None:
        if abs(int(exponent)) > 1000:
            raise QuantityError(f"exponent out of range: {text!r}")
        return number * Fraction(10) ** int(exponent), "exponent"
    if suffix in _BINARY:
        return number * 1024 ** _BINARY[suffix], "binary"
    return number * Fraction(1000) ** _DECIMAL[suffix], "decimal"


def _away_from_zero(value: Fraction) -> int:
    return -(-value.numerator // value.denominator) if value >= 0 else value.numerator // value.denominator


def _in_units(value: Fraction, base: int, suffixes: dict[int, str], smallest: int) -> str:
    if value == 0:
        return "0"
    for power in sorted(suffixes, reverse=True):
        scaled = value / Fraction(base) ** power
        if scaled.denominator == 1:
            return f"{scaled}{suffixes[power]}"
    return f"{_away_from_zero(value / Fraction(base) ** smallest)}{suffixes[smallest]}"


def _in_exponents(value: Fraction) -> str:
    if value == 0:
        return "0"
    exponent = -9
    scaled = value * 10**9
    while (scaled / 1000).denominator == 1:
        scaled /= 1000
        exponent += 3
    return f"{scaled}e{exponent}" if exponent else f"{scaled}"
