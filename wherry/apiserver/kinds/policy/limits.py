"""The row of limit ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.model import (
    CREATED_COLUMN,
    NAME_COLUMN,
    FieldError,
    Object,
    Resource,
    duplicate,
    forbidden,
    invalid,
    required,
)
from wherry.apiserver.kinds.podspec.containers import check_quantity
from wherry.apiserver.kinds.quantity import parse

_KEYS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")

# (field that is reported, smaller field, larger field, field whose value is shown, words)
_ORDER = (
    ("min", "min", "max", "min", "min value {} is greater than max value {}"),
    (
        "defaultRequest",
        "min",
        "defaultRequest",
        "defaultRequest",
        "min value {} is greater than default request value {}",
    ),
    (
        "defaultRequest",
        "defaultRequest",
        "max",
        "defaultRequest",
        "default request value {} is greater than max value {}",
    ),
    (
        "defaultRequest",
        "defaultRequest",
        "default",
        "defaultRequest",
        "default request value {} is greater than default limit value {}",
    ),
    ("default", "min", "default", "min", "min value {} is greater than default value {}"),
    ("default", "default", "max", "max", "default value {} is greater than max value {}"),
)


def _fill(item: Object, key: str, source: str) -> None:
    """Take missing values of one list from another."""
    given: Mapping[str, Any] = item.get(source) or {}
    if given:
        item[key] = {**given, **(item.get(key) or {})}


def _default(obj: Object) -> None:
    for item in obj.setdefault("spec", {}).get("limits") or ():
        if item.get("type") == "Container":
            _fill(item, "default", "max")
            _fill(item, "defaultRequest", "default")
            _fill(item, "defaultRequest", "min")


def _check_item(errors: list[FieldError], item: Object, path: str) -> None:
    lists: dict[str, Mapping[str, Any]] = {key: item.get(key) or {} for key in _KEYS}
    if item.get("type") == "Pod":
        for key in ("default", "defaultRequest"):
            if lists[key]:
                errors.append(forbidden(f"{path}.{key}", "may not be specified when `type` is 'Pod'"))
    resources = sorted(set().union(*lists.values()))
    before = len(errors)
    for key in _KEYS:
        for name in sorted(lists[key]):
            check_quantity(errors, lists[key][name], f"{path}.{key}[{name}]")
    if len(errors) > before:
        return
    for name in resources:
        for field, small, large, shown, words in _ORDER:
            low, high = lists[small].get(name), lists[large].get(name)
            if low is not None and high is not None and parse(low) > parse(high):
                errors.append(invalid(f"{path}.{field}[{name}]", lists[shown][name], words.format(low, high)))


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, item in enumerate(obj["spec"].get("limits") or ()):
        path, kind = f"spec.limits[{index}]", item.get("type", "")
        if not kind:
            errors.append(required(f"{path}.type"))
        else:
            errors.extend(invalid(f"{path}.type", kind, text) for text in names.qualified_name(kind))
        if kind in seen:
            errors.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        _check_item(errors, item, path)
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    return _validate(new)


LIMIT_RANGES = Resource(
    group="",
    version="v1",
    kind="LimitRange",
    plural="limitranges",
    singular="limitrange",
    namespaced=True,
    short_names=("limits",),
    default=_default,
    validate=_validate,
    validate_update=_validate_update,
    revalidates_metadata=True,
    columns=(NAME_COLUMN, CREATED_COLUMN),
    cells=printing.name_and_created,
)
