"""Whether an image reference can be one. Pure.

Source: the grammar of distribution references (`[registry[:port]/]path[:tag][@digest]`) and Docker's rules for what may
be left out. A container whose reference is none waits with reason `InvalidImageName`.
"""

from __future__ import annotations

import re

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?P<tag>:[\w][\w.-]{0,127})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)
_HEXADECIMAL = re.compile(r"[a-f0-9]{64}", re.ASCII)
_LONGEST_NAME = 255


def reference_error(image: str) -> str:
    """Return what is wrong with a reference, as the kubelet's parser words it; empty: nothing."""
    if _HEXADECIMAL.fullmatch(image):
        return f"invalid repository name ({image}), cannot specify 64-byte hexadecimal strings"
    path = _remote_path(image)
    if path != path.lower():
        return f"invalid reference format: repository name ({path}) must be lowercase"
    found = _REFERENCE.fullmatch(image)
    if found is None:
        return "invalid reference format"
    if len(found["name"]) > _LONGEST_NAME:
        return f"repository name must not be more than {_LONGEST_NAME} characters"
    return ""


def _remote_path(image: str) -> str:
    """The reference without registry and tag; a name of one part belongs to `library`."""
    name = image.partition("@")[0]
    first, slash, rest = name.partition("/")
    registry = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    path = rest if registry else name
    head, slash, last = path.rpartition("/")
    path = head + slash + last.partition(":")[0]
    return path if registry or "/" in path else f"library/{path}"
