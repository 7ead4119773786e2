"""Syntax of names, labels and the like, with the texts that Kubernetes gives for what is wrong with them.

Each function returns the texts of all findings, none for a good value.  Formats follow RFC 1123, RFC 1035 and the
"Object Names and IDs" and "Labels and Selectors" pages of the Kubernetes documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_LABEL_1123 = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_1123 = _LABEL_1123 + r"(\." + _LABEL_1123 + ")*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = "(" + _QUALIFIED + ")?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_WILDCARD = r"\*\." + _SUBDOMAIN_1123
_PERCENT = "[0-9]+%"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_HTTP_HEADER = "[-A-Za-z0-9]+"

_label_1123 = re.compile(_LABEL_1123).fullmatch
_subdomain_1123 = re.compile(_SUBDOMAIN_1123).fullmatch
_label_1035 = re.compile(_LABEL_1035).fullmatch
_qualified = re.compile(_QUALIFIED).fullmatch
_label_value = re.compile(_LABEL_VALUE).fullmatch
_config_key = re.compile(_CONFIG_KEY).fullmatch
_wildcard = re.compile(_WILDCARD).fullmatch
_percent = re.compile(_PERCENT).fullmatch
_http_header = re.compile(_HTTP_HEADER).fullmatch
_port_name_characters = re.compile("[-a-z0-9]+").fullmatch

_ENV_NAME_TEXT = "a valid environment variable name must consist only of printable ASCII characters other than '='"


def _regex_text(text: str, pattern: str, *examples: str) -> str:
    shown = ",  or ".join(f"'{example}'" for example in examples)
    return f"{text} (e.g. {shown}, regex used for validation is '{pattern}')"


_LABEL_1123_TEXT = _regex_text(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character",
    _LABEL_1123,
    "my-name",
    "123-abc",
)
_SUBDOMAIN_TEXT = _regex_text(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _SUBDOMAIN_1123,
    "example.com",
)
_LABEL_1035_TEXT = _regex_text(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)
_QUALIFIED_TEXT = _regex_text(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    _QUALIFIED,
    "MyName",
    "my.name",
    "123-abc",
)
_LABEL_VALUE_TEXT = _regex_text(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _LABEL_VALUE,
    "MyValue",
    "my_value",
    "12345",
)
_CONFIG_KEY_TEXT = _regex_text(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    _CONFIG_KEY,
    "key.name",
    "KEY_NAME",
    "key-name",
)
_WILDCARD_TEXT = _regex_text(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
    _WILDCARD,
    "*.example.com",
)
_PERCENT_TEXT = _regex_text(
    "a valid percent string must be a numeric string followed by an ending '%'", _PERCENT, "1%", "93%"
)
_HTTP_HEADER_TEXT = _regex_text(
    "a valid HTTP header must consist of alphanumeric characters or '-'", _HTTP_HEADER, "X-Header-Name"
)


def max_length(limit: int, unit: str = "characters") -> str:
    """Text about a value that is too long."""
    return f"must be no more than {limit} {unit}"


def in_range(low: int, high: int) -> str:
    """Text about a number outside of a range."""
    return f"must be between {low} and {high}, inclusive"


def _bounded(value: str, longest: int, fits: Callable[[str], object], text: str, unit: str = "characters") -> list[str]:
    """Findings about a value of limited length and a certain form."""
    findings = []
    if len(value) > longest:
        findings.append(max_length(longest, unit))
    if not fits(value):
        findings.append(text)
    return findings


def _dots(value: str) -> list[str]:
    """Findings about values that would mean another file, where they become names of files."""
    if value in (".", ".."):
        return [f"must not be '{value}'"]
    return ["must not start with '..'"] if value.startswith("..") else []


@lru_cache(maxsize=4096)
def dns_label(value: str) -> list[str]:
    """RFC 1123 label."""
    text = "must not contain dots" if _subdomain_1123(value) else _LABEL_1123_TEXT
    return _bounded(value, 63, _label_1123, text)


@lru_cache(maxsize=4096)
def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain."""
    return _bounded(value, 253, _subdomain_1123, _SUBDOMAIN_TEXT)


def dns_1035_label(value: str) -> list[str]:
    """RFC 1035 label."""
    return _bounded(value, 63, _label_1035, _LABEL_1035_TEXT)


def wildcard_subdomain(value: str) -> list[str]:
    """`*.` and an RFC 1123 subdomain."""
    return _bounded(value, 253, _wildcard, _WILDCARD_TEXT)


@lru_cache(maxsize=4096)
def qualified_name(value: str) -> list[str]:
    """A label or annotation key: an optional DNS prefix, a slash, and a name."""
    findings: list[str] = []
    parts = value.split("/")
    if len(parts) > 2:
        text = "a qualified name " + _QUALIFIED_TEXT
        return [text + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    name = parts[-1]
    if len(parts) == 2:
        if not parts[0]:
            findings.append("prefix part must be non-empty")
        else:
            findings.extend("prefix part " + text for text in dns_subdomain(parts[0]))
    if not name:
        findings.append("name part must be non-empty")
    elif len(name) > 63:
        findings.append("name part " + max_length(63, "bytes"))
    if not _qualified(name):
        findings.append("name part " + _QUALIFIED_TEXT)
    return findings


@lru_cache(maxsize=4096)
def label_value(value: str) -> list[str]:
    """The value of a label."""
    return _bounded(value, 63, _label_value, _LABEL_VALUE_TEXT, "bytes")


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret."""
    return _bounded(value, 253, _config_key, _CONFIG_KEY_TEXT) + _dots(value)


def env_name(value: str) -> list[str]:
    """A name of an environment variable, in the relaxed form: printable ASCII without the equals sign."""
    findings = []
    if not value or not all(" " <= char <= "~" and char != "=" for char in value):
        findings.append(_ENV_NAME_TEXT)
    return findings + _dots(value)


def port_name(value: str) -> list[str]:
    """A named port (RFC 6335 service name)."""
    findings = []
    if len(value) > 15:
        findings.append(max_length(15))
    if not _port_name_characters(value):
        findings.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= char <= "z" for char in value):
        findings.append("must contain at least one letter (a-z)")
    if "--" in value:
        findings.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        findings.append("must not begin or end with a hyphen")
    return findings


def port_number(value: int) -> list[str]:
    """A port from 1 to 65535."""
    return [] if 1 <= value <= 65535 else [in_range(1, 65535)]


def percent(value: str) -> list[str]:
    """A number and a percent sign."""
    return [] if _percent(value) else [_PERCENT_TEXT]


def http_header(value: str) -> list[str]:
    """A name of an HTTP header."""
    return [] if _http_header(value) else [_HTTP_HEADER_TEXT]


def path_segment(value: str) -> list[str]:
    """What can stand as one segment of a URL path."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in value]


# --- as names of objects ----------------------------------------------------------------------------------------------


def _without_trailing_dash(value: str) -> str:
    """A prefix may end in a dash, since letters follow."""
    return value[:-1] + "a" if len(value) > 1 and value.endswith("-") else value


def name_is_subdomain(value: str, prefix: bool) -> list[str]:
    """The object's name is an RFC 1123 subdomain."""
    return dns_subdomain(_without_trailing_dash(value) if prefix else value)


def name_is_label(value: str, prefix: bool) -> list[str]:
    """The object's name is an RFC 1123 label."""
    return dns_label(_without_trailing_dash(value) if prefix else value)


def name_is_segment(value: str, prefix: bool) -> list[str]:
    """The object's name is anything that fits into a URL path."""
    return [f"may not contain '{char}'" for char in "/%" if char in value] if prefix else path_segment(value)
