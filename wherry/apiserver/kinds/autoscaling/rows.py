"""The rows of horizontal pod autoscalers: autoscaling/v2, and v1 as another view of it."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from typing import Any

from wherry.apiserver.kinds import printing
from wherry.apiserver.kinds.autoscaling.checks import check_spec, default_spec
from wherry.apiserver.kinds.autoscaling.convert import drop_annotations, from_v1, to_v1
from wherry.apiserver.kinds.common import drop_status, keep_spec, keep_status, status
from wherry.apiserver.kinds.model import (
    AGE_COLUMN,
    NAME_COLUMN,
    Column,
    FieldError,
    Object,
    Resource,
)
from wherry.apiserver.kinds.quantity import canonical

_SHOWN_METRICS = 2


def _default(obj: Object) -> None:
    default_spec(obj.setdefault("spec", {}))
    obj.setdefault("status", {})
    drop_annotations(obj)


def _validate(obj: Object) -> list[FieldError]:
    return check_spec(obj["spec"])


def _validate_update(new: Object, old: Object) -> list[FieldError]:
    return check_spec(new["spec"])


def _default_old(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    obj.setdefault("status", {})


def _store_old(obj: Object) -> None:
    """The stored form, as complete as v2 would have made it."""
    from_v1(obj)
    default_spec(obj["spec"])


def _validate_old(obj: Object) -> list[FieldError]:
    stored = deepcopy(obj)
    from_v1(stored)
    return check_spec(stored["spec"])


def _validate_old_update(new: Object, old: Object) -> list[FieldError]:
    return _validate_old(new)


# --- cells ------------------------------------------------------------------------------------------------------------


def _amount(value: Object, key: str) -> str:
    return canonical(value[key]) if value.get(key) is not None else "<unknown>"


def _shown(metric: Object, current: Object) -> str:
    """One metric as `current/target`."""
    kind = metric.get("type", "")
    name = kind[:1].lower() + kind[1:]
    body = metric.get(name) or {}
    target, now = body.get("target") or {}, (current.get(name) or {}).get("current") or {}
    if kind in ("Resource", "ContainerResource"):
        lead = f"{body.get('name', '')}: "
        if target.get("averageValue") is not None:
            return f"{lead}{_amount(now, 'averageValue')}/{canonical(target['averageValue'])}"
        given = f"{now['averageUtilization']}%" if now.get("averageUtilization") is not None else "<unknown>"
        wanted = f"{target['averageUtilization']}%" if target.get("averageUtilization") is not None else "<auto>"
        return f"{lead}{given}/{wanted}"
    if kind == "Pods":
        return f"{_amount(now, 'averageValue')}/{_amount(target, 'averageValue')}"
    if kind in ("Object", "External"):
        if target.get("averageValue") is not None:
            return f"{_amount(now, 'averageValue')}/{canonical(target['averageValue'])} (avg)"
        return f"{_amount(now, 'value')}/{_amount(target, 'value')}"
    return "<unknown type>"


def _targets(obj: Object) -> str:
    metrics = (obj.get("spec") or {}).get("metrics") or ()
    if not metrics:
        return printing.NONE
    current = (obj.get("status") or {}).get("currentMetrics") or ()
    shown = [
        _shown(metric, current[index] if index < len(current) else {})
        for index, metric in enumerate(metrics[:_SHOWN_METRICS])
    ]
    text = ", ".join(shown)
    return f"{text} + {len(metrics) - _SHOWN_METRICS} more..." if len(metrics) > _SHOWN_METRICS else text


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj["spec"]
    target = spec.get("scaleTargetRef") or {}
    least = spec.get("minReplicas")
    return [
        printing.name_of(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _targets(obj),
        printing.UNSET if least is None else str(least),
        spec.get("maxReplicas", 0),
        (obj.get("status") or {}).get("currentReplicas", 0),
        printing.age(obj, now),
    ]


def _old_cells(obj: Object, now: datetime) -> list[Any]:
    stored = deepcopy(obj)
    from_v1(stored)
    return _cells(stored, now)


def _columns(metrics: str) -> tuple[Column, ...]:
    return (
        NAME_COLUMN,
        Column("Reference", description=".spec.scaleTargetRef"),
        Column("Targets", description=metrics),
        Column("MinPods", description=".spec.minReplicas"),
        Column("MaxPods", description=".spec.maxReplicas"),
        Column("Replicas", description=".status.currentReplicas"),
        AGE_COLUMN,
    )


HORIZONTAL_POD_AUTOSCALERS = Resource(
    group="autoscaling",
    version="v2",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler",
    namespaced=True,
    short_names=("hpa",),
    categories=("all",),
    default=_default,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate,
    validate_update=_validate_update,
    columns=_columns(".spec.metrics"),
    cells=_cells,
    subresources=(status("HorizontalPodAutoscaler", prepare=keep_spec),),
)

HORIZONTAL_POD_AUTOSCALERS_V1 = Resource(
    group="autoscaling",
    version="v1",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler",
    namespaced=True,
    short_names=("hpa",),
    categories=("all",),
    to_storage=_store_old,
    from_storage=to_v1,
    default=_default_old,
    prepare_create=drop_status,
    prepare_update=keep_status,
    validate=_validate_old,
    validate_update=_validate_old_update,
    columns=_columns(".spec.targetCPUUtilizationPercentage"),
    cells=_old_cells,
    subresources=(status("HorizontalPodAutoscaler", prepare=keep_spec),),
)
