"""Sets of fields, as ``metadata.managedFields`` holds them (the FieldsV1 format of the API reference).

A path is a sequence of elements: ``f:name`` for a field or map key, ``k:{"name":"main"}`` for an element of a list
that is keyed, ``v:"x"`` for an element of a set, ``i:0`` for a position. An element may be in the set itself, have more
below it, or both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Path = tuple[str, ...]


class FieldSet:
    """A set of paths; operations return new sets and may share parts with their operands."""

    __slots__ = ("children", "members")

    def __init__(self, members: set[str] | None = None, children: dict[str, FieldSet] | None = None) -> None:
        self.members = members if members is not None else set()
        self.children = children if children is not None else {}

    def __bool__(self) -> bool:
        return bool(self.members) or any(self.children.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSet) and self.to_fields() == other.to_fields()

    __hash__ = None  # type: ignore[assignment]

    def insert(self, path: Path) -> None:
        """Add one path, in place; the empty path is nothing."""
        if not path:
            return
        node = self
        for element in path[:-1]:
            node = node.children.setdefault(element, FieldSet())
        node.members.add(path[-1])

    def has(self, path: Path) -> bool:
        """Tell whether the path itself is in the set."""
        node = self
        for element in path[:-1]:
            child = node.children.get(element)
            if child is None:
                return False
            node = child
        return path[-1] in node.members

    def union(self, other: FieldSet) -> FieldSet:
        """Everything in either set."""
        children = dict(self.children)
        for element, child in other.children.items():
            mine = children.get(element)
            children[element] = child if mine is None else mine.union(child)
        return FieldSet(self.members | other.members, children)

    def intersection(self, other: FieldSet) -> FieldSet:
        """Everything in both sets."""
        children = {}
        for element, child in self.children.items():
            theirs = other.children.get(element)
            if theirs is not None and (both := child.intersection(theirs)):
                children[element] = both
        return FieldSet(self.members & other.members, children)

    def difference(self, other: FieldSet) -> FieldSet:
        """Everything only in this set; a path in ``other`` takes away itself, not what is below it."""
        children = {}
        for element, child in self.children.items():
            theirs = other.children.get(element)
            rest = child if theirs is None else child.difference(theirs)
            if rest:
                children[element] = rest
        return FieldSet(self.members - other.members, children)

    def without_trees(self, other: FieldSet) -> FieldSet:
        """Like difference, but a path in ``other`` takes away everything below it, too."""
        children = {}
        for element, child in self.children.items():
            if element in other.members:
                continue
            theirs = other.children.get(element)
            rest = child if theirs is None else child.without_trees(theirs)
            if rest:
                children[element] = rest
        return FieldSet(self.members - other.members, children)

    def paths(self) -> Iterator[Path]:
        """Yield every path in the set, in FieldsV1's order."""
        for element in sorted(self.members | self.children.keys(), key=_order):
            if element in self.members:
                yield (element,)
            child = self.children.get(element)
            if child is not None:
                for path in child.paths():
                    yield (element, *path)

    def to_fields(self) -> dict[str, Any]:
        """Write the set as FieldsV1."""
        fields: dict[str, Any] = {}
        for element in sorted(self.members | self.children.keys(), key=_order):
            child = self.children.get(element)
            below = child.to_fields() if child is not None else {}
            if below:
                fields[element] = {".": {}, **below} if element in self.members else below
            elif element in self.members:
                fields[element] = {}
        return fields

    @classmethod
    def from_fields(cls, fields: Any) -> FieldSet:
        """Read FieldsV1. Raises ValueError for anything else."""
        if not isinstance(fields, dict):
            raise ValueError("not an object")
        result = cls()
        for key, below in fields.items():
            if key == ".":
                continue
            element = _element(key)
            child = cls.from_fields(below)
            if child:
                result.children[element] = child
            if not below or "." in below:
                result.members.add(element)
        return result


def field(name: str) -> str:
    """Return the element of a field or map key."""
    return f"f:{name}"


def keyed(keys: dict[str, Any]) -> str:
    """Return the element of an object in a list, by the values of its keys."""
    return "k:" + _json(keys)


def value(item: Any) -> str:
    """Return the element of a scalar in a set."""
    return "v:" + _json(item)


def show(path: Path) -> str:
    """Write a path as messages do: ``.spec.containers[name="a"].image``."""
    return "".join(_shown(element) for element in path)


def _shown(element: str) -> str:
    kind, _, rest = element.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        return f"[{key_text(json.loads(rest))}]"
    return f"[={rest}]" if kind == "v" else f"[{rest}]"


def key_text(keys: dict[str, Any]) -> str:
    """Write the keys of a list element: ``name="a"``."""
    return ",".join(f"{name}={_json(keys[name])}" for name in sorted(keys))


def _element(key: str) -> str:
    """Bring a key of FieldsV1 into the one form that we compare."""
    kind, colon, rest = key.partition(":")
    if not colon or kind not in ("f", "k", "v", "i"):
        raise ValueError(f"unknown path element {key!r}")
    return key if kind in ("f", "i") else f"{kind}:{_json(json.loads(rest))}"


def _json(item: Any) -> str:
    return json.dumps(item, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


_ORDER = {"f": 0, "k": 1, "v": 2, "i": 3}


def _order(element: str) -> tuple[int, str]:
    return _ORDER[element[0]], element
