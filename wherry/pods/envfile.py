"""Files of environment variables (`fileKeyRef`, KEP-3721). Pure.

A variable is `NAME='value'`: blanks around the name and the equals sign do not count, the value is literally what
stands between the quotes, lines and all. Blank lines and lines that begin with `#` are passed over.
"""

from __future__ import annotations

import re

_ENTRY = re.compile(r"[ \t]*(?:(?:#[^\n]*)?(?:\n|\Z)|([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*'([^']*)'[ \t]*(?:\n|\Z))")


class EnvFileError(ValueError):
    """The file is no file of variables; the text names the line."""


def parse(text: str) -> dict[str, str]:
    """Return the variables of a file, the last of a name. Raises `EnvFileError`."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        entry = _ENTRY.match(text, at)
        if entry is None:
            line = text.count("\n", 0, at) + 1
            raise EnvFileError(f"line {line} is not of the form NAME='value'")
        if entry[1] is not None:
            found[entry[1]] = entry[2]
        at = entry.end()
    return found
