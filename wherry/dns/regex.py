"""Regular expressions of a Corefile: RE2's syntax, matched in time linear in the text.

CoreDNS' expressions are Go's (https://pkg.go.dev/regexp/syntax), and clients choose the text they are matched against.
Python's `re` reads another syntax and can take exponential time, so RE2 itself does the work. It is imported when a
Corefile first has an expression: 4 MB that most servers never load.
"""

from __future__ import annotations

import importlib
import re as _re
from collections.abc import Mapping
from typing import Any

LONGEST = 10_000
"""Characters of an expression; CoreDNS' own limit, against expressions that take all memory to compile."""

_GROUP = _re.compile(r"\(\?<([A-Za-z_]\w*)>")


class Pattern:
    """A compiled expression; groups are numbered from the left and may have names."""

    __slots__ = ("_search", "groups", "names", "text")

    def __init__(self, text: str) -> None:
        """Compile ``text``; raises ValueError with the reason where it is no expression or too long."""
        if len(text) > LONGEST:
            raise ValueError(f"regex pattern too long: {len(text)} > {LONGEST}")
        re2: Any = importlib.import_module("re2")
        re2.set_fallback_notification(re2.FALLBACK_EXCEPTION)
        try:
            compiled = re2.compile(_named(text))
        except re2.error as error:
            raise ValueError(f"invalid regex pattern {text}: {error}") from error
        self.text = text
        self.groups: int = compiled.groups
        self.names: Mapping[str, int] = dict(compiled.groupindex)
        self._search: Any = compiled.search

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def matches(self, text: str) -> bool:
        """Whether the expression matches anywhere in ``text``."""
        return self._search(text) is not None

    def find(self, text: str) -> tuple[str, ...] | None:
        """The whole leftmost match and each group, "" for one that took no part; None without a match."""
        found = self._search(text)
        if found is None:
            return None
        return (found.group(), *("" if group is None else group for group in found.groups()))


def _named(text: str) -> str:
    """Spell Go 1.22's ``(?<name>`` as ``(?P<name>``, which every RE2 knows; quoted and bracketed text stays."""
    if "(?<" not in text:
        return text
    parts = []
    place = 0
    inside = False
    while place < len(text):
        char = text[place]
        if char == "\\":
            end = text.find(r"\E", place) if text.startswith(r"\Q", place) else place + 2
            end = len(text) if end < 0 else end
            parts.append(text[place:end])
            place = end
            continue
        if not inside and (group := _GROUP.match(text, place)):
            parts.append(f"(?P<{group[1]}>")
            place = group.end()
            continue
        if inside:
            inside = char != "]"
        elif char == "[":
            inside = True
            first = 2 if text.startswith("[^", place) else 1
            # A bracket right after the opening one stands for itself.
            if text.startswith("]", place + first):
                parts.append(text[place : place + first + 1])
                place += first + 1
                continue
        parts.append(char)
        place += 1
    return "".join(parts)
