"""Whether an applied object fits its schema, in the words of the structured merge."""

from __future__ import annotations

from typing import Any

from wherry.apiserver.patch import fieldset
from wherry.apiserver.patch.gofmt import show
from wherry.apiserver.patch.structured import Place, element_key, key_values
from wherry.apiserver.schema.model import Type

_STRINGS = frozenset({Type.STRING, Type.BYTES, Type.TIME, Type.MICRO_TIME})
_NUMBERS = frozenset({Type.INT32, Type.INT64, Type.DOUBLE})


def typed_errors(value: dict[str, Any], place: Place) -> list[str]:
    """List what does not fit, each with its path."""
    errors: list[str] = []
    _check(value, place, "", errors)
    return errors


def typed_error(value: dict[str, Any], place: Place) -> str:
    """Join what does not fit into one message; "" where everything does."""
    errors = typed_errors(value, place)
    if len(errors) <= 1:
        return errors[0] if errors else ""
    return "errors:\n" + "\n".join(f"  {error}" for error in errors)


def _check(value: Any, place: Place, path: str, errors: list[str]) -> None:
    if value is None or place.relation == "deduced":
        return
    kind = place.schema.type
    if kind in (Type.OBJECT, Type.MAP):
        if not isinstance(value, dict):
            errors.append(f"{path}: expected map, got {_go(value)}")
            return
        for name, item in value.items():
            below = f"{path}.{name}"
            if kind is Type.OBJECT and not place.declares(name) and not place.schema.open_ended:
                errors.append(f"{below}: field not declared in schema")
            else:
                _check(item, place.member(name), below, errors)
    elif kind is Type.LIST:
        if isinstance(value, list):
            _check_list(value, place, path, errors)
        else:
            errors.append(f"{path}: expected list, got {_go(value)}")
    elif (expected := _expected(value, kind)) is not None:
        errors.append(f"{path}: expected {expected}, got {_go(value)}")


def _check_list(values: list[Any], place: Place, path: str, errors: list[str]) -> None:
    seen: set[str] = set()
    for index, item in enumerate(values):
        below = f"{path}[{index}]"
        if place.relation in ("set", "keyed"):
            if place.relation == "keyed" and not isinstance(item, dict):
                errors.append(f"{path}: element {index}: associative list with keys may not have non-map elements")
                continue
            element = element_key(place, item)
            below = path + fieldset.show((element,))
            if element in seen:
                keyed = place.relation == "keyed"
                shown = f"[{fieldset.key_text(key_values(place, item))}]" if keyed else fieldset.show((element,))
                errors.append(f"{path}: duplicate entries for key {shown}")
            seen.add(element)
        _check(item, place.element, below, errors)


def _expected(value: Any, kind: Type) -> str | None:
    """Name what a scalar should have been, None where it fits."""
    if kind in _STRINGS:
        return None if isinstance(value, str) else "string"
    if kind in _NUMBERS:
        return None if isinstance(value, int | float) and not isinstance(value, bool) else "numeric (int or float)"
    if kind is Type.BOOL:
        return None if isinstance(value, bool) else "boolean"
    return None if isinstance(value, str | int | float) else "scalar"


def _go(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"&{{{show(value)}}}"
    shown = f'"{value}"' if isinstance(value, str) else show(value)
    return f"&value.valueUnstructured{{Value:{shown}}}"
