"""Reading the image table, ``--images FILE``: a YAML list of entries, each checked, each error with its line.

    - match: shop/api*                    # a glob over the image's name, with or without registry and tag
      entrypoint: [/srv/bin/api]          # a program of this machine, or of the rootfs
      cmd: [--port, "8080"]               # as in a Dockerfile: what args replace
      env: {MODE: test}
      cwd: /srv
      user: "1000:1000"
      rootfs: /images/api                 # an unpacked image (debootstrap, docker export): becomes /
      binds: [{source: /home/me/api, target: /srv}]   # read-only

A sandbox copies the file when it starts, and a node reads it when its agent starts: a change of the file counts from
the next ``wherry up`` (or start of ``wherry server`` and ``wherry agent``) on, for containers started then.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec

from wherry.pods.images import ImageEntry

_USER = re.compile(r"[0-9]{1,10}(:[0-9]{1,10})?")
_AT = re.compile(r"(?P<why>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_FIELD = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_NAMES = {
    "array": "a list",
    "object": "a mapping",
    "str": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}
_FIELDS = ", ".join(ImageEntry.__struct_fields__)


class ImageTableError(ValueError):
    """The image table cannot be used; the text names file, line, entry and field."""


class _Lines:
    """Where in the file the entries and their fields are; without a file, nowhere."""

    def __init__(self, where: str, text: str | None = None) -> None:
        self._where = where
        self._root: Any = None
        if text is not None:
            import yaml  # only read by who reads a table

            self._root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))

    def place(self, *path: str | int) -> str:
        """``FILE:LINE`` of the deepest part of the path that is in the file."""
        node = self._root
        if node is None:
            return self._where
        line = node.start_mark.line
        for step in path:
            found = None
            if isinstance(step, int) and isinstance(node.value, list) and step < len(node.value):
                found = node.value[step]
            elif isinstance(node.value, list):
                pairs = [pair for pair in node.value if isinstance(pair, tuple) and pair[0].value == step]
                if pairs:
                    line, found = pairs[0][0].start_mark.line, pairs[0][1]
            if found is None:
                break
            if isinstance(step, int):
                line = found.start_mark.line
            node = found
        return f"{self._where}:{line + 1}"


def parse_table(document: object, *, where: str, text: str | None = None) -> tuple[ImageEntry, ...]:
    """Check a decoded table; ``where`` is its file and ``text`` what is in it. Raises `ImageTableError`."""
    lines = _Lines(where, text)
    if document is None:
        return ()
    if not isinstance(document, list):
        raise ImageTableError(f"{lines.place()}: the image table must be a list of entries: begin each with '- match:'")
    return tuple(_entry(item, number, lines) for number, item in enumerate(document))


def load_table(path: Path) -> tuple[ImageEntry, ...]:
    """Read ``--images FILE``. Raises `ImageTableError` for everything that is wrong with it."""
    text, document = _read(path)
    return parse_table(document, where=str(path), text=text)


def check_table(path: Path) -> None:
    """As `load_table`, and see that its files are there: for who hands in the table. Raises `ImageTableError`."""
    text, document = _read(path)
    lines = _Lines(str(path), text)
    for number, entry in enumerate(parse_table(document, where=str(path), text=text)):
        if entry.rootfs is not None and not os.path.isdir(entry.rootfs):
            why = f"{entry.rootfs} is not a directory: unpack the image there"
            raise _error(lines, number, entry.match, ("rootfs",), why)
        for index, bind in enumerate(entry.binds):
            if not os.path.lexists(bind.source):
                why = f"{bind.source} does not exist on this machine"
                raise _error(lines, number, entry.match, ("binds", index, "source"), why)


def _read(path: Path) -> tuple[str, object]:
    from wherry.config import yaml  # PyYAML is only needed by who reads a table

    try:
        text = path.read_text()
        documents = list(yaml.load_all(text))
    except (OSError, UnicodeDecodeError, yaml.YamlError) as error:
        raise ImageTableError(f"{path}: {error}") from error
    if len(documents) > 1:
        raise ImageTableError(f"{path}: one YAML document is expected, not {len(documents)}")
    return text, documents[0] if documents else None


def _entry(item: object, number: int, lines: _Lines) -> ImageEntry:
    found_name = item.get("match") if isinstance(item, dict) else None
    name = found_name if isinstance(found_name, str) else ""
    try:
        entry = msgspec.convert(item, ImageEntry)
    except msgspec.ValidationError as error:
        found = _AT.fullmatch(str(error))
        why, path = (found["why"], found["path"] or "") if found else (str(error), "")
        steps: tuple[str | int, ...] = tuple(
            field or int(index) for field, index in _FIELD.findall(path) if field != "..."
        )
        unknown = re.search(r"unknown field `([^`]+)`", why)
        if unknown:
            steps = (*steps, unknown[1])
            why = (
                f"no such field; an entry has {_FIELDS}"
                if len(steps) == 1
                else "no such field; a bind has source, target"
            )
        raise _error(lines, number, name, steps, _in_words(why)) from error
    if not entry.match:
        raise _error(lines, number, "", ("match",), "it is empty: name an image, for instance nginx or */shop/*")
    if entry.user and not _USER.fullmatch(entry.user):
        raise _error(lines, number, name, ("user",), f"{entry.user!r} is not a number: give uid or uid:gid")
    if entry.rootfs == "/":
        raise _error(lines, number, name, ("rootfs",), "this is the machine's own root: leave rootfs out for that")
    for steps, path in _paths(entry):
        if not path.startswith("/"):
            raise _error(lines, number, name, steps, f"{path!r} is not an absolute path: begin it with /")
    return entry


def _paths(entry: ImageEntry) -> list[tuple[tuple[str | int, ...], str]]:
    found: list[tuple[tuple[str | int, ...], str]] = []
    for index, bind in enumerate(entry.binds):
        found += [(("binds", index, "source"), bind.source), (("binds", index, "target"), bind.target)]
    if entry.rootfs is not None:
        found.append((("rootfs",), entry.rootfs))
    if entry.cwd:
        found.append((("cwd",), entry.cwd))
    return found


def _error(lines: _Lines, number: int, name: object, steps: tuple[str | int, ...], why: str) -> ImageTableError:
    field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    entry = f"entry {number + 1}" + (f" ({name})" if name else "")
    return ImageTableError(f"{lines.place(number, *steps)}: {entry}: {f'{field}: ' if field else ''}{why}")


def _in_words(why: str) -> str:
    """A decoder's complaint in the words of YAML."""
    types = re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`", why)
    if types is None:
        return why.replace("Object contains", "it has").replace("Object missing", "it lacks the")
    wanted, found = (_NAMES.get(types[part].split(" ")[0], types[part]) for part in (1, 2))
    quotes = wanted == "text" and found in ("a number", "true or false")
    hint = ": put it in quotes" if quotes else ""
    return f"{wanted} is expected, not {found}{hint}"
