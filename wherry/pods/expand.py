"""`$(NAME)` references in `command`, `args`, `env` and `subPathExpr`, with Kubernetes' own escaping rule.

The rule (Kubernetes API reference, `Container.command`): `$(NAME)` becomes the variable's value; a reference to a
variable that does not exist stays as written; `$$` is one `$`, so `$$(NAME)` is the text `$(NAME)` whether or not the
variable exists. A `$` before anything else, an opening bracket without its closing one included, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping


def expand(text: str, lookup: Callable[[str], str | None]) -> str:
    """Replace every `$(NAME)` in `text` by `lookup(NAME)`; where that is None the reference stays."""
    if "$" not in text:
        return text
    out: list[str] = []
    at = 0
    while True:
        dollar = text.find("$", at)
        if dollar < 0 or dollar + 1 >= len(text):
            out.append(text[at:])
            return "".join(out)
        out.append(text[at:dollar])
        following = text[dollar + 1]
        if following == "$":
            out.append("$")
            at = dollar + 2
            continue
        close = text.find(")", dollar + 2) if following == "(" else -1
        if close < 0:
            # Not a reference: the dollar and its neighbour are plain text (the neighbour cannot begin a reference).
            out.append(text[dollar : dollar + 2])
            at = dollar + 2
            continue
        value = lookup(text[dollar + 2 : close])
        out.append(text[dollar : close + 1] if value is None else value)
        at = close + 1


def expand_all(texts: Iterable[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    """Expand each word of a command line against `variables`."""
    return tuple(expand(text, variables.get) for text in texts)
