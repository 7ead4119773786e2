"""Strategic merge patch: a merge patch that knows which lists are maps in disguise.

The rules are those of "Strategic Merge Patch" in Kubernetes' API conventions: lists whose field says so are merged by
their key, and the directives ``$patch``, ``$retainKeys``, ``$deleteFromPrimitiveList/F`` and ``$setElementOrder/F``
delete, replace and order. Neither document is changed; the result shares untouched parts with the original.
"""

from __future__ import annotations

from typing import Any

from wherry.apiserver.patch.gofmt import show
from wherry.apiserver.schema.model import Field, Schema, Type

PATCH = "$patch"
RETAIN_KEYS = "$retainKeys"
DELETE_PREFIX = "$deleteFromPrimitiveList"
ORDER_PREFIX = "$setElementOrder"

Object = dict[str, Any]


class StrategicError(ValueError):
    """The patch cannot be merged; Kubernetes did not foresee it and answers 500."""


class BadFormat(StrategicError):
    """A directive has the wrong form: 400."""


class Unprocessable(StrategicError):
    """The patch asks for what cannot be done: 422 without a reason of its own."""


def strategic_merge(original: Object, patch: Object, schema: Schema) -> Object:
    """Merge ``patch`` into ``original`` of type ``schema``. Raises StrategicError."""
    if PATCH in patch:
        if patch[PATCH] == "replace":
            return {key: value for key, value in patch.items() if key != PATCH}
        if patch[PATCH] == "delete":
            return {}
        raise StrategicError(f"unknown patch type: {show(patch[PATCH])} in map: {show(patch)}")
    merged = _retain_keys(original, patch)
    rest = {key: value for key, value in patch.items() if key != RETAIN_KEYS}
    _merge_ordered(merged, rest, schema)
    for key, value in rest.items():
        deleting = key.startswith(DELETE_PREFIX)
        name = _target(key, DELETE_PREFIX) if deleting else key
        if value is None:
            merged.pop(name, None)
        elif name in merged and _same_shape(merged[name], value):
            merged[name] = _merge_value(merged[name], value, schema, name, deleting=deleting)
        elif not deleting:
            new = _without_directives(value)
            if new is None:
                merged.pop(name, None)
            else:
                merged[name] = new
    return merged


def _merge_value(old: Any, new: Any, schema: Schema, name: str, *, deleting: bool) -> Any:
    """Merge two values of the same shape."""
    if isinstance(new, dict):
        field = _field(schema, name)
        if "replace" in field.patch_strategy:
            return new
        return strategic_merge(old, new, field.schema)
    if isinstance(new, list):
        field = _field(schema, name)
        if deleting or "merge" in field.patch_strategy:
            return _merge_list(old, new, field, deleting=deleting)
    return new


def _field(schema: Schema, name: str) -> Field:
    """Look up a member; the values of maps are their own members, below free-form values nothing is known."""
    if schema.type is Type.OBJECT:
        found = schema.fields.get(name)
        if found is None:
            struct = schema.go.rpartition(".")[2]
            raise StrategicError(f'unable to find api field in struct {struct} for the json field "{name}"')
        return found
    return Field(name, schema.items if schema.type is Type.MAP else schema)


def _retain_keys(original: Object, patch: Object) -> Object:
    """Copy the original, only with the keys that ``$retainKeys`` names where the patch has it."""
    if RETAIN_KEYS not in patch:
        return dict(original)
    keys = patch[RETAIN_KEYS]
    if not isinstance(keys, list):
        raise BadFormat("invalid patch format of retainKeys")
    for key, value in patch.items():
        directive = key == RETAIN_KEYS or key.startswith((DELETE_PREFIX, ORDER_PREFIX))
        if value is not None and not directive and key not in keys:
            raise BadFormat("invalid patch format of retainKeys")
    return {key: value for key, value in original.items() if key in keys}


def _merge_ordered(merged: Object, patch: Object, schema: Schema) -> None:
    """Merge and order the lists that have a ``$setElementOrder``; what is done is taken out of ``patch``."""
    for key in [key for key in patch if key.startswith(ORDER_PREFIX)]:
        order = patch.pop(key)
        name = _target(key, ORDER_PREFIX)
        for value in (order, merged.get(name, []), patch.get(name, [])):
            if not isinstance(value, list):
                raise StrategicError(f"expected a []interface {{}}, but received a {_go_type(value)}")
        field = _field(schema, name)
        old, new = merged.get(name), patch.get(name)
        if new:
            _check_order(new, order, field.patch_key)
        if old is None and new is None:
            continue
        if old is None:
            items = _without_directives(new)
        elif new is None:
            items = old
        elif "merge" in field.patch_strategy:
            items = _merge_list(old, new, field, deleting=False)
        else:
            items = new
        merged[name] = _ordered(items, order, old or [], field.patch_key)
        patch.pop(name, None)


def _check_order(items: list[Any], order: list[Any], key: str) -> None:
    """Refuse a patch whose list is not in the order that it asks for."""
    left = iter(order)
    for item in items:
        if isinstance(item, dict) and PATCH in item:
            continue
        wanted = _identity(item, key)
        if not any(_equal(wanted, _identity(other, key)) for other in left) and order:
            text = f"The order in patch list:\n{show(items)}\n doesn't match {ORDER_PREFIX} list:\n{show(order)}\n"
            raise StrategicError(text)


