"""Defaults and checks of horizontal pod autoscalers, on the stored (v2) form."""

from __future__ import annotations

from typing import Any

from wherry.apiserver.kinds import names
from wherry.apiserver.kinds.model import FieldError, Object, forbidden, invalid, required, unsupported
from wherry.apiserver.kinds.quantity import BadQuantity, parse

_TARGET_UTILIZATION = 80
_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_TARGETS = ("Utilization", "Value", "AverageValue")
_WINDOW_LIMIT = 3600
_PERIOD_LIMIT = 1800
_PERCENT = {"type": "Percent", "value": 100, "periodSeconds": 15}
_PODS = {"type": "Pods", "value": 4, "periodSeconds": 15}


def default_spec(spec: Object) -> None:
    """One replica at least, four fifths of the requested processor time; rules complete where some are given."""
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": _TARGET_UTILIZATION}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is None:
        return
    up, down = behavior.get("scaleUp") or {}, behavior.get("scaleDown") or {}
    up.setdefault("stabilizationWindowSeconds", 0)
    for rules, policies in ((up, [_PODS, _PERCENT]), (down, [_PERCENT])):
        rules.setdefault("selectPolicy", "Max")
        if not rules.get("policies"):
            rules["policies"] = [dict(policy) for policy in policies]
    behavior["scaleUp"], behavior["scaleDown"] = up, down


def _check_reference(errors: list[FieldError], reference: Object, path: str) -> None:
    for key in ("kind", "name"):
        value = reference.get(key, "")
        if not value:
            errors.append(required(f"{path}.{key}"))
        else:
            errors.extend(invalid(f"{path}.{key}", value, text) for text in names.path_segment(value))


def _positive(value: Any) -> bool:
    try:
        return parse(value) > 0
    except BadQuantity:
        return False


def _check_target(errors: list[FieldError], target: Object, path: str) -> None:
    kind = target.get("type", "")
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric target type"))
    elif kind not in _TARGETS:
        text = "must be either Utilization, Value, or AverageValue"
        errors.append(invalid(f"{path}.type", kind, text))
    for key in ("value", "averageValue"):
        if target.get(key) is not None and not _positive(target[key]):
            errors.append(invalid(f"{path}.{key}", target[key], "must be positive"))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        errors.append(invalid(f"{path}.averageUtilization", utilization, "must be greater than 0"))


def _check_source(errors: list[FieldError], name: str, source: Object, path: str) -> None:
    target = source.get("target") or {}
    if name in ("resource", "containerResource"):
        if not source.get("name"):
            errors.append(required(f"{path}.name", "must specify a resource name"))
        if name == "containerResource" and not source.get("container"):
            errors.append(required(f"{path}.container", "must specify a container"))
    else:
        metric = (source.get("metric") or {}).get("name", "")
        if not metric:
            errors.append(required(f"{path}.metric.name", "must specify a metric name"))
        else:
            errors.extend(invalid(f"{path}.metric.name", metric, text) for text in names.path_segment(metric))
    if name == "object":
        _check_reference(errors, source.get("describedObject") or {}, f"{path}.describedObject")
    _check_target(errors, target, f"{path}.target")
    if name in ("resource", "containerResource"):
        utilization, average = target.get("averageUtilization"), target.get("averageValue")
        if utilization is None and average is None:
            text = "must specify either a target raw value or a target utilization"
            errors.append(required(f"{path}.target.averageUtilization", text))
        elif utilization is not None and average is not None:
            text = "may not set both a target raw value and a target utilization"
            errors.append(forbidden(f"{path}.target.averageValue", text))
    elif name == "pods":
        if target.get("averageValue") is None:
            text = "must specify a positive target averageValue"
            errors.append(required(f"{path}.target.averageValue", text))
    elif target.get("value") is None and target.get("averageValue") is None:
        text = "must set either a target value or averageValue"
        errors.append(required(f"{path}.target.averageValue", text))
    elif name == "external" and target.get("value") is not None and target.get("averageValue") is not None:
        text = "may not set both a target value for metric and a per-pod target"
        errors.append(forbidden(f"{path}.target.value", text))


def _check_metric(errors: list[FieldError], metric: Object, path: str) -> None:
    kind = metric.get("type", "")
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric source type"))
    elif kind not in _SOURCES:
        errors.append(unsupported(f"{path}.type", kind, sorted(_SOURCES)))
    given = [name for name in _SOURCES.values() if metric.get(name) is not None]
    expected = _SOURCES.get(kind)
    if expected is not None and expected not in given:
        text = "must populate information for the given metric source"
        errors.append(required(f"{path}.{expected}", text))
    for name in given:
        if name == expected or expected is None:
            _check_source(errors, name, metric[name], f"{path}.{name}")
        else:
            errors.append(forbidden(f"{path}.{name}", "must populate the given metric source only"))


def _check_rules(errors: list[FieldError], rules: Object | None, path: str) -> None:
    if rules is None:
        return
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and window < 0:
        errors.append(invalid(f"{path}.stabilizationWindowSeconds", window, "must be greater than or equal to zero"))
    elif window is not None and window > _WINDOW_LIMIT:
        text = f"must be less than or equal to {_WINDOW_LIMIT}"
        errors.append(invalid(f"{path}.stabilizationWindowSeconds", window, text))
    select = rules.get("selectPolicy")
    if select is not None and select not in ("Max", "Min", "Disabled"):
        errors.append(unsupported(f"{path}.selectPolicy", select, ("Disabled", "Max", "Min")))
    if not rules.get("policies"):
        errors.append(required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(rules.get("policies") or ()):
        where = f"{path}.policies[{index}]"
        if policy.get("type") not in ("Pods", "Percent"):
            errors.append(unsupported(f"{where}.type", policy.get("type", ""), ("Percent", "Pods")))
        if policy.get("value", 0) <= 0:
            errors.append(invalid(f"{where}.value", policy.get("value", 0), "must be greater than zero"))
        period = policy.get("periodSeconds", 0)
        if period <= 0:
            errors.append(invalid(f"{where}.periodSeconds", period, "must be greater than zero"))
        elif period > _PERIOD_LIMIT:
            text = f"must be less than or equal to {_PERIOD_LIMIT}"
            errors.append(invalid(f"{where}.periodSeconds", period, text))


def check_spec(spec: Object) -> list[FieldError]:
    """Findings about the spec of an autoscaler."""
    errors: list[FieldError] = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None and least < 1:
        errors.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        errors.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        errors.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    _check_reference(errors, spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    for index, metric in enumerate(spec.get("metrics") or ()):
        _check_metric(errors, metric, f"spec.metrics[{index}]")
    behavior = spec.get("behavior") or {}
    _check_rules(errors, behavior.get("scaleUp"), "spec.behavior.scaleUp")
    _check_rules(errors, behavior.get("scaleDown"), "spec.behavior.scaleDown")
    return errors
