"""Values that Go types read and write in their own way: times, base64 bytes, quantities, integers or strings.

Each function takes decoded JSON, returns the value in the form in which the API server writes it, and raises
DecodeError with Go's words.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime, timedelta
from typing import Any

from wherry.apiserver.kinds.quantity import BadQuantity, canonical
from wherry.apiserver.schema.gojson import Number, go_quoted

_QUANTITY = re.compile(r"[+-]?[0-9.]+[eEinumkKMGTP]*[-+]?[0-9]*")
_QUANTITY_FORM = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class DecodeError(ValueError):
    """A value cannot be held by its Go type; the message is what Go's decoder says."""


def json_kind(value: Any) -> str:
    """Name the kind of a JSON value as Go does."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def literal(value: Any) -> str:
    """Write a number as it stood in the body."""
    return value.literal if isinstance(value, Number) else repr(value)


def quantity(value: Any) -> str:
    """Read a resource quantity, text or number, into its canonical text."""
    text = value.strip() if isinstance(value, str) else literal(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not _QUANTITY.fullmatch(text):
        raise DecodeError(_QUANTITY_FORM)
    try:
        return canonical(text)
    except BadQuantity:
        message = _QUANTITY_FORM if text.count(".") > 1 else "unable to parse quantity's suffix"
        raise DecodeError(message) from None


def int_or_string(value: Any) -> int | str:
    """Read an IntOrString."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DecodeError(f"json: cannot unmarshal {json_kind(value)} into Go value of type int32")
    if isinstance(value, float) or not -(2**31) <= value < 2**31:
        raise DecodeError(f"json: cannot unmarshal number {literal(value)} into Go value of type int32")
    return value


def base64_bytes(value: str) -> str:
    """Check base64 text and write it without line breaks."""
    offset = _corrupt_base64(value)
    if offset is not None:
        raise DecodeError(f"illegal base64 data at input byte {offset}")
    return base64.b64encode(base64.b64decode(value)).decode()


_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _corrupt_base64(text: str) -> int | None:
    """Find where Go's strict-padding decoder stops, None where it does not."""
    data = text.encode()
    at, size, start = 0, len(data), 0
    filled = 0
    while at < size:
        character = chr(data[at])
        at += 1
        if character in "\r\n":
            continue
        if character in _BASE64:
            if filled == 0:
                start = at - 1
            filled = (filled + 1) % 4
            continue
        if character != "=" or filled < 2:
            return at - 1
        rest = data[at:].translate(None, b"\r\n")
        if filled == 2:
            if not rest:
                return size
            if rest[:1] != b"=":
                return at - 1
            rest = rest[1:]
        return size - len(rest) if rest else None
    return start if filled else None


def time(value: Any) -> str:
    """Read a Time: RFC 3339 with or without a fraction, written in UTC to the second."""
    return _instant(value, "2006-01-02T15:04:05Z07:00").isoformat(timespec="seconds") + "Z"


def micro_time(value: Any) -> str:
    """Read a MicroTime: RFC 3339 with exactly six digits of fraction, written in UTC."""
    return _instant(value, "2006-01-02T15:04:05.000000Z07:00").isoformat(timespec="microseconds") + "Z"


_STEPS = (
    ("2006", re.compile(r"\d{4}")),
    ("-", re.compile("-")),
    ("01", re.compile(r"\d\d")),
    ("-", re.compile("-")),
    ("02", re.compile(r"\d\d")),
    ("T", re.compile("T")),
    ("15", re.compile(r"\d\d?")),
    (":", re.compile(":")),
    ("04", re.compile(r"\d\d")),
    (":", re.compile(":")),
    ("05", re.compile(r"\d\d")),
)
_OPTIONAL_FRACTION = re.compile(r"(?:[.,]\d+)?")
_SIX_DIGITS = re.compile(r"[.,]\d{6}")
_ZONE = re.compile(r"Z|[+-]\d\d:\d\d")


def _instant(value: Any, layout: str) -> datetime:
    """Parse ``value`` into naive UTC the way Go follows ``layout``."""
    if not isinstance(value, str):
        raise DecodeError(f"json: cannot unmarshal {json_kind(value)} into Go value of type string")
    fraction = (".000000", _SIX_DIGITS) if ".000000" in layout else ("", _OPTIONAL_FRACTION)
    at = 0
    parts: list[str] = []
    for name, pattern in (*_STEPS, fraction, ("Z07:00", _ZONE)):
        match = pattern.match(value, at)
        if match is None:
            detail = f"cannot parse {go_quoted(value[at:])} as {go_quoted(name)}"
            raise DecodeError(f"parsing time {go_quoted(value)} as {go_quoted(layout)}: {detail}")
        parts.append(match[0])
        at = match.end()
    if at < len(value):
        raise DecodeError(f"parsing time {go_quoted(value)}: extra text: {go_quoted(value[at:])}")
    year, month, day, hour, minute, second = (int(parts[i]) for i in (0, 2, 4, 6, 8, 10))
    ranges = (("month", 1 <= month <= 12), ("hour", hour < 24), ("minute", minute < 60), ("second", second < 60))
    for name, fits in ranges:
        if not fits:
            raise DecodeError(f"parsing time {go_quoted(value)}: {name} out of range")
    zone = parts[-1]
    offset = timedelta()
    if zone != "Z":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])) * (-1 if zone[0] == "-" else 1)
    micro = int((parts[11][1:] + "000000")[:6])
    try:
        return datetime(year, month, day, hour, minute, second, micro) - offset
    except (ValueError, OverflowError):
        raise DecodeError(f"parsing time {go_quoted(value)}: day out of range") from None
