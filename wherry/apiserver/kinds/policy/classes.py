"""The rows of priority classes and runtime classes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import IMMUTABLE, never
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    Context,
    FieldError,
    Object,
    Resource,
    forbidden,
    invalid,
    required,
    unsupported,
)
from wherry.apiserver.kinds.podspec.containers import check_quantity
from wherry.apiserver.kinds.podspec.scheduling import check_tolerations

_HIGHEST_USER_PRIORITY = 1_000_000_000
_SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_POLICIES = ("Never", "PreemptLowerPriority")


def _default_priority(obj: Object) -> None:
    obj.setdefault("value", 0)
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _validate_priority(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    if name.startswith("system-"):
        if _SYSTEM_CLASSES.get(name) != value:
            text = "priority class names with 'system-' prefix are reserved for system use only. error: "
            if name in _SYSTEM_CLASSES:
                text += f"value of {name} PriorityClass must be {_SYSTEM_CLASSES[name]}"
            else:
                text += f"{name} is not a known system priority class"
            errors.append(forbidden("metadata.name", text))
    elif value > _HIGHEST_USER_PRIORITY:
        text = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
        errors.append(forbidden("value", text))
    policy = obj.get("preemptionPolicy")
    if policy not in _POLICIES:
        errors.append(unsupported("preemptionPolicy", policy, _POLICIES))
    return errors


def _update_priority(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    if new.get("value") != old.get("value"):
        errors.append(forbidden("value", "may not be changed in an update."))
    if new.get("preemptionPolicy") != old.get("preemptionPolicy"):
        errors.append(invalid("preemptionPolicy", new.get("preemptionPolicy"), IMMUTABLE))
    return errors


def _admit_priority(obj: Object, ctx: Context) -> None:
    """There is one default class at most (Priority admission)."""
    if not obj.get("globalDefault"):
        return
    for other in ctx.list("scheduling.k8s.io", "priorityclasses", ""):
        name = other["metadata"]["name"]
        if other.get("globalDefault") and name != obj["metadata"].get("name"):
            text = f"PriorityClass {name} is already marked as default. Only one default can exist"
            raise PRIORITY_CLASSES.refuse(obj["metadata"].get("name", ""), text)


def _admit_priority_update(new: Object, old: Object, ctx: Context) -> None:
    _admit_priority(new, ctx)


def _admit_priority_deletion(obj: Object, ctx: Context) -> None:
    name = obj["metadata"].get("name", "")
    if name in _SYSTEM_CLASSES:
        raise PRIORITY_CLASSES.refuse(name, "this is a system priority class and cannot be deleted")


def _priority_cells(obj: Object, now: datetime) -> list[Any]:
    return [
        printing.name_of(obj),
        obj.get("value", 0),
        bool(obj.get("globalDefault")),
        printing.age(obj, now),
        obj.get("preemptionPolicy", ""),
    ]


PRIORITY_CLASSES = Resource(
    group="scheduling.k8s.io",
    version="v1",
    kind="PriorityClass",
    plural="priorityclasses",
    singular="priorityclass",
    namespaced=False,
    short_names=("pc",),
    default=_default_priority,
    validate=_validate_priority,
    validate_update=_update_priority,
    generation=never,
    admit_create=_admit_priority,
    admit_update=_admit_priority_update,
    admit_delete=_admit_priority_deletion,
    columns=(
        NAME_COLUMN,
        Column("Value", "integer", description=".value"),
        Column("Global-Default", "boolean", description=".globalDefault"),
        AGE_COLUMN,
        Column("PreemptionPolicy", description=".preemptionPolicy"),
    ),
    cells=_priority_cells,
)


# --- runtime classes --------------------------------------------------------------------------------------------------


def _validate_runtime(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    handler = obj.get("handler", "")
    if not handler:
        errors.append(required("handler"))
    else:
        errors.extend(invalid("handler", handler, text) for text in names.dns_label(handler))
    for name, value in sorted(((obj.get("overhead") or {}).get("podFixed") or {}).items()):
        check_quantity(errors, value, f"overhead.podFixed[{name}]")
    if tolerations := (obj.get("scheduling") or {}).get("tolerations"):
        check_tolerations(errors, tolerations, "scheduling.tolerations")
    return errors


def _update_runtime(new: Object, old: Object) -> list[FieldError]:
    if new.get("handler") != old.get("handler"):
        return [invalid("handler", new.get("handler", ""), IMMUTABLE)]
    return []


def _runtime_cells(obj: Object, now: datetime) -> list[Any]:
    return [printing.name_of(obj), obj.get("handler", ""), printing.age(obj, now)]


RUNTIME_CLASSES = Resource(
    group="node.k8s.io",
    version="v1",
    kind="RuntimeClass",
    plural="runtimeclasses",
    singular="runtimeclass",
    namespaced=False,
    validate=_validate_runtime,
    validate_update=_update_runtime,
    columns=(NAME_COLUMN, Column("Handler", description=".handler"), AGE_COLUMN),
    cells=_runtime_cells,
)
