"""The file system a container sees, computed without touching it.

A container's ``/`` is a fresh tmpfs into which the host's (or the image's) top-level directories are bound read-only.
A mount whose target does not exist there, such as ``/etc/config``, needs a place that can be written: the deepest
directory that does exist becomes a tmpfs of its own with the same entries bound into it (it is *shadowed*). Links on
the way (``/var/run`` → ``/run`` on Debian, where service account tokens are mounted) are followed as the container
would follow them, because bubblewrap would follow them outside of it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable
from typing import Literal, Protocol

Entry = Literal["directory", "file", "link"]

PRIVATE = ("/dev", "/proc", "/run", "/sys", "/tmp")
"""Places that are made anew for each container: nothing below them exists on the host."""

_MOST_LINKS = 40
"""As the kernel: more links than this on one path is a loop."""


class Tree(Protocol):
    """Read access to the directory that becomes ``/``; paths are absolute inside it."""

    def kind(self, path: str) -> Entry | None:
        """What is at ``path`` (a link is not followed), None when nothing is."""

    def target(self, path: str) -> str:
        """Where the link at ``path`` points."""

    def entries(self, path: str) -> list[str]:
        """Names in the directory, sorted; none where it may not be read."""


class DiskTree:
    """A `Tree` on disk below ``root``."""

    def __init__(self, root: str = "/") -> None:
        self._root = root.rstrip("/")

    def kind(self, path: str) -> Entry | None:
        """See `Tree.kind`."""
        try:
            mode = os.lstat(self._root + path).st_mode
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        if stat.S_ISLNK(mode):
            return "link"
        return "directory" if stat.S_ISDIR(mode) else "file"

    def target(self, path: str) -> str:
        """See `Tree.target`."""
        return os.readlink(self._root + path)

    def entries(self, path: str) -> list[str]:
        """See `Tree.entries`."""
        try:
            return sorted(os.listdir(self._root + path))
        except PermissionError:
            return []


class LinkLoop(ValueError):
    """A path leads through more links than the kernel would follow."""


def within(path: str, directory: str) -> bool:
    """Whether ``path`` is ``directory`` or below it (both normalised and absolute)."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def resolve(path: str, tree: Tree, *, made: Iterable[str] = PRIVATE) -> str:
    """The path with all links followed inside the container; what does not exist is kept as written.

    Below the directories in ``made`` nothing of ``tree`` is visible. Raises `LinkLoop`.
    """
    made = tuple(made)
    rest = [part for part in posixpath.normpath("/" + path).split("/") if part]
    at = "/"
    links = 0
    while rest:
        part = rest.pop(0)
        if part == "..":
            at = posixpath.dirname(at)
            continue
        here = posixpath.join(at, part)
        if any(within(here, directory) for directory in made) or tree.kind(here) != "link":
            at = here
            continue
        links += 1
        if links > _MOST_LINKS:
            raise LinkLoop(f"{path}: too many symbolic links")
        target = tree.target(here)
        if target.startswith("/"):
            at = "/"
        rest[:0] = [piece for piece in target.split("/") if piece not in ("", ".")]
    return at


def shadows(targets: Iterable[str], tree: Tree, *, made: Iterable[str] = PRIVATE) -> list[str]:
    """The existing directories that must be shadowed so that every (resolved) target can be made; parents first.

    ``/`` is never among them, it is a tmpfs already. A target that exists needs nothing.
    """
    made = tuple(made)
    found: set[str] = set()
    for target in targets:
        if any(within(target, directory) for directory in made) or tree.kind(target) is not None:
            continue
        parent = posixpath.dirname(target)
        while parent != "/" and tree.kind(parent) is None:
            parent = posixpath.dirname(parent)
        if parent != "/":
            found.add(parent)
    return sorted(found, key=lambda path: (path.count("/"), path))
