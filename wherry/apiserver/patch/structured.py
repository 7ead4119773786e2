"""Structured merge: comparing and combining objects field by field, over their schema (KEP-555, "Server-side apply").

Structs and maps are merged member by member, lists by their ``x-kubernetes-list-type``, everything atomic as a whole.
A value that is missing and one that is null differ here: Go writes ``containers: null`` where nothing was said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wherry.apiserver.patch import fieldset
from wherry.apiserver.patch.fieldset import FieldSet, Path
from wherry.apiserver.patch.json_patch import same_json
from wherry.apiserver.schema.model import Field, Schema, Type

MISSING: Any = object()
"""Stands for a value that is not there."""

_ANY = Schema(Type.ANY, go="interface {}")
_DEDUCED = frozenset(
    {
        Type.ANY,
        Type.JSON,
        Type.RAW_EXTENSION,
        Type.FIELDS_V1,
        Type.SCHEMA_OR_ARRAY,
        Type.SCHEMA_OR_BOOL,
        Type.SCHEMA_OR_STRINGS,
    }
)


class Place(NamedTuple):
    """What a value is: its type, and the member that holds it where its marks matter."""

    schema: Schema
    field: Field | None = None

    @property
    def relation(self) -> str:
        """How parts relate: ``map``, ``set``, ``keyed``, ``atomic``, ``scalar``, or ``deduced`` from the value."""
        kind = self.schema.type
        if kind in (Type.OBJECT, Type.MAP):
            atomic = self.schema.atomic or (self.field is not None and self.field.atomic)
            return "atomic" if atomic else "map"
        if kind is Type.LIST:
            marks = {"set": "set", "map": "keyed"}
            return marks.get(self.field.list_type if self.field is not None else "", "atomic")
        return "deduced" if kind in _DEDUCED else "scalar"

    def member(self, name: str) -> Place:
        """Return the place of a member or map value."""
        kind = self.schema.type
        if kind is Type.OBJECT:
            known = self.schema.fields.get(name)
            return Place(known.schema, known) if known is not None else Place(_ANY)
        return Place(self.schema.items) if kind is Type.MAP else Place(_ANY)

    @property
    def element(self) -> Place:
        """Return the place of a list's elements."""
        return Place(self.schema.items)

    def declares(self, name: str) -> bool:
        """Tell whether ``name`` is a field of a struct, as opposed to a map's key."""
        return self.schema.type is Type.OBJECT and name in self.schema.fields


def relation_of(place: Place, value: Any) -> str:
    """Return the relation of a value's parts; what the schema leaves open follows from the value."""
    relation = place.relation
    if relation == "deduced":
        return "map" if isinstance(value, dict) else "atomic" if isinstance(value, list) else "scalar"
    return relation


def element_key(place: Place, item: Any) -> str:
    """Return the path element of a list's item."""
    if place.relation == "set":
        return fieldset.value(item)
    return fieldset.keyed(key_values(place, item))


def key_values(place: Place, item: Any) -> dict[str, Any]:
    """Return the values of a list item's keys; a key left out has its field's default or zero value."""
    assert place.field is not None, "only fields have list keys"
    item = item if isinstance(item, dict) else {}
    keys: dict[str, Any] = {}
    for name in place.field.list_keys:
        known = place.schema.items.fields.get(name)
        found = item.get(name)
        if found is None and known is not None:
            found = known.default
            if found is None and not known.pointer and not known.omit_empty:
                found = _ZERO.get(known.schema.type)
        if found is not None:
            keys[name] = found
    return keys


_ZERO: dict[Type, Any] = {Type.STRING: "", Type.BOOL: False, Type.INT32: 0, Type.INT64: 0}


def field_set(value: Any, place: Place) -> FieldSet:
    """Return the fields that an applied object sets."""
    result = FieldSet()
    _collect(value, place, (), result)
    return result


def _collect(value: Any, place: Place, path: Path, result: FieldSet) -> None:
    relation = relation_of(place, value)
    if relation == "map":
        for name, item in (value or {}).items():
            below = (*path, fieldset.field(name))
            _collect(item, place.member(name), below, result)
            if item is None or item == {} or not place.declares(name):
                result.insert(below)
    elif relation in ("set", "keyed"):
        for item in value or ():
            below = (*path, element_key(place, item))
            _collect(item, place.element, below, result)
            result.insert(below)
    else:
        result.insert(path)


@dataclass(slots=True)
class Comparison:
    """What changed between two objects."""

    added: FieldSet = field(default_factory=FieldSet)
    modified: FieldSet = field(default_factory=FieldSet)
    removed: FieldSet = field(default_factory=FieldSet)

    @property
    def changed(self) -> FieldSet:
        """Fields added or modified."""
        return self.added.union(self.modified)

    def without(self, ignored: FieldSet) -> Comparison:
        """Leave out the fields in ``ignored`` and everything below them."""
        return Comparison(*(part.without_trees(ignored) for part in (self.added, self.modified, self.removed)))


