"""The row of namespaces."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.admission.namespaces import check_deletion
from wherry.apiserver.kinds.common import keep_spec, keep_status, status
from wherry.apiserver.kinds.meta import finalizer_name_errors
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    Context,
    FieldError,
    Object,
    Resource,
    Subresource,
    invalid,
)

NAME_LABEL = "kubernetes.io/metadata.name"


def _default(obj: Object) -> None:
    metadata = obj.setdefault("metadata", {})
    metadata.pop("namespace", None)
    if name := metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: name}
    obj.setdefault("spec", {})
    obj.setdefault("status", {}).setdefault("phase", "Active")


def _prepare_create(obj: Object, ctx: Context) -> None:
    metadata = obj["metadata"]
    if name := metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: name}
    finalizers = obj["spec"].get("finalizers") or []
    obj["spec"]["finalizers"] = finalizers if "kubernetes" in finalizers else [*finalizers, "kubernetes"]
    obj["status"] = {"phase": "Active"}


def _prepare_update(new: Object, old: Object, ctx: Context) -> None:
    keep_spec(new, old, ctx)
    keep_status(new, old, ctx)


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    for value in (obj.get("spec") or {}).get("finalizers") or ():
        errors.extend(finalizer_name_errors(value, "spec.finalizers"))
    return errors


def _validate_finalize(new: Object, old: Object) -> list[FieldError]:
    return _validate(new)


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    phase = (new.get("status") or {}).get("phase", "")
    wanted = "Terminating" if "deletionTimestamp" in new["metadata"] else "Active"
    if phase == wanted:
        return []
    state = "is not empty" if wanted == "Terminating" else "is empty"
    return [invalid("status.Phase", phase, f"may only be '{wanted}' if `deletionTimestamp` {state}")]


def _mark_deleted(obj: Object, ctx: Context) -> None:
    obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}


def _holds(obj: Object) -> bool:
    return bool((obj.get("spec") or {}).get("finalizers"))


def _fields(obj: Object) -> dict[str, str]:
    return {
        "metadata.name": obj["metadata"].get("name", ""),
        "status.phase": (obj.get("status") or {}).get("phase", ""),
    }


def _cells(obj: Object, now: datetime) -> list[Any]:
    return [printing.name_of(obj), (obj.get("status") or {}).get("phase", ""), printing.age(obj, now)]


NAMESPACES = Resource(
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    singular="namespace",
    namespaced=False,
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    name_errors=names.name_is_label,
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    validate=_validate,
    admit_delete=check_deletion,
    holds_deletion=_holds,
    mark_deleted=_mark_deleted,
    selectable_fields=_fields,
    field_labels=("metadata.name", "status.phase"),
    field_label_error="field label not supported: {label}",
    columns=(NAME_COLUMN, Column("Status", description="The status of the namespace"), AGE_COLUMN),
    cells=_cells,
    subresources=(
        Subresource(
            name="finalize",
            verbs=("update",),
            kind="Namespace",
            style="object",
            prepare_update=keep_status,
            validate_update=_validate_finalize,
        ),
        status("Namespace", validate=_validate_status),
    ),
)
