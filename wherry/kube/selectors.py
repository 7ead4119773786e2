"""Label selectors (string grammar and ``LabelSelector`` objects) and field selectors: parse once, match often.

The grammar is that of ``k8s.io/apimachinery/pkg/labels``: ``a=b,c!=d,e in (f,g),h notin (i),j,!k,l>3,m<4``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wherry.kube.objects import LabelSelector, LabelSelectorRequirement


class SelectorError(ValueError):
    """A selector that cannot be read; the message says why."""


_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_BAD_KEY = (
    "<nil>: Invalid value: {}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_BAD_VALUE = (
    "values[0][{}]: Invalid value: {}: a valid label must be an empty string or consist of alphanumeric characters, "
    "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
    "'12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_SYMBOLS = frozenset({"", "==", "!=", "=", "(", ")", ",", "!", "<", ">"})
_TOKEN = re.compile(r"\s*(==|!=|[=(),!<>]|[^\s=(),!<>]+|$)")


def valid_label_key(key: str) -> bool:
    """Whether a label key is a qualified name: ``[dns-prefix/]name``."""
    prefix, slash, name = key.rpartition("/")
    return bool(_NAME.fullmatch(name)) and (not slash or bool(_PREFIX.fullmatch(prefix)))


def valid_label_value(value: str) -> bool:
    """Whether a label value is empty or a name of at most 63 characters."""
    return not value or bool(_NAME.fullmatch(value))


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement: operator is one of ``= != in notin exists !exists > <``."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels satisfy it; ``!=`` and ``notin`` also hold where the key is missing."""
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!exists":
                return value is None
        if value is None or not re.fullmatch(r"[+-]?\d+", value):
            return False
        return int(value) > int(self.values[0]) if self.operator == ">" else int(value) < int(self.values[0])

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!exists":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
        return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements that must all hold; without any everything matches, except for :data:`NOTHING`."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels satisfy all requirements."""
        return not self.nothing and all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!exists"}


def from_labels(labels: Mapping[str, str]) -> Selector:
    """The selector of a plain label map, as services and replication use it."""
    return Selector(tuple(Requirement(key, "=", (value,)) for key, value in sorted(labels.items())))


def from_object(selector: LabelSelector | None) -> Selector:
    """The selector of a ``LabelSelector``: a missing one selects nothing, an empty one everything.

    Raises SelectorError for an unknown operator or values that do not fit it.
    """
    if selector is None:
        return NOTHING
    return Selector(
        from_labels(selector.match_labels).requirements + tuple(map(_from_expression, selector.match_expressions))
    )


def _from_expression(expression: LabelSelectorRequirement) -> Requirement:
    operator = _OPERATORS.get(expression.operator)
    if operator is None:
        raise SelectorError(f"{expression.operator!r} is not a valid label selector operator")
    if (operator in ("in", "notin")) != bool(expression.values):
        raise SelectorError(f"wrong number of values for operator {expression.operator!r}")
    return Requirement(expression.key, operator, expression.values)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = [token for token in _TOKEN.findall(text) if token]
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def parse(self) -> Iterable[Requirement]:
        while self.peek():
            try:
                yield self.requirement()
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from error
            separator = self.take()
            if separator not in ("", ","):
                raise SelectorError(f"found '{separator}', expected: ',' or 'end of string'")
            if separator and self.peek() in _SYMBOLS - {"!"}:
                raise SelectorError(f"found '{self.peek()}', expected: identifier after ','")

    def identifier(self) -> str:
        token = self.take()
        if token in _SYMBOLS:
            raise SelectorError(f"found '{token}', expected: identifier")
        return token

    def requirement(self) -> Requirement:
        negated = self.peek() == "!"
        if negated:
            self.take()
        key = self.identifier()
        if not valid_label_key(key):
            raise SelectorError(_BAD_KEY.format(json.dumps(key)))
        if negated or self.peek() in ("", ","):
            return Requirement(key, "!exists" if negated else "exists")
        match operator := self.take():
            case "in" | "notin":
                return Requirement(key, operator, self.values(key))
            case "=" | "==" | "!=":
                return Requirement(key, "!=" if operator == "!=" else "=", (self.value(key),))
            case ">" | "<":
                number = self.identifier()
                if not re.fullmatch(r"[+-]?\d+", number):
                    raise SelectorError(f"for '{operator}' the value must be an integer, not {number!r}")
                return Requirement(key, operator, (number,))
        raise SelectorError(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def value(self, key: str) -> str:
        value = self.identifier() if self.peek() not in ("", ",", ")") else ""
        if not valid_label_value(value):
            raise SelectorError(_BAD_VALUE.format(key, json.dumps(value)))
        return value

    def values(self, key: str) -> tuple[str, ...]:
        if (opening := self.take()) != "(":
            raise SelectorError(f"found '{opening}' expected: '('")
        values: list[str] = []
        while True:
            values.append(self.value(key))
            match token := self.take():
                case ")":
                    return tuple(sorted(set(values)))
                case ",":
                    continue
            raise SelectorError(f"found '{token}', expected: ',' or ')'")


def parse(text: str) -> Selector:
    """Read a label selector; SelectorError when it is malformed. An empty text selects everything."""
    return Selector(tuple(_Parser(text).parse()))


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Terms ``(field, value, wanted equal)`` that must all hold."""

    terms: tuple[tuple[str, str, bool], ...] = ()

    def matches(self, fields: Mapping[str, str] | Callable[[str], str]) -> bool:
        """Whether the fields satisfy all terms; ``fields`` maps a field path to its text, missing ones are empty."""
        look_up = fields if callable(fields) else lambda path: fields.get(path, "")
        return all((look_up(path) == value) is wanted for path, value, wanted in self.terms)

    def required(self, path: str) -> str | None:
        """The value a field must have, if the selector fixes it."""
        return next((value for name, value, wanted in self.terms if wanted and name == path), None)

    def __str__(self) -> str:
        return ",".join(f"{path}{'=' if wanted else '!='}{_escape(value)}" for path, value, wanted in self.terms)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


_UNESCAPE = re.compile(r"\\([\\,=])")
_FIELD_TERM = re.compile(r"((?:\\.|[^\\,])*)(,|$)", re.DOTALL)


def parse_fields(text: str) -> FieldSelector:
    r"""Read a field selector: ``a=b,c!=d``; ``\,``, ``\=`` and ``\\`` stand for themselves in values.

    Raises SelectorError when it is malformed.
    """
    terms = []
    position = 0
    while position < len(text):
        found = _FIELD_TERM.match(text, position)
        if found is None:
            raise SelectorError(f"invalid field selector {text!r}: ends in a lone backslash")
        position = found.end()
        if term := found.group(1).strip():
            terms.append(_field_term(term))
    return FieldSelector(tuple(terms))


def _field_term(term: str) -> tuple[str, str, bool]:
    found = re.match(r"([^=!]*)(!=|==|=)((?:\\.|[^\\=])*)$", term, re.DOTALL)
    if found is None or not found.group(1):
        raise SelectorError(f"invalid field selector: {term!r}; can't understand it")
    return found.group(1), _UNESCAPE.sub(r"\1", found.group(3)), found.group(2) != "!="


def field_of(obj: Any, path: str) -> str:
    """The text at a dotted JSON path of a plain dictionary, empty where there is nothing."""
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj).lower() if isinstance(obj, bool) else str(obj)
