"""YAML as Kubernetes' own tools read it.

Go's YAML reader resolves plain scalars differently from PyYAML: ``yes``, ``on`` and ``y`` are true (also as a key),
``010`` and ``0o10`` are eight, while ``12:30:45`` and ``2026-11-01`` stay text. Manifests and configuration files are
written for that reader, so this module gives the same values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml


class YamlError(ValueError):
    """The text is not YAML; the message names line and column."""


_BASE: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMP_BASE: type = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_TRUE = ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")
_FALSE = ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")
_INT = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|(?:0|[1-9][0-9_]*))")
_STR = "tag:yaml.org,2002:str"
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class _Loader(_BASE):  # type: ignore[misc]
    """PyYAML's safe loader with Go's table of plain scalars."""


class _Dumper(_DUMP_BASE):  # type: ignore[misc]
    """PyYAML's safe dumper that also quotes what only Go's reader would take for something else than text."""


_Dumper.yaml_implicit_resolvers = {k: list(v) for k, v in _DUMP_BASE.yaml_implicit_resolvers.items()}  # type: ignore[attr-defined]


def _text(dumper: Any, value: str) -> Any:
    """Text as Go's writer shows it: in double quotes what would read as another type, lines as a block."""
    if "\n" in value:
        return dumper.represent_scalar(_STR, value, style="|")
    plain = dumper.resolve(yaml.ScalarNode, value, (True, False)) == _STR
    return dumper.represent_scalar(_STR, value, style=None if plain else '"')


_Dumper.add_representer(str, _text)

# PyYAML keeps its resolvers in class attributes that subclasses share until they are replaced.
_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = dict(_BASE.yaml_constructors)  # type: ignore[attr-defined]


def _resolver(tag: str, pattern: re.Pattern[str], first: str) -> None:
    for reader_or_writer in (_Loader, _Dumper):
        reader_or_writer.add_implicit_resolver(tag, re.compile(f"^(?:{pattern.pattern})$"), list(first))


_resolver("tag:yaml.org,2002:bool", re.compile("|".join(_TRUE + _FALSE)), "yYnNtTfFoO")
_resolver("tag:yaml.org,2002:int", _INT, "-+0123456789")
_resolver("tag:yaml.org,2002:float", _FLOAT, "-+0123456789.")
_resolver("tag:yaml.org,2002:merge", re.compile("<<"), "<")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])


def _bool(_loader: Any, node: Any) -> bool:
    return node.value in _TRUE


def _int(_loader: Any, node: Any) -> int:
    text = node.value.replace("_", "")
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if digits.startswith("0b"):
        return sign * int(digits[2:], 2)
    if digits.startswith("0x"):
        return sign * int(digits[2:], 16)
    if digits.startswith("0o"):
        return sign * int(digits[2:], 8)
    if len(digits) > 1 and digits.startswith("0"):
        return sign * int(digits, 8)
    return sign * int(digits)


def _float(_loader: Any, node: Any) -> float | int:
    text = node.value.replace("_", "").lower()
    if text.lstrip("+-") == ".inf":
        return float("-inf" if text.startswith("-") else "inf")
    if text == ".nan":
        return float("nan")
    value = float(text)
    # Go marshals 1e3 to JSON as 1000; an integral float would otherwise become 1000.0 and fail integer fields.
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


_Loader.add_constructor("tag:yaml.org,2002:bool", _bool)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def _plain(value: Any) -> Any:
    """Make mapping keys text, as JSON needs them: ``true`` for a true key, ``8`` for an eight."""
    if isinstance(value, dict):
        return {_key(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)


def load_all(text: str | bytes) -> Iterator[Any]:
    """Yield each document of ``text`` as plain dicts, lists and scalars; an empty document yields None.

    Raises YamlError with line and column where the text cannot be read.
    """
    try:
        for document in yaml.load_all(text, Loader=_Loader):
            yield _plain(document)
    except yaml.YAMLError as error:
        raise YamlError(_explain(error)) from error


def load(text: str | bytes) -> Any:
    """Read the only document of ``text``; None where it is empty. Raises YamlError, also for several documents."""
    documents = list(load_all(text))
    if len(documents) > 1:
        raise YamlError(f"expected one YAML document, found {len(documents)}")
    return documents[0] if documents else None


def dump(value: Any) -> str:
    """Write ``value`` as one block-style YAML document, keys in their own order."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False))


def _explain(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark is not None else str(problem)
