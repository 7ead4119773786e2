"""Finding a container's program before it is started, so that a missing one is no container that ran.

Only what is certain is said: where a path leads through a place that is made anew for the container (/dev, /proc, /run,
/sys, /tmp) or through a link inside of a volume, the kernel is left to find out.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence

from wherry.pods.model import Mount
from wherry.pods.runtime.view import PRIVATE, Tree, resolve, within


def missing(program: str, *, path: str, cwd: str, tree: Tree, mounts: Sequence[Mount]) -> str:
    """Say that there is no such program in the words of container runtimes; empty: there is, or may be.

    `path` is the container's PATH. Raises `view.LinkLoop`.
    """
    if "/" in program:
        if _may_be(posixpath.join(cwd or "/", program), tree, mounts):
            return ""
        return f'exec: "{program}": stat {program}: no such file or directory'
    directories = [directory for directory in path.split(":") if directory.startswith("/")]
    if any(_may_be(posixpath.join(directory, program), tree, mounts) for directory in directories):
        return ""
    return f'exec: "{program}": executable file not found in $PATH'


def _may_be(path: str, tree: Tree, mounts: Sequence[Mount]) -> bool:
    places = {posixpath.normpath(mount.target): mount for mount in mounts}
    found = resolve(path, tree, made=(*PRIVATE, *places))
    holders = [place for place in places if within(found, place)]
    if holders:
        place = max(holders, key=len)
        return _in_volume(places[place].source, posixpath.relpath(found, place))
    return any(within(found, private) for private in PRIVATE) or tree.kind(found) is not None


def _in_volume(source: str, rest: str) -> bool:
    """Walk down from a mount's source; a link ends the walk, as where it leads depends on the container."""
    at = source
    for part in rest.split("/"):
        if part == ".":
            continue
        at = posixpath.join(at, part)
        if os.path.islink(at):
            return True
        if not os.path.lexists(at):
            return False
    return True
