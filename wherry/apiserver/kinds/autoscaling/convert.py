"""autoscaling/v1 and v2: two views of one object, stored as v2.

What v1 has no fields for travels in its annotations `autoscaling.alpha.kubernetes.io/...`, so that nothing is lost
between the two.
"""

from __future__ import annotations

import json
from typing import Any

from wherry.apiserver.kinds.model import Object

_PREFIX = "autoscaling.alpha.kubernetes.io/"
_METRICS = f"{_PREFIX}metrics"
_CURRENT = f"{_PREFIX}current-metrics"
_CONDITIONS = f"{_PREFIX}conditions"
_BEHAVIOR = f"{_PREFIX}behavior"
_ALL = (_METRICS, _CURRENT, _CONDITIONS, _BEHAVIOR)

# Fields of the v1 form of a target or current value: (v2 name, v1 name in a spec, v1 name in a status).
_RESOURCE = (
    ("averageUtilization", "targetAverageUtilization", "currentAverageUtilization"),
    ("averageValue", "targetAverageValue", "currentAverageValue"),
)
_PODS = (("averageValue", "targetAverageValue", "currentAverageValue"),)
_OBJECT = (("value", "targetValue", "currentValue"), ("averageValue", "averageValue", "averageValue"))
_EXTERNAL = (
    ("value", "targetValue", "currentValue"),
    ("averageValue", "targetAverageValue", "currentAverageValue"),
)
_FIELDS = {
    "resource": _RESOURCE,
    "containerResource": _RESOURCE,
    "pods": _PODS,
    "object": _OBJECT,
    "external": _EXTERNAL,
}


def drop_annotations(obj: Object) -> None:
    """Remove the annotations that only v1 has a use for."""
    metadata = obj.get("metadata") or {}
    annotations = metadata.get("annotations")
    if annotations:
        kept = {key: value for key, value in annotations.items() if key not in _ALL}
        if kept:
            metadata["annotations"] = kept
        else:
            metadata.pop("annotations")


def _value_key(current: bool) -> str:
    return "current" if current else "target"


def _to_v1_metric(metric: Object, *, current: bool) -> Object:
    found: Object = {"type": metric.get("type", "")}
    for source, fields in _FIELDS.items():
        body = metric.get(source)
        if body is None:
            continue
        value = body.get(_value_key(current)) or {}
        out: Object = {}
        if source in ("resource", "containerResource"):
            out["name"] = body.get("name", "")
            if source == "containerResource":
                out["container"] = body.get("container", "")
        else:
            identity = body.get("metric") or {}
            out["metricName"] = identity.get("name", "")
            if (selector := identity.get("selector")) is not None:
                out["metricSelector" if source == "external" else "selector"] = selector
        if source == "object":
            out["target"] = body.get("describedObject") or {}
        for new, spec_name, status_name in fields:
            if value.get(new) is not None:
                out[status_name if current else spec_name] = value[new]
        found[source] = out
    return found


def _from_v1_metric(metric: Object, *, current: bool) -> Object:
    found: Object = {"type": metric.get("type", "")}
    for source, fields in _FIELDS.items():
        body = metric.get(source)
        if body is None:
            continue
        out: Object = {}
        if source in ("resource", "containerResource"):
            out["name"] = body.get("name", "")
            if source == "containerResource":
                out["container"] = body.get("container", "")
        else:
            out["metric"] = {"name": body.get("metricName", "")}
            selector = body.get("metricSelector" if source == "external" else "selector")
            if selector is not None:
                out["metric"]["selector"] = selector
        if source == "object":
            out["describedObject"] = body.get("target") or {}
        value: Object = {}
        for new, spec_name, status_name in fields:
            if (amount := body.get(status_name if current else spec_name)) is not None:
                value[new] = amount
        if not current:
            kinds = {"averageUtilization": "Utilization", "averageValue": "AverageValue", "value": "Value"}
            value["type"] = next((word for key, word in kinds.items() if key in value), "")
        out[_value_key(current)] = value
        found[source] = out
    return found


def _is_cpu(metric: Object) -> bool:
    return metric.get("type") == "Resource" and (metric.get("resource") or {}).get("name") == "cpu"


def to_v1(obj: Object) -> None:
    """From the stored, v2 form to autoscaling/v1."""
    spec, current = obj.get("spec") or {}, obj.get("status") or {}
    notes: dict[str, Any] = {}
    others = []
    for metric in spec.pop("metrics", None) or ():
        utilization = ((metric.get("resource") or {}).get("target") or {}).get("averageUtilization")
        if _is_cpu(metric) and utilization is not None:
            spec["targetCPUUtilizationPercentage"] = utilization
        else:
            others.append(_to_v1_metric(metric, current=False))
    if others:
        notes[_METRICS] = others
    metrics = current.pop("currentMetrics", None) or ()
    for metric in metrics:
        utilization = ((metric.get("resource") or {}).get("current") or {}).get("averageUtilization")
        if _is_cpu(metric) and utilization is not None:
            current["currentCPUUtilizationPercentage"] = utilization
    if metrics:
        notes[_CURRENT] = [_to_v1_metric(metric, current=True) for metric in metrics]
    if conditions := current.pop("conditions", None):
        notes[_CONDITIONS] = conditions
    if behavior := spec.pop("behavior", None):
        notes[_BEHAVIOR] = behavior
    if notes:
        metadata = obj["metadata"]
        texts = {key: json.dumps(value, separators=(",", ":")) for key, value in notes.items()}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **texts}


def _noted(annotations: Object, key: str, expected: type) -> Any:
    """The value in an annotation; None where it is not there or is not what it should be, as upstream ignores it."""
    try:
        value = json.loads(annotations.get(key, ""))
    except ValueError:
        return None
    return value if isinstance(value, expected) else None


def from_v1(obj: Object) -> None:
    """From autoscaling/v1 to the stored, v2 form."""
    spec, current = obj.setdefault("spec", {}), obj.get("status") or {}
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    metrics = [_from_v1_metric(item, current=False) for item in _noted(annotations, _METRICS, list) or ()]
    utilization = spec.pop("targetCPUUtilizationPercentage", None)
    if utilization is not None:
        target = {"type": "Utilization", "averageUtilization": utilization}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    if (behavior := _noted(annotations, _BEHAVIOR, dict)) is not None:
        spec["behavior"] = behavior
    current.pop("currentCPUUtilizationPercentage", None)
    if noted := _noted(annotations, _CURRENT, list):
        current["currentMetrics"] = [_from_v1_metric(item, current=True) for item in noted]
    if conditions := _noted(annotations, _CONDITIONS, list):
        current["conditions"] = conditions
    drop_annotations(obj)
