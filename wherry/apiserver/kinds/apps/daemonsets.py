"""The row of daemon sets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import printing
from wherry.apiserver.kinds.apps import shared
from wherry.apiserver.kinds.common import check_non_negative, keep_spec, keep_status, spec_changed, status
from wherry.apiserver.kinds.golang import internal
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    Context,
    FieldError,
    Object,
    Resource,
    invalid,
    required,
    unsupported,
)
from wherry.apiserver.kinds.podspec.defaults import default_pod_template

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""Annotation in which the number of template changes lives on."""

_PATH = "spec.updateStrategy.rollingUpdate"


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    default_pod_template(spec.setdefault("template", {}))
    strategy = spec.setdefault("updateStrategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    obj.setdefault("status", {})


def _annotate(obj: Object, generation: str) -> None:
    metadata = obj["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: generation}


def _prepare_create(obj: Object, ctx: Context) -> None:
    obj["status"] = {}
    given = (obj["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
    _annotate(obj, given if given.isdigit() and given != "0" else "1")


def _prepare_update(new: Object, old: Object, ctx: Context) -> None:
    keep_status(new, old, ctx)
    before = (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "1")
    changed = new["spec"].get("template") != old["spec"].get("template")
    _annotate(new, str(int(before) + 1) if changed and before.isdigit() else before)


def _zero(value: Any) -> bool:
    return value in (0, None, "0%")


def _check_strategy(errors: list[FieldError], strategy: Object) -> None:
    kind = strategy.get("type")
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        shown = internal("Strategy", strategy)
        errors.append(unsupported("spec.updateStrategy", shown, ("RollingUpdate", "OnDelete")))
        return
    rolling = strategy.get("rollingUpdate")
    if rolling is None:
        errors.append(required(_PATH))
        return
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    before = len(errors)
    for key, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        shared.check_int_or_percent(errors, value, f"{_PATH}.{key}")
        shared.check_at_most_all(errors, value, f"{_PATH}.{key}")
    if len(errors) > before:
        return
    if not _zero(unavailable) and not _zero(surge):
        errors.append(invalid(f"{_PATH}.maxSurge", surge, "may not be set when maxUnavailable is non-zero"))
    elif _zero(unavailable) and _zero(surge):
        errors.append(required(f"{_PATH}.maxUnavailable", "cannot be 0 when maxSurge is 0"))


def _validate(obj: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    spec = obj["spec"]
    if shared.check_selector(errors, spec, "daemonset"):
        shared.check_template(errors, spec, spec.get("selector"))
        shared.check_always_restarts(errors, spec, owner="DaemonSet")
    check_non_negative(errors, spec.get("minReadySeconds"), "spec.minReadySeconds")
    _check_strategy(errors, spec.get("updateStrategy") or {})
    check_non_negative(errors, spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
    return errors


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    shared.check_selector_kept(errors, new, old)
    return errors + _validate(new)


_COUNTS = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
)


def _validate_status(new: Object, old: Object) -> list[FieldError]:
    errors: list[FieldError] = []
    shared.check_counts(errors, new.get("status") or {}, _COUNTS)
    return errors


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec, current = obj["spec"], obj.get("status") or {}
    template = spec["template"]
    return [
        printing.name_of(obj),
        current.get("desiredNumberScheduled", 0),
        current.get("currentNumberScheduled", 0),
        current.get("numberReady", 0),
        current.get("updatedNumberScheduled", 0),
        current.get("numberAvailable", 0),
        printing.label_map((template.get("spec") or {}).get("nodeSelector")),
        printing.age(obj, now),
        *printing.containers_of(template),
        printing.label_selector(spec.get("selector")),
    ]


DAEMON_SETS = Resource(
    group="apps",
    version="v1",
    kind="DaemonSet",
    plural="daemonsets",
    singular="daemonset",
    namespaced=True,
    short_names=("ds",),
    categories=("all",),
    default=_default,
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    validate=_validate,
    validate_update=_validate_update,
    generation=spec_changed,
    columns=(
        NAME_COLUMN,
        Column("Desired", "integer", description=".status.desiredNumberScheduled"),
        Column("Current", "integer", description=".status.currentNumberScheduled"),
        Column("Ready", "integer", description=".status.numberReady"),
        Column("Up-to-date", "integer", description=".status.updatedNumberScheduled"),
        Column("Available", "integer", description=".status.numberAvailable"),
        Column("Node Selector", description=".spec.template.spec.nodeSelector"),
        AGE_COLUMN,
        shared.CONTAINERS_COLUMN,
        shared.IMAGES_COLUMN,
        shared.SELECTOR_COLUMN,
    ),
    cells=_cells,
    warnings=shared.warnings_of_template,
    update_warnings=shared.update_warnings_of_template,
    subresources=(status("DaemonSet", prepare=keep_spec, validate=_validate_status),),
)
