"""Patterns of `import`: as CoreDNS allows them, one `*` and one `?` at most and no sets."""

import fnmatch
import os
import re


def matches_of(pattern: str) -> list[str] | None:
    """The paths that an absolute pattern matches, sorted; None where it is a plain name. Raises ValueError."""
    if pattern.count("*") > 1 or pattern.count("?") > 1 or ("[" in pattern and "]" in pattern):
        raise ValueError(f"Glob pattern may only contain one wildcard (*), but has others: {pattern}")
    if not re.search(r"[*?]", pattern):
        return None
    if "\0" in pattern:
        return []
    paths = ["/"]
    for part in pattern.split("/"):
        if not part:
            continue
        if "*" in part or "?" in part:
            # Unlike the shell's, Go's patterns match names that begin with a dot.
            expression = re.compile(fnmatch.translate(part.replace("[", "[[]")))
            paths = [os.path.join(path, name) for path in paths for name in _names_in(path) if expression.match(name)]
        else:
            paths = [os.path.join(path, part) for path in paths]
    return sorted(path for path in paths if os.path.lexists(path))


def _names_in(path: str) -> list[str]:
    try:
        # `..data` and its like are how volumes swap their files, and no files themselves.
        return [name for name in os.listdir(path) if not name.startswith("..")]
    except OSError:
        return []  # a directory that is not there, or may not be read, has no files for us