def compare(old: Any, new: Any, place: Place) -> Comparison:
    """Compare two objects of one type."""
    result = Comparison()
    _compare(old, new, place, (), result)
    return result


def _compare(old: Any, new: Any, place: Place, path: Path, result: Comparison) -> None:
    # Equal parts need no walk; where true equals 1 the text tells, and only a text in the same order is trusted.
    if old == new and repr(old) == repr(new):
        return
    relations = {relation_of(place, value) for value in (old, new) if value is not MISSING}
    for relation in sorted(relations):
        parts = _PARTS.get(relation)
        old_parts = parts(old, place) if parts is not None else {}
        new_parts = parts(new, place) if parts is not None else {}
        if parts is None or not (old_parts or new_parts):
            if old is MISSING:
                result.added.insert(path)
            elif new is MISSING:
                result.removed.insert(path)
            elif not same_json(old, new):
                result.modified.insert(path)
            return
        for element in {**old_parts, **new_parts}:
            before, after = old_parts.get(element), new_parts.get(element)
            below = (before or after or _NO_PART).place
            old_item = before.value if before is not None else MISSING
            new_item = after.value if after is not None else MISSING
            _compare(old_item, new_item, below, (*path, element), result)
        if old is MISSING:
            result.added.insert(path)
        elif new is MISSING:
            result.removed.insert(path)


class _Part(NamedTuple):
    place: Place
    value: Any


_NO_PART = _Part(Place(_ANY), MISSING)


def _members(value: Any, place: Place) -> dict[str, _Part]:
    if not isinstance(value, dict):
        return {}
    return {fieldset.field(name): _Part(place.member(name), item) for name, item in value.items()}


def _elements(value: Any, place: Place) -> dict[str, _Part]:
    if not isinstance(value, list):
        return {}
    return {element_key(place, item): _Part(place.element, item) for item in value}


_PARTS: dict[str, Callable[[Any, Place], dict[str, _Part]]] = {
    "map": _members,
    "set": _elements,
    "keyed": _elements,
}


def merge(live: Any, config: Any, place: Place) -> Any:
    """Merge an applied object into the live one: what ``config`` says wins, the rest stays."""
    if config is MISSING:
        return live
    relation = relation_of(place, config)
    if live is MISSING or live is None or config is None or relation_of(place, live) != relation:
        return config
    if relation == "map":
        merged = dict(live)
        for name, item in config.items():
            merged[name] = merge(live.get(name, MISSING), item, place.member(name))
        return merged
    if relation in ("set", "keyed"):
        return list(_merged_items(live, config, place))
    return config


def _merged_items(live: list[Any], config: list[Any], place: Place) -> Iterator[Any]:
    """Interleave two lists: each keeps its order, and elements of both come where ``config`` has them."""
    live_keys = [element_key(place, item) for item in live]
    config_keys = [element_key(place, item) for item in config]
    by_live = dict(zip(reversed(live_keys), reversed(live), strict=True))
    wanted = set(config_keys)
    shared = iter([key for key in config_keys if key in by_live])
    next_shared = next(shared, None)
    done: set[str] = set()
    left = right = 0
    while left < len(live) or right < len(config):
        if left < len(live):
            key = live_keys[left]
            if right < len(config) and key != config_keys[right] and key in wanted and next_shared not in (None, key):
                left += 1
                continue
            if key not in wanted:
                yield live[left]
                left += 1
                continue
            if key in done or (right < len(config) and key == config_keys[right]):
                left += 1
        if right < len(config):
            key = config_keys[right]
            done.add(key)
            yield merge(by_live.get(key, MISSING), config[right], place.element)
            right += 1
            if key == next_shared:
                next_shared = next(shared, None)


def remove(value: Any, fields: FieldSet, place: Place) -> Any:
    """Remove fields from an object; a container that loses everything becomes null."""
    relation = relation_of(place, value)
    if relation == "map" and isinstance(value, dict) and value:
        kept = {}
        for name, item in value.items():
            element = fieldset.field(name)
            if element not in fields.members:
                below = fields.children.get(element)
                kept[name] = remove(item, below, place.member(name)) if below else item
        return kept or None
    if relation in ("set", "keyed") and isinstance(value, list) and value:
        items = []
        for item in value:
            element = element_key(place, item)
            if element not in fields.members:
                below = fields.children.get(element)
                items.append(remove(item, below, place.element) if below else item)
        return items or None
    return value


def with_named_fields(fields: FieldSet, place: Place) -> FieldSet:
    """Add the structs' fields that only occur on the way to others; a struct is there if one of its fields is."""
    members = set(fields.members)
    children = {}
    for element, child in fields.children.items():
        below = Place(_ANY)
        if element.startswith("f:"):
            name = element[2:]
            below = place.member(name)
            if place.declares(name):
                members.add(element)
        elif place.schema.type is Type.LIST:
            below = place.element
        children[element] = with_named_fields(child, below)
    return FieldSet(members, children)
