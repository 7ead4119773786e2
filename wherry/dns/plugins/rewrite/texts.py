"""Names as text: how rules match them and what they make of them.

Rules work on the written form (lower case, trailing dot), as CoreDNS' do: a prefix, a suffix or a substring need not
end where a label does.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from wherry.dns import names
from wherry.dns.corefile.model import Directive
from wherry.dns.regex import Pattern

KINDS = ("exact", "prefix", "suffix", "substring", "regex")
_GROUP = re.compile(r"\{([0-9]+)\}")
Change = Callable[[str], str]
"""What becomes of a name; what does not match stays."""


def normal(text: str) -> str:
    """A name in lower case with a dot at its end."""
    text = text.lower()
    if not text.endswith("."):
        return text + "."
    escapes = len(text) - 1 - len(text[:-1].rstrip("\\"))
    return text + "." if escapes % 2 else text


def pattern(line: Directive, text: str) -> Pattern:
    """A regular expression of a rule; raises CorefileError."""
    try:
        return Pattern(text)
    except ValueError as error:
        raise line.error(str(error)) from error


def fill(template: str, groups: tuple[str, ...]) -> str:
    """Put groups of a match where a template says ``{1}``, the whole match for ``{0}``."""
    for number, group in enumerate(groups):
        template = template.replace(f"{{{number}}}", group)
    return template


def by_pattern(line: Directive, expression: str, to: str) -> Change:
    """The change that `FROM TO` with a regular expression make; raises CorefileError."""
    compiled = pattern(line, expression)
    if any(int(number) > compiled.groups for number in _GROUP.findall(to)):
        raise line.error(f"'{to}' uses more groups than '{expression}' has")

    def change(text: str) -> str:
        groups = compiled.find(text)
        return text if groups is None else fill(to, groups)

    return change


def by_domain(old: str, new: str) -> Change:
    """Put one domain, and names below it, where another is."""

    def change(text: str) -> str:
        if text == old:
            return new
        return text[: -len(old)] + new if text.endswith("." + old) else text

    return change


def by_suffix(old: str, new: str) -> Change:
    """Put one end of a name where another is."""
    return lambda text: text[: -len(old)] + new if text.endswith(old) else text


class Matcher:
    """What a rule's `KIND FROM` match, and which queries fronts may not answer because of it."""

    def __init__(self, line: Directive, kind: str, text: str) -> None:
        """Read the two; raises CorefileError."""
        if kind not in KINDS:
            raise line.error(f"only exact, prefix, suffix, substring, and regex name matching is there, not '{kind}'")
        self.kind = kind
        self.text = text if kind == "regex" else normal(text)
        self._pattern = pattern(line, text) if kind == "regex" else None
        if kind == "exact":
            try:
                self._name = names.from_text(self.text)
            except names.NameError_ as error:
                raise line.error(str(error)) from error

    def groups(self, name: str) -> tuple[str, ...] | None:
        """The match of a name, with the groups of a regular expression; None without one."""
        if self._pattern is not None:
            return self._pattern.find(name)
        match self.kind:
            case "exact":
                matched = name == self.text
            case "prefix":
                matched = name.startswith(self.text)
            case "suffix":
                matched = name.endswith(self.text)
            case _:
                matched = self.text in name
        return (name,) if matched else None

    def excluded(self) -> frozenset[bytes]:
        """The folded names that alone can match, where these are few."""
        return frozenset((self._name,)) if self.kind == "exact" else frozenset()

    def excluded_zones(self) -> frozenset[tuple[bytes, int]]:
        """The zones that hold what can match, where names alone do not say it."""
        if self.kind == "exact":
            return frozenset()
        zone = names.ROOT
        if self.kind == "suffix":
            # A suffix that starts within a label also matches siblings of the name it looks like.
            _, _, whole = self.text.partition(".")
            try:
                zone = names.from_text(whole or ".")
            except names.NameError_:
                zone = names.ROOT
        return frozenset(((zone, 0),))
