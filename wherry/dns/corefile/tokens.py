"""Tokens of a Corefile: words between white space, `"…"` for words with white space in them, `#` for comments."""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from wherry.dns.corefile.errors import CorefileError

_BOM = "\ufeff"
_NO_SPACE = "\x1c\x1d\x1e\x1f"  # white space to Python, not to Go
_PERCENT = re.compile(r"\{%((?:(?!%\}).)+)%\}", re.DOTALL)
_DOLLAR = re.compile(r"\{\$([^}]+)\}")


class Token(NamedTuple):
    """A word: quotes taken off, variables not yet filled in."""

    text: str
    file: str
    line: int
    first: bool
    """Whether it is the first of its line."""
    quoted: bool

    def is_mark(self, mark: str) -> bool:
        """Whether it is a brace or the word `import`, unquoted."""
        return not self.quoted and self.text == mark

    def error(self, text: str) -> CorefileError:
        """An error that names the token's line."""
        return CorefileError(text, file=self.file, line=self.line)


def tokens_of(text: str, file: str) -> Iterator[Token]:
    """Split a file's text into tokens; raises CorefileError where a quote is never closed."""
    text = text.removeprefix(_BOM)
    place, line, first, end = 0, 1, True, len(text)
    while place < end:
        char = text[place]
        if char == "\n":
            line, first = line + 1, True
            place += 1
        elif char == "#":
            place = _until_newline(text, place)
        elif char == '"':
            word, stop = _quoted(text, place + 1)
            if stop is None:
                raise CorefileError("Unexpected EOF: a quote that opens here never ends", file=file, line=line)
            yield Token(word, file, line, first, True)
            line += text.count("\n", place, stop)
            place, first = stop, False
        elif _is_space(char):
            place += 1
        else:
            start = place
            while place < end and text[place] != "#" and (text[place] == "\r" or not _is_space(text[place])):
                place += 1
            yield Token(text[start:place].replace("\r", ""), file, line, first, False)
            first = False


def fill_in(text: str) -> str:
    """Replace `{%NAME%}` and `{$NAME}` by environment variables; those that are not set are empty."""
    for pattern in (_PERCENT, _DOLLAR):
        text = pattern.sub(lambda match: os.environ.get(match[1], ""), text)
    return text


def _quoted(text: str, place: int) -> tuple[str, int | None]:
    """The word that ends with the next quote, in which only a quote is escaped, and where the text goes on."""
    pieces = []
    while place < len(text):
        stop = place
        while stop < len(text) and text[stop] not in '"\\':
            stop += 1
        pieces.append(text[place:stop])
        if stop == len(text):
            break
        if text[stop] == '"':
            return "".join(pieces), stop + 1
        following = text[stop + 1 : stop + 2]
        pieces.append(following if following == '"' else "\\" + following)
        place = stop + 2
    return "", None


def _until_newline(text: str, place: int) -> int:
    newline = text.find("\n", place)
    return len(text) if newline < 0 else newline


def _is_space(char: str) -> bool:
    return char.isspace() and char not in _NO_SPACE
