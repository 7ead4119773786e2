"""The string formats that Kubernetes checks in the schemas of custom kinds; any other format is a comment."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date
from urllib.parse import urlsplit

_UUID = r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?%s-?%s-?[0-9a-f]{12}"
_ANY = "[0-9a-f]{4}"
_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:[.,]\d+)?(?:[Zz]|[+-]\d\d:?\d\d)?"
)
_PATTERNS = {
    "uuid": _UUID % (_ANY, _ANY),
    "uuid3": _UUID % ("3[0-9a-f]{3}", _ANY),
    "uuid4": _UUID % ("4[0-9a-f]{3}", "[89ab][0-9a-f]{3}"),
    "uuid5": _UUID % ("5[0-9a-f]{3}", "[89ab][0-9a-f]{3}"),
    "hostname": r"(?=.{1,255}$)[a-zA-Z0-9\u00a1-\uffff](?:[a-zA-Z0-9.\-\u00a1-\uffff]*[a-zA-Z0-9\u00a1-\uffff])?",
    "mac": r"(?i)[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}",
    "hexcolor": r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})",
    "rgbcolor": r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)",
    "ssn": r"\d{3}[- ]?\d{2}[- ]?\d{4}",
    "email": r"[^@\s<>]+@[^@\s<>]+",
    "bsonobjectid": r"[0-9a-fA-F]{24}",
    "k8s-short-name": r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?",
    "k8s-long-name": r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*",
    "duration": r"[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h|d|w)\s*)+|\d+",
}
_COMPILED: dict[str, re.Pattern[str]] = {}


def fits_format(name: str, value: str) -> bool:
    """Tell whether ``value`` has the format ``name``; true for formats that nobody checks."""
    if name in _CHECKS:
        return _CHECKS[name](value)
    if name in _PATTERNS:
        if name not in _COMPILED:
            _COMPILED[name] = re.compile(_PATTERNS[name])
        return _COMPILED[name].fullmatch(value) is not None
    return True


def _address(version: int) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            return ipaddress.ip_address(value).version == version
        except ValueError:
            return False

    return check


def _cidr(value: str) -> bool:
    try:
        ipaddress.ip_interface(value)
    except ValueError:
        return False
    return "/" in value


def _date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return len(value) == 10


def _date_time(value: str) -> bool:
    match = _DATE_TIME.fullmatch(value)
    return match is not None and _date(match[1])


def _byte(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _uri(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return bool(parts.scheme) or value.startswith("/")


_CHECKS: dict[str, Callable[[str], bool]] = {
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": _cidr,
    "date": _date,
    "date-time": _date_time,
    "datetime": _date_time,
    "byte": _byte,
    "uri": _uri,
}
