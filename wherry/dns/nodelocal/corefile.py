"""The node's form of what DNS pods are configured by: other paths, and no plugin that takes ports of the node. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

LEFT_OUT = frozenset({"health", "ready", "prometheus"})
"""Their ports are a pod's own; on a node they may be anybody's."""

PART = ".override"
CUSTOM = (PART, ".server")
"""How keys of `coredns-custom` end that are parts of a block, or blocks of the Corefile."""


def for_node(text: str, paths: Mapping[str, str], *, part: bool = False, left_out: Collection[str] = LEFT_OUT) -> str:
    """A Corefile with other paths and without some plugins; line numbers stay.

    ``paths`` maps what a pod sees to where it is on the node; a key that ends in ``/`` stands for what is below it.
    ``part`` says that the text is imported into a block.
    """
    for seen, there in paths.items():
        end = "" if seen.endswith("/") else r"(?![\w./-])"
        literally = there.replace("\\", r"\\")
        text = re.sub(rf"(?<![\w./-]){re.escape(seen)}{end}", literally, text)
    return _without(text, left_out, part=part)


def _without(text: str, left_out: Collection[str], *, part: bool) -> str:
    kept: list[str] = []
    depth = inside = 0
    lines = [(line, _words(line)) for line in text.splitlines()]
    first = next((words for _, words in lines if words), [""])
    # Directives stand inside blocks, except in a part of one, and where the only block of a file has no braces.
    level = 0 if part or not (first[-1].endswith(("{", ",")) or first[0] == "import") else 1
    for line, words in lines:
        if inside:
            inside += _opens(words)
            kept.append("")
            continue
        if words and words[0] in left_out and depth == level:
            inside = _opens(words)
            kept.append("")
            continue
        depth += _opens(words)
        kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def _words(line: str) -> list[str]:
    return re.sub(r'"(?:\\"|[^"])*"', '""', line).partition("#")[0].split()


def _opens(words: list[str]) -> int:
    """How many levels deeper the line leads: an opening brace ends a line, a closing one stands alone."""
    if not words:
        return 0
    return 1 if words[-1] == "{" else -1 if words == ["}"] else 0
