"""The row of deployments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import printing
from wherry.apiserver.kinds.apps import shared
from wherry.apiserver.kinds.common import (
    check_non_negative,
    drop_status,
    keep_spec_and_labels,
    keep_status,
    scale,
    spec_changed,
    status,
)
from wherry.apiserver.kinds.golang import internal
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
    forbidden,
    invalid,
    unsupported,
)
from wherry.apiserver.kinds.podspec.defaults import default_pod_template

_STRATEGY = "spec.strategy"


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    default_pod_template(spec.setdefault("template", {}))
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    obj.setdefault("status", {})


def _check_rolling(errors: list[FieldError], rolling: Object) -> None:
    path = f"{_STRATEGY}.rollingUpdate"
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    down = shared.check_int_or_percent(errors, unavailable, f"{path}.maxUnavailable")
    up = shared.check_int_or_percent(errors, surge, f"{path}.maxSurge")
    if down == 0 and up == 0 and not errors:
        errors.append(invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    shared.check_at_most_all(errors, unavailable, f"{path}.maxUnavailable")


def _check_strategy(errors: list[FieldError], strategy: Object) -> None:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            text = "may not be specified when strategy `type` is 'Recreate'"
            errors.append(forbidden(f"{_STRATEGY}.rollingUpdate", text))
    elif kind == "RollingUpdate":
        found: list[FieldError] = []
        _check_rolling(found, rolling or {})
        errors.extend(found)
    else:
        errors.append(unsupported(_STRATEGY, internal("Strategy", strategy), ("Recreate", "RollingUpdate")))


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    check_non_negative(errors, spec.get("replicas"), "spec.replicas")
    if shared.check_selector(errors, spec, "deployment"):
        shared.check_template(errors, spec, spec.get("selector"))
        shared.check_always_restarts(errors, spec, owner="ReplicaSet")
    _check_strategy(errors, spec.get("strategy") or {})
    check_non_negative(errors, spec.get("minReadySeconds"), "spec.minReadySeconds")
    check_non_negative(errors, spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        check_non_negative(errors, deadline, "spec.progressDeadlineSeconds")
        if deadline <= spec.get("minReadySeconds", 0):
            errors.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    shared.check_selector_kept(errors, new, old)
    return errors + _validate(new)


_COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas", "collisionCount")


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    current = new.get("status") or {}
    shared.check_counts(errors, current, _COUNTS)
    for key in ("updatedReplicas", "readyReplicas", "availableReplicas"):
        shared.check_at_most(errors, current, key, "replicas")
    shared.check_at_most(errors, current, "availableReplicas", "readyReplicas", "readyReplicas")
    return errors


def _changed(new: Object, old: Object) -> bool:
    """Annotations count, too: they go along to the replica sets."""
    if (new["metadata"].get("annotations") or {}) != (old["metadata"].get("annotations") or {}):
        return True
    return spec_changed(new, old)


def _cells(obj: Object, now: datetime) -> list[Any]:
    current = obj.get("status") or {}
    return [
        printing.name_of(obj),
        shared.ready_of(obj),
        current.get("updatedReplicas", 0),
        current.get("availableReplicas", 0),
        printing.age(obj, now),
        *printing.containers_of(obj["spec"]["template"]),
        printing.label_selector(obj["spec"].get("selector")),
    ]


DEPLOYMENTS = Resource(
    group="apps",
    version="v1",
    kind="Deployment",
    plural="deployments",
    singular="deployment",
    namespaced=True,
    short_names=("deploy",),
    categories=("all",),
    default=_default,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    generation=_changed,
    columns=(
        NAME_COLUMN,
        Column("Ready", description="Number of the pod with ready state"),
        Column("Up-to-date", description=".status.updatedReplicas"),
        Column("Available", description=".status.availableReplicas"),
        AGE_COLUMN,
        shared.CONTAINERS_COLUMN,
        shared.IMAGES_COLUMN,
        shared.SELECTOR_COLUMN,
    ),
    cells=_cells,
    warnings=shared.warnings_of_template,
    update_warnings=shared.update_warnings_of_template,
    subresources=(
        scale(selector=shared.selector_text),
        status("Deployment", prepare=keep_spec_and_labels, validate=_validate_status),
    ),
)
