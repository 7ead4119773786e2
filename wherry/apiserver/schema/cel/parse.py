"""The grammar of CEL (the language definition's "Syntax"): text to a tree of tuples.

A node is ``(kind, ...)``: ``("literal", value)``, ``("name", name)``, ``("select", operand, name)``,
``("index", operand, expression)``, ``("call", name, target or None, arguments)``, ``("list", items)``,
``("map", pairs)``. Operators are calls (``_&&_``, ``_+_``, ``!_``).
"""

from __future__ import annotations

import re
from typing import Any

Node = tuple[Any, ...]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<double>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
    | (?P<int>0x[0-9a-fA-F]+|\d+)(?P<unsigned>[uU]?)
    | (?P<string>[rR]?(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))
    | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    | (?P<op>\|\||&&|<=|>=|==|!=|[-+*/%!<>?:.,()\[\]{}])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_LEVELS = (("||",), ("&&",), ("<", "<=", ">=", ">", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))
_LITERALS = {"true": True, "false": False, "null": None}
MAX_DEPTH = 40
MAX_TOKENS = 400
"""Bounds on an expression, so that neither compiling nor evaluating it runs out of stack."""


class Unsupported(ValueError):
    """The text is no CEL, or CEL that is not known here."""


def parse(text: str) -> Node:
    """Parse a whole expression. Raises Unsupported."""
    parser = _Parser(_tokens(text))
    tree = parser.expression()
    if parser.token != ("end", ""):
        raise Unsupported(f"unexpected {parser.token[1]!r}")
    return tree


def _tokens(text: str) -> list[tuple[str, Any]]:
    text = re.sub(r"(?m)^\s*//.*$", "", text).strip()
    tokens: list[tuple[str, Any]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise Unsupported(f"cannot read {text[at : at + 10]!r}")
        kind = match.lastgroup if match.lastgroup != "unsigned" else "int"
        value: Any = match[kind] if kind is not None else ""
        if kind == "int":
            value = int(value, 0) if value.startswith("0x") else int(value)
        elif kind == "double":
            value = float(value)
        elif kind == "string":
            value = _text(value)
        tokens.append((kind or "", value))
        at = match.end()
        if len(tokens) > MAX_TOKENS:
            raise Unsupported("too long")
    return [*tokens, ("end", "")]


def _text(token: str) -> str:
    raw = token[0] in "rR"
    token = token[1:] if raw else token
    quotes = 3 if len(token) >= 6 and token[:3] in ("'''", '"""') else 1
    body = token[quotes:-quotes]
    return body if raw else _ESCAPE.sub(_unescaped, body)


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xuU" and len(code) > 1:
        return chr(int(code[1:], 16))
    if len(code) == 3:
        return chr(int(code, 8))
    return _SIMPLE.get(code, code)


class _Parser:
    def __init__(self, tokens: list[tuple[str, Any]]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    @property
    def token(self) -> tuple[str, Any]:
        return self._tokens[self._at]

    def take(self) -> tuple[str, Any]:
        token = self.token
        self._at += 1
        return token

    def accept(self, text: str) -> bool:
        if self.token == ("op", text):
            self._at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise Unsupported(f"expected {text!r}, found {self.token[1]!r}")

    def expression(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unsupported("nested too deeply")
        condition = self.binary(0)
        if self.accept("?"):
            then = self.binary(0)
            self.expect(":")
            condition = ("call", "_?_:_", None, (condition, then, self.expression()))
        self._depth -= 1
        return condition

    def binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.token[0] in ("op", "name") and self.token[1] in _LEVELS[level]:
            operator = self.take()[1]
            left = ("call", f"_{operator}_", None, (left, self.binary(level + 1)))
        return left

    def unary(self) -> Node:
        operators = []
        while self.token in (("op", "!"), ("op", "-")):
            operators.append(self.take()[1])
        node = self.member()
        for operator in reversed(operators):
            node = ("call", f"{operator}_", None, (node,))
        return node

    def member(self) -> Node:
        node = self.primary()
        while True:
            if self.accept("."):
                kind, name = self.take()
                if kind != "name":
                    raise Unsupported(f"expected a field, found {name!r}")
                node = ("call", name, node, self.items(")")) if self.accept("(") else ("select", node, name)
            elif self.accept("["):
                node = ("index", node, self.expression())
                self.expect("]")
            else:
                return node

    def primary(self) -> Node:
        kind, value = self.take()
        if kind in ("int", "double", "string"):
            return ("literal", value)
        if kind == "name":
            if value in _LITERALS:
                return ("literal", _LITERALS[value])
            return ("call", value, None, self.items(")")) if self.accept("(") else ("name", value)
        if (kind, value) == ("op", "("):
            node = self.expression()
            self.expect(")")
            return node
        if (kind, value) == ("op", "["):
            return ("list", self.items("]"))
        if (kind, value) == ("op", "{"):
            return ("map", self.pairs())
        raise Unsupported(f"unexpected {value!r}")

    def items(self, end: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self.accept(end):
            if found:
                self.expect(",")
                if self.accept(end):
                    break
            found.append(self.expression())
        return tuple(found)

    def pairs(self) -> tuple[tuple[Node, Node], ...]:
        found: list[tuple[Node, Node]] = []
        while not self.accept("}"):
            if found:
                self.expect(",")
            key = self.expression()
            self.expect(":")
            found.append((key, self.expression()))
        return tuple(found)
