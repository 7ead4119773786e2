"""Words of an expression."""

import re
from typing import NamedTuple

LONGEST = 10_000
"""Characters of an expression."""

_SPACE = re.compile(r"(?:\s|/\*.*?\*/|//[^\n]*|#[^\n]*)+", re.DOTALL)
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+"
    r"|(?:[0-9][0-9_]*)?\.?[0-9][0-9_]*(?:[eE][+-]?[0-9]+)?(?!\.\.)"
)
_INTEGER = re.compile(r"[0-9][0-9_]*(?=\.\.)")
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_MARK = re.compile(r"\*\*|\.\.|==|!=|<=|>=|&&|\|\||\?\?|\?\.|[-+*/%<>!?:(),\[\].|^{};=]")
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "`": "`",
}  # fmt: skip
_DIGITS = {"x": 2, "u": 4, "U": 8}


class Word(NamedTuple):
    """A part of an expression: `kind` is `string`, `number`, `name`, `mark` or `end`."""

    kind: str
    text: str
    value: str | int | float | None
    place: int


def words_of(text: str) -> list[Word]:
    """Split an expression, with a word `end` at its end; raises ValueError."""
    if len(text) > LONGEST:
        raise ValueError(f"expression too long: {len(text)} > {LONGEST}")
    words: list[Word] = []
    place = 0
    while place < len(text):
        if space := _SPACE.match(text, place):
            place = space.end()
            continue
        word, place = _word(text, place)
        words.append(word)
    words.append(Word("end", "the end", None, len(text)))
    return words


def _word(text: str, place: int) -> tuple[Word, int]:
    char = text[place]
    if char in "\"'`":
        value, end = _string(text, place)
        return Word("string", text[place:end], value, place), end
    if char.isdigit() or (char == "." and text[place + 1 : place + 2].isdigit()):
        if found := _INTEGER.match(text, place) or _NUMBER.match(text, place):
            return Word("number", found[0], _number(found[0], place), place), found.end()
    elif found := _NAME.match(text, place):
        return Word("name", found[0], None, place), found.end()
    if found := _MARK.match(text, place):
        return Word("mark", found[0], None, place), found.end()
    raise ValueError(f"unrecognized character {char!r} at {place + 1}")


def _number(text: str, place: int) -> int | float:
    plain = text.replace("_", "")
    try:
        if plain[:2].lower() in ("0x", "0o", "0b"):
            return int(plain, 0)
        return int(plain) if plain.isdigit() else float(plain)
    except ValueError as error:
        raise ValueError(f"bad number {text!r} at {place + 1}") from error


def _string(text: str, start: int) -> tuple[str, int]:
    quote = text[start]
    if quote == "`":
        end = text.find("`", start + 1)
        if end < 0:
            raise ValueError(f"string at {start + 1} never ends")
        return text[start + 1 : end], end + 1
    pieces: list[str] = []
    place = start + 1
    while place < len(text):
        char = text[place]
        place += 1
        if char == quote:
            return "".join(pieces), place
        if char == "\n":
            break
        if char != "\\":
            pieces.append(char)
            continue
        escape = text[place : place + 1]
        place += 1
        if escape in _DIGITS:
            digits = text[place : place + _DIGITS[escape]]
            place += _DIGITS[escape]
            pieces.append(_character(digits, _DIGITS[escape], place))
        elif escape in _ESCAPES:
            pieces.append(_ESCAPES[escape])
        else:
            raise ValueError(f"unknown escape \\{escape} at {place}")
    raise ValueError(f"string at {start + 1} never ends")


def _character(digits: str, length: int, place: int) -> str:
    try:
        if len(digits) != length or not digits.isalnum():
            raise ValueError
        return chr(int(digits, 16))
    except ValueError as error:
        raise ValueError(f"bad escape of a character at {place}") from error
