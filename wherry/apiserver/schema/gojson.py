"""JSON as Go's decoder reads it: number literals kept, doubled keys noticed, errors in Go's words.

Python's own parser does the work; where it refuses a text, a small copy of the decoder's state machine (RFC 8259, the
states are those of Go's encoding/json) finds what Go would have said.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

MAX_DEPTH = 200
"""Levels of objects and lists; the deepest honest document (a JSON schema in a definition) stays far below."""


class JsonError(ValueError):
    """The text is not JSON; the message is Go's."""


class Number(float):
    """A number written with fraction or exponent, with its literal; Go refuses it for integer fields."""

    literal: str

    def __new__(cls, literal: str) -> Number:
        """Read ``literal``."""
        number = super().__new__(cls, literal)
        number.literal = literal
        return number


class Doubled(dict[str, Any]):
    """An object that had a key more than once (the last value won); ``keys_again`` lists them in order."""

    keys_again: list[str]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    doubled = Doubled(plain)
    seen: set[str] = set()
    doubled.keys_again = []
    for key, _ in pairs:
        if key in seen:
            doubled.keys_again.append(key)
        seen.add(key)
    return doubled


def _constant(name: str) -> Any:
    raise ValueError(name)


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_float=Number, parse_constant=_constant)


def loads(body: bytes) -> Any:
    """Read ``body``; raises JsonError.

    Bytes that are not UTF-8 and lone surrogates become U+FFFD, as in Go.
    """
    text = body.decode("utf-8", "replace")
    try:
        value = _decoder.decode(text)
    except RecursionError:
        raise JsonError("exceeded max depth") from None
    except ValueError as error:
        raise JsonError(explain(body) or str(error)) from None
    if text.count("{") + text.count("[") > MAX_DEPTH:
        check_depth(value)
    return _mended(value) if "\\ud" in text or "\\uD" in text else value


def check_depth(value: Any) -> None:
    """Raise JsonError where ``value`` is nested more deeply than what walks it can bear."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise JsonError("exceeded max depth")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = below


def plain(value: Any) -> Any:
    """Copy ``value`` without the marks of this module: plain dicts, lists, floats."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return float(value) if isinstance(value, Number) else value


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        for key in list(value):
            item = _mended(value.pop(key))
            value[_mended(key)] = item
    return value


_SPACE = frozenset(b" \t\r\n")
_DIGITS = frozenset(b"0123456789")
_ESCAPED = frozenset(b'bfnrt\\/"u')
_HEX = frozenset(b"0123456789abcdefABCDEF")
_END = "unexpected end of JSON input"


def explain(body: bytes) -> str:
    """Say why ``body`` is not JSON, as Go does; "" where nothing is wrong with it."""
    scanner = _Scanner(body)
    try:
        scanner.value()
        scanner.space()
        if scanner.at < len(body):
            scanner.fail("after top-level value")
    except JsonError as error:
        return str(error)
    except RecursionError:
        return "exceeded max depth"
    return ""


class _Scanner:
    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def fail(self, context: str) -> None:
        if self.at >= len(self.body):
            raise JsonError(_END)
        raise JsonError(f"invalid character {quoted_character(self.body[self.at])} {context}")

    def peek(self) -> int:
        return self.body[self.at] if self.at < len(self.body) else -1

    def space(self) -> None:
        while self.at < len(self.body) and self.body[self.at] in _SPACE:
            self.at += 1

    def expect(self, characters: Collection[int], context: str) -> int:
        character = self.peek()
        if character not in characters:
            self.fail(context)
        self.at += 1
        return character

    def value(self) -> None:
        self.space()
        character = self.peek()
        if character == ord("{"):
            self.members()
        elif character == ord("["):
            self.elements()
        elif character == ord('"'):
            self.string()
        elif character == ord("-") or character in _DIGITS:
            self.number()
        else:
            for literal in (b"true", b"false", b"null"):
                if character == literal[0]:
                    self.literal(literal)
                    return
            self.fail("looking for beginning of value")

    def members(self) -> None:
        self.at += 1
        self.space()
        if self.peek() == ord("}"):
            self.at += 1
            return
        while True:
            self.space()
            if self.peek() != ord('"'):
                self.fail("looking for beginning of object key string")
            self.string()
            self.space()
            self.expect((ord(":"),), "after object key")
            self.value()
            self.space()
            if self.expect(frozenset(b",}"), "after object key:value pair") == ord("}"):
                return

    def elements(self) -> None:
        self.at += 1
        self.space()
        if self.peek() == ord("]"):
            self.at += 1
            return
        while True:
            self.value()
            self.space()
            if self.expect(frozenset(b",]"), "after array element") == ord("]"):
                return

    def string(self) -> None:
        self.at += 1
        while True:
            character = self.peek()
            if character < 0x20:
                self.fail("in string literal")
            self.at += 1
            if character == ord('"'):
                return
            if character == ord("\\") and self.expect(_ESCAPED, "in string escape code") == ord("u"):
                for _ in range(4):
                    self.expect(_HEX, "in \\u hexadecimal character escape")

    def number(self) -> None:
        if self.peek() == ord("-"):
            self.at += 1
            if self.peek() not in _DIGITS:
                self.fail("in numeric literal")
        if self.peek() == ord("0"):
            self.at += 1
        else:
            self.digits()
        if self.peek() == ord("."):
            self.at += 1
            self.expect(_DIGITS, "after decimal point in numeric literal")
            self.digits()
        if self.peek() in (ord("e"), ord("E")):
            self.at += 1
            if self.peek() in (ord("+"), ord("-")):
                self.at += 1
            self.expect(_DIGITS, "in exponent of numeric literal")
            self.digits()

    def digits(self) -> None:
        while self.peek() in _DIGITS:
            self.at += 1

    def literal(self, literal: bytes) -> None:
        for expected in literal:
            self.expect((expected,), f"in literal {literal.decode()} (expecting {quoted_character(expected)})")


def quoted_character(character: int) -> str:
    """Quote one byte as Go's scanner does."""
    if character == ord("'"):
        return "'\\''"
    if character == ord('"'):
        return "'\"'"
    return f"'{go_quoted(chr(character))[1:-1]}'"


_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def go_quoted(text: str) -> str:
    """Quote ``text`` as Go's ``%q`` does."""
    return '"' + "".join(_quoted(text)) + '"'


def _quoted(text: str) -> Iterator[str]:
    for character in text:
        if character in _ESCAPES:
            yield _ESCAPES[character]
        elif character.isprintable() and (character == " " or not character.isspace()):
            yield character
        elif ord(character) < 0x80:
            yield f"\\x{ord(character):02x}"
        elif ord(character) < 0x10000:
            yield f"\\u{ord(character):04x}"
        else:
            yield f"\\U{ord(character):08x}"
