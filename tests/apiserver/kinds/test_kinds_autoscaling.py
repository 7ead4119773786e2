"""Autoscalers in both served versions: defaults, findings, cells, and that nothing is lost between v1 and v2."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from wherry.apiserver.kinds.autoscaling.convert import from_v1, to_v1
from wherry.apiserver.kinds.autoscaling.rows import HORIZONTAL_POD_AUTOSCALERS, HORIZONTAL_POD_AUTOSCALERS_V1

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
PODS = {
    "type": "Pods",
    "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "5"}},
}
OBJECT = {
    "type": "Object",
    "object": {
        "describedObject": {"kind": "Ingress", "name": "main"},
        "metric": {"name": "rate", "selector": {"matchLabels": {"a": "b"}}},
        "target": {"type": "Value", "value": "2k"},
    },
}


def scaler(**spec: Any) -> dict[str, Any]:
    body = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 5, **spec}
    return {"metadata": {"name": "web", "creationTimestamp": "2025-12-31T23:59:00Z"}, "spec": body}


def defaulted(**spec: Any) -> dict[str, Any]:
    obj = scaler(**spec)
    HORIZONTAL_POD_AUTOSCALERS.default(obj)
    return obj


def test_nothing_is_lost_on_the_way_to_v1_and_back() -> None:
    obj = defaulted(metrics=[CPU, PODS, OBJECT], behavior={"scaleDown": {"stabilizationWindowSeconds": 5}})
    obj["status"] = {"currentReplicas": 2, "conditions": [{"type": "AbleToScale", "status": "True"}]}
    old = deepcopy(obj)
    to_v1(old)
    assert old["spec"]["targetCPUUtilizationPercentage"] == 50
    assert "metrics" not in old["spec"]
    from_v1(old)
    assert old == obj


def test_an_old_one_without_target_is_stored_with_the_usual_metric() -> None:
    obj = scaler()
    HORIZONTAL_POD_AUTOSCALERS_V1.default(obj)
    assert HORIZONTAL_POD_AUTOSCALERS_V1.to_storage is not None
    HORIZONTAL_POD_AUTOSCALERS_V1.to_storage(obj)
    assert obj["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 80
    assert obj["spec"]["minReplicas"] == 1


def test_broken_annotations_of_an_old_one_are_ignored() -> None:
    obj = scaler()
    obj["metadata"]["annotations"] = {"autoscaling.alpha.kubernetes.io/metrics": "{", "mine": "x"}
    from_v1(obj)
    assert obj["metadata"]["annotations"] == {"mine": "x"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"maxReplicas": 0}, "spec.maxReplicas: Invalid value: 0: must be greater than 0"),
        ({"minReplicas": 0}, "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"),
        ({"minReplicas": 9}, "spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`"),
        ({"scaleTargetRef": {"name": "web"}}, "spec.scaleTargetRef.kind: Required value"),
        ({"metrics": [{"type": "Resource"}]}, "must populate information for the given metric source"),
        ({"metrics": [CPU | {"pods": PODS["pods"]}]}, "must populate the given metric source only"),
        ({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 9999}}}, "must be less than or equal to 3600"),
    ],
)
def test_findings(spec: dict[str, Any], expected: str) -> None:
    found = [error.message for error in HORIZONTAL_POD_AUTOSCALERS.validate(defaulted(**spec))]
    assert any(expected in text for text in found), found


@pytest.mark.parametrize(
    ("metrics", "current", "expected"),
    [
        ([CPU], [], "cpu: <unknown>/50%"),
        ([CPU], [{"resource": {"name": "cpu", "current": {"averageUtilization": 7}}}], "cpu: 7%/50%"),
        ([CPU, PODS, OBJECT], [], "cpu: <unknown>/50%, <unknown>/5 + 1 more..."),
        ([OBJECT], [], "<unknown>/2k"),
    ],
)
def test_the_cell_of_targets(metrics: list[Any], current: list[Any], expected: str) -> None:
    obj = defaulted(metrics=metrics)
    obj["status"] = {"currentMetrics": current, "currentReplicas": 3}
    assert HORIZONTAL_POD_AUTOSCALERS.cells is not None
    assert HORIZONTAL_POD_AUTOSCALERS.cells(obj, NOW) == ["web", "Deployment/web", expected, "1", 5, 3, "60s"]
