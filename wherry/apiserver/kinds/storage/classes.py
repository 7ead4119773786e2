"""The row of storage classes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import names, printing
from wherry.apiserver.kinds.common import IMMUTABLE
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    forbidden,
    invalid,
    required,
    unsupported,
)
from wherry.apiserver.kinds.storage.shared import is_default

_POLICIES = ("Delete", "Retain")
_BINDING_MODES = ("Immediate", "WaitForFirstConsumer")


def _default(obj: Object) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    provisioner = obj.get("provisioner", "")
    if not provisioner:
        errors.append(required("provisioner"))
    else:
        errors.extend(invalid("provisioner", provisioner, text) for text in names.qualified_name(provisioner.lower()))
    if "" in (obj.get("parameters") or {}):
        errors.append(invalid("parameters", "", "field can not be empty."))
    if obj.get("reclaimPolicy") not in _POLICIES:
        errors.append(unsupported("reclaimPolicy", obj.get("reclaimPolicy"), _POLICIES))
    if obj.get("volumeBindingMode") not in _BINDING_MODES:
        errors.append(unsupported("volumeBindingMode", obj.get("volumeBindingMode"), _BINDING_MODES))
    for i, term in enumerate(obj.get("allowedTopologies") or ()):
        for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
            where = f"allowedTopologies[{i}].matchLabelExpressions[{j}]"
            if not expression.get("values"):
                errors.append(required(f"{where}.values"))
            key = expression.get("key", "")
            errors.extend(invalid(f"{where}.key", key, text) for text in names.qualified_name(key))
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors = _validate(new)
    for key in ("parameters", "provisioner", "reclaimPolicy"):
        if (new.get(key) or None) != (old.get(key) or None):
            errors.append(forbidden(key, f"updates to {key} are forbidden."))
    if new.get("volumeBindingMode") != old.get("volumeBindingMode"):
        errors.append(invalid("volumeBindingMode", new.get("volumeBindingMode"), IMMUTABLE))
    return errors


def _cells(obj: Object, now: datetime) -> list[Any]:
    name = printing.name_of(obj)
    return [
        f"{name} (default)" if is_default(obj) else name,
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
        printing.age(obj, now),
    ]


STORAGE_CLASSES = Resource(
    group="storage.k8s.io",
    version="v1",
    kind="StorageClass",
    plural="storageclasses",
    singular="storageclass",
    namespaced=False,
    short_names=("sc",),
    default=_default,
    validate=_validate,
    validate_update=_validate_update,
    returns_deleted=True,
    columns=(
        NAME_COLUMN,
        Column("Provisioner", description=".provisioner"),
        Column("ReclaimPolicy", description=".reclaimPolicy"),
        Column("VolumeBindingMode", description=".volumeBindingMode"),
        Column("AllowVolumeExpansion", description=".allowVolumeExpansion"),
        AGE_COLUMN,
    ),
    cells=_cells,
)
