"""The rows of events: one kind of object, shown in the core group and in events.k8s.io under other field names."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.model import (
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    invalid,
    required,
)

_MAX_NOTE = 1024
_MAX_INSTANCE = 128

# events.k8s.io name, core name.
_RENAMED = (
    ("reportingController", "reportingComponent"),
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
)


def _rename(obj: Object, pairs: tuple[tuple[str, str], ...]) -> None:
    for before, after in pairs:
        if before in obj:
            obj[after] = obj.pop(before)


def to_core(obj: Object) -> None:
    """From events.k8s.io to the stored, core form."""
    _rename(obj, _RENAMED)


def from_core(obj: Object) -> None:
    """From the stored, core form to events.k8s.io."""
    _rename(obj, tuple((core, new) for new, core in _RENAMED))


def _check_new_style(errors: list[FieldError], obj: Object, component: str) -> None:
    """What an event with an eventTime must say."""
    controller = obj.get("reportingComponent", "")
    if not controller:
        errors.append(required(component))
    else:
        errors.extend(invalid(component, controller, text) for text in names.qualified_name(controller))
    for key, limit in (("reportingInstance", _MAX_INSTANCE), ("action", _MAX_INSTANCE), ("reason", _MAX_INSTANCE)):
        value = obj.get(key, "")
        if not value:
            errors.append(required(key))
        elif len(value) > limit:
            errors.append(invalid(key, "", f"can have at most {limit} characters"))
    if len(obj.get("message", "")) > _MAX_NOTE:
        errors.append(invalid("message", "", f"can have at most {_MAX_NOTE} characters"))


def _check(obj: Object, component: str) -> list[FieldError]:
    errors: list[FieldError] = []
    namespace = obj["metadata"].get("namespace", "")
    about = (obj.get("involvedObject") or {}).get("namespace", "")
    if about != namespace and not (not about and namespace == "default"):
        errors.append(invalid("involvedObject.namespace", about, "does not match event.namespace"))
    if obj.get("eventTime"):
        _check_new_style(errors, obj, component)
    return errors


def _validate(obj: Object) -> list[FieldError]:
    return _check(obj, "reportingController")


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    return _check(new, "reportingController")


_LEGACY = ("firstTimestamp", "lastTimestamp", "count", "source")
_IMMUTABLE = ("involvedObject", "reason", "message", "type", "eventTime", "reportingComponent", "action", "related")


def _validate_new(obj: Object) -> list[FieldError]:
    core = copy.copy(obj)
    to_core(core)
    errors = _check(core, "reportingController")
    if not core.get("eventTime"):
        errors.append(required("eventTime"))
    if core.get("type") not in ("Normal", "Warning"):
        errors.append(invalid("type", "", f"has invalid value: {core.get('type', '')}"))
    for key in _LEGACY:
        if core.get(key):
            errors.append(invalid(key, "", "needs to be unset"))
    return errors


def _validate_new_update(new: Object, old: Object) -> list[FieldError]:
    after, before = copy.copy(new), copy.copy(old)
    to_core(after)
    to_core(before)
    errors = _check(after, "reportingController")
    for key in _IMMUTABLE:
        if after.get(key) != before.get(key):
            errors.append(invalid(key, after.get(key), "field is immutable"))
    return errors


# --- fields and cells -------------------------------------------------------------------------------------------------

_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def _selectable(obj: Object, about: str, component: str) -> dict[str, str]:
    metadata, reference = obj["metadata"], obj.get(about) or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    controller = obj.get(component, "")
    fields = {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "reason": obj.get("reason", ""),
        component: controller,
        "type": obj.get("type", ""),
    }
    if about == "involvedObject":
        fields["source"] = source.get("component", "") or controller
    for key in _REFERENCE:
        fields[f"{about}.{key}"] = reference.get(key, "")
    return fields


def _fields(obj: Object) -> dict[str, str]:
    return _selectable(obj, "involvedObject", "reportingComponent")


def _new_fields(obj: Object) -> dict[str, str]:
    return _selectable(obj, "regarding", "reportingController")


def _source(obj: Object) -> str:
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent", "")
    host = source.get("host") or ("" if source.get("component") else obj.get("reportingInstance", ""))
    return f"{component}, {host}" if host else component


def _cells(obj: Object, now: datetime) -> list[Any]:
    first = printing.since(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = printing.since(obj["lastTimestamp"], now) if obj.get("lastTimestamp") else first
    count = obj.get("count") or 1
    if series := obj.get("series"):
        last, count = printing.since(series.get("lastObservedTime"), now), series.get("count", 0)
    about = obj.get("involvedObject") or {}
    kind, name = about.get("kind", "").lower(), about.get("name", "")
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{kind}/{name}" if name else kind,
        about.get("fieldPath", ""),
        _source(obj),
        obj.get("message", "").strip(),
        first,
        count,
        printing.name_of(obj),
    ]


def _new_cells(obj: Object, now: datetime) -> list[Any]:
    core = copy.copy(obj)
    to_core(core)
    return _cells(core, now)


_COLUMNS = (
    Column("Last Seen", description="The time at which the most recent occurrence of this event was recorded."),
    Column("Type", description=".type"),
    Column("Reason", description=".reason"),
    Column("Object", description="The object that this event is about."),
    Column("Subobject", description=".involvedObject.fieldPath", priority=1),
    Column("Source", description=".source", priority=1),
    Column("Message", description=".message"),
    Column("First Seen", description=".firstTimestamp", priority=1),
    Column("Count", description=".count", priority=1),
    Column(NAME_COLUMN.name, NAME_COLUMN.type, NAME_COLUMN.format, NAME_COLUMN.description, priority=1),
)

_LABELS = ("metadata.name", "metadata.namespace", "reason", "type")
_UNKNOWN_LABEL = "field label not supported: {label}"

EVENTS = Resource(
    group="",
    version="v1",
    kind="Event",
    plural="events",
    singular="event",
    namespaced=True,
    short_names=("ev",),
    validate=_validate,
    validate_update=_validate_update,
    allow_create_on_update=True,
    selectable_fields=_fields,
    field_labels=(*_LABELS, "source", "reportingComponent", *(f"involvedObject.{key}" for key in _REFERENCE)),
    field_label_error=_UNKNOWN_LABEL,
    columns=_COLUMNS,
    cells=_cells,
)

EVENTS_V1 = Resource(
    group="events.k8s.io",
    version="v1",
    kind="Event",
    plural="events",
    singular="event",
    namespaced=True,
    short_names=("ev",),
    storage_key=("", "events"),
    to_storage=to_core,
    from_storage=from_core,
    validate=_validate_new,
    validate_update=_validate_new_update,
    allow_create_on_update=True,
    selectable_fields=_new_fields,
    field_labels=(*_LABELS, "reportingController", *(f"regarding.{key}" for key in _REFERENCE)),
    field_label_error=_UNKNOWN_LABEL,
    columns=_COLUMNS,
    cells=_new_cells,
)