def _merge_list(old: list[Any], new: list[Any], field: Field, *, deleting: bool) -> list[Any]:
    """Merge two lists of one field, elements of the patch first unless the original orders them otherwise."""
    if not old and not new:
        return old
    kinds = {_go_type(item) for item in (*old, *new)}
    if "[]interface {}" in kinds:
        raise Unprocessable("lists of lists are not supported")
    if len(kinds) > 1:
        raise StrategicError(f"list element types are not identical: {show([old, new])}")
    if not isinstance((old or new)[0], dict):
        if deleting:
            return [item for item in old if not _contains(new, item)]
        merged = _unique([*old, *new])
        return _ordered(merged, new, old, "")
    if not field.patch_key:
        struct = field.schema.items.go.rpartition(".")[2]
        raise StrategicError(f"cannot merge lists without merge key for {struct}")
    return _merge_keyed(old, new, field)


def _merge_keyed(old: list[Any], new: list[Any], field: Field) -> list[Any]:
    key = field.patch_key
    kept, wanted, replace = list(old), [], False
    for item in new:
        directive = item.get(PATCH)
        if PATCH not in item:
            wanted.append(item)
        elif directive == "delete":
            gone = _identity(item, key)
            kept = [other for other in kept if not _equal(other.get(key), gone)]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise StrategicError("merging lists cannot yet be specified in the patch")
        else:
            raise StrategicError(f"unknown patch type: {show(directive)} in map: {show(item)}")
    if replace:
        return wanted
    merged = list(kept)
    for item in wanted:
        identity = _identity(item, key)
        at = next((i for i, other in enumerate(merged) if _equal(other.get(key), identity)), None)
        if at is None:
            merged.append(_without_directives(item))
        else:
            merged[at] = strategic_merge(merged[at], item, field.schema.items)
    return _ordered(merged, wanted, kept, key)


def _ordered(items: list[Any], order: list[Any], original: list[Any], key: str) -> list[Any]:
    """Order a merged list: elements in ``order`` as it says, the others as in ``original``.

    Where the two interleave, an element that only the original had comes first if it stood before the other one there.
    """
    rank = _ranks(order, key)
    place = _ranks(original, key)
    named = [item for item in items if _rank(rank, item, key) is not None]
    named.sort(key=lambda item: _rank(rank, item, key) or 0)
    others = [item for item in items if _rank(rank, item, key) is None]
    others.sort(key=lambda item: _rank(place, item, key) or 0)
    out: list[Any] = []
    at = 0
    for item in named:
        before = _rank(place, item, key)
        while at < len(others):
            other = _rank(place, others[at], key)
            if before is None or other is None or other > before:
                break
            out.append(others[at])
            at += 1
        out.append(item)
    return out + others[at:]


def _ranks(items: list[Any], key: str) -> dict[Any, int]:
    ranks: dict[Any, int] = {}
    for index, item in enumerate(items):
        ranks.setdefault(_hashable(_identity(item, key)), index)
    return ranks


def _rank(ranks: dict[Any, int], item: Any, key: str) -> int | None:
    return ranks.get(_hashable(_identity(item, key)))


def _identity(item: Any, key: str) -> Any:
    """Return what identifies a list element: the value of its key, or the element itself."""
    if not key:
        return item
    if not isinstance(item, dict):
        raise StrategicError(f"expected a map[string]interface {{}}, but received a {_go_type(item)}")
    if key not in item:
        raise StrategicError(f"map: {show(item)} does not contain declared merge key: {key}")
    return item[key]


def _hashable(value: Any) -> Any:
    return (type(value), value) if not isinstance(value, dict | list) else (type(value), show(value))


def _equal(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


def _contains(items: list[Any], item: Any) -> bool:
    return any(_equal(item, other) for other in items)


def _unique(items: list[Any]) -> list[Any]:
    seen = set()
    out = []
    for item in items:
        mark = _hashable(item)
        if mark not in seen:
            seen.add(mark)
            out.append(item)
    return out


def _target(key: str, prefix: str) -> str:
    head, slash, name = key.partition("/")
    if not slash or head != prefix:
        what = "primitive list" if prefix == DELETE_PREFIX else "setElementOrder list"
        raise BadFormat(f"invalid patch format of {what}")
    return name


def _without_directives(value: Any) -> Any:
    """Copy a value that is new, without nulls and without what carries ``$patch``; None where the value itself does."""
    if isinstance(value, dict):
        if PATCH in value:
            return None
        copy = {key: (item, _without_directives(item)) for key, item in value.items() if item is not None}
        return {key: new for key, (_, new) in copy.items() if new is not None}
    if isinstance(value, list):
        pairs = [(item, _without_directives(item)) for item in value]
        return [new for item, new in pairs if new is not None or item is None]
    return value


def _same_shape(left: Any, right: Any) -> bool:
    return _go_type(left) == _go_type(right)


def _go_type(value: Any) -> str:
    """Name the Go type that JSON decodes to."""
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "int64"
    return "float64" if isinstance(value, float) else "<nil>"
