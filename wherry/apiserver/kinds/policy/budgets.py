"""The row of pod disruption budgets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import printing
from wherry.apiserver.kinds.apps.shared import check_at_most_all, check_int_or_percent
from wherry.apiserver.kinds.common import drop_status, keep_spec, keep_status, spec_changed, status
from wherry.apiserver.kinds.golang import internal
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    invalid,
    unsupported,
)
from wherry.apiserver.kinds.podspec.scheduling import check_label_selector

_EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")


def _default(obj: Object) -> None:
    obj.setdefault("spec", {})
    obj.setdefault("status", {})


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        text = "minAvailable and maxUnavailable cannot be both set"
        errors.append(invalid("spec", internal("PodDisruptionBudgetSpec", spec), text))
    for key in ("minAvailable", "maxUnavailable"):
        if (value := spec.get(key)) is not None:
            check_int_or_percent(errors, value, f"spec.{key}")
            check_at_most_all(errors, value, f"spec.{key}")
    check_label_selector(errors, spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _EVICTION_POLICIES:
        errors.append(unsupported("spec.unhealthyPodEvictionPolicy", policy, _EVICTION_POLICIES))
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    return _validate(new)


def _shown(value: Any) -> str:
    return "N/A" if value is None else str(value)


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj["spec"]
    return [
        printing.name_of(obj),
        _shown(spec.get("minAvailable")),
        _shown(spec.get("maxUnavailable")),
        (obj.get("status") or {}).get("disruptionsAllowed", 0),
        printing.age(obj, now),
    ]


POD_DISRUPTION_BUDGETS = Resource(
    group="policy",
    version="v1",
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    singular="poddisruptionbudget",
    namespaced=True,
    short_names=("pdb",),
    default=_default,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    generation=spec_changed,
    columns=(
        NAME_COLUMN,
        Column("Min Available", description="The minimum number of pods that must be available."),
        Column("Max Unavailable", description="The maximum number of pods that may be unavailable."),
        Column(
            "Allowed Disruptions",
            "integer",
            description="Calculated number of pods that may be disrupted at this time.",
        ),
        AGE_COLUMN,
    ),
    cells=_cells,
    subresources=(status("PodDisruptionBudget", prepare=keep_spec),),
)
