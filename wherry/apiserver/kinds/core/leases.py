"""The row of leases."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import printing
from wherry.apiserver.kinds.common import NON_NEGATIVE
from wherry.apiserver.kinds.model import AGE_COLUMN, NAME_COLUMN, Column, FieldError, Object, Resource, invalid


def _default(obj: Object) -> None:
    obj.setdefault("spec", {})


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        errors.append(invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        errors.append(invalid("spec.leaseTransitions", transitions, NON_NEGATIVE))
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    return _validate(new)


def _cells(obj: Object, now: datetime) -> list[Any]:
    return [printing.name_of(obj), obj["spec"].get("holderIdentity") or "", printing.age(obj, now)]


LEASES = Resource(
    group="coordination.k8s.io",
    version="v1",
    kind="Lease",
    plural="leases",
    singular="lease",
    namespaced=True,
    default=_default,
    validate=_validate,
    validate_update=_validate_update,
    allow_create_on_update=True,
    allow_unconditional_update=False,
    columns=(NAME_COLUMN, Column("Holder", description=".spec.holderIdentity"), AGE_COLUMN),
    cells=_cells,
)
