"""Autoscalers without metrics: what they say in a table, and what they do against a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workloads.make import START, meta, of
from tests.workloads.world import world
from wherry.kube import kinds
from wherry.kube.keys import Key
from wherry.kube.objects import HorizontalPodAutoscaler
from wherry.workloads.autoscaling import compile
from wherry.workloads.scales import Scale

CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
QUEUE = {"type": "Pods", "pods": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "5"}}}


def autoscaler(*metrics: dict[str, Any], low: int = 2, high: int = 4) -> HorizontalPodAutoscaler:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "minReplicas": low, "maxReplicas": high, "metrics": list(metrics)}
    return of(HorizontalPodAutoscaler, {"metadata": meta("web", "default"), "spec": spec})


def scale(replicas: int, selector: str = "app=web") -> Scale:
    return Scale("uid", "deployments.apps", replicas, replicas, selector)


@pytest.mark.parametrize(
    ("replicas", "asked", "why"),
    [
        (1, 2, "Current number of replicas below Spec.MinReplicas"),
        (9, 4, "Current number of replicas above Spec.MaxReplicas"),
        (3, None, ""),
        (0, None, ""),
    ],
)
def test_only_the_bounds_scale(replicas: int, asked: int | None, why: str) -> None:
    decision = compile.decide(autoscaler(CPU), scale(replicas))
    assert (decision.replicas, decision.why) == (asked, why)


def test_zero_replicas_switch_it_off() -> None:
    decision = compile.decide(autoscaler(CPU), scale(0))
    assert decision.told[1] == compile.Told(
        "ScalingActive",
        "False",
        "ScalingDisabled",
        "scaling is disabled since the replica count of the target is zero",
    )
    assert compile.decide(autoscaler(CPU, low=0), scale(0)).told[1].reason == "FailedGetResourceMetric"


def test_metrics_that_nobody_has_are_reported_in_order() -> None:
    decision = compile.decide(autoscaler(CPU, QUEUE), scale(3))
    no_cpu = "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource"
    assert decision.told[1].message == f"the HPA was unable to compute the replica count: {no_cpu} metrics API"
    assert [each.reason for each in decision.warned] == [
        "FailedGetResourceMetric",
        "FailedGetPodsMetric",
        "FailedComputeMetricsReplicas",
    ]
    assert decision.warned[-1].message == (
        "invalid metrics (2 invalid out of 2), first error is: failed to get cpu resource metric value: "
        f"{no_cpu} metrics API"
    )


def test_a_target_without_a_selector_has_no_pods_to_measure() -> None:
    assert compile.decide(autoscaler(CPU), scale(3, "")).told[1].reason == "InvalidSelector"


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    told = compile.Told("AbleToScale", "True", "SucceededGetScale", "text")
    first = compile.status(autoscaler(), (told,), START, current=3, desired=3)
    after = of(HorizontalPodAutoscaler, {"metadata": meta("web"), "status": first})
    again = compile.status(after, (told,), START + 60, current=3, desired=3)
    assert again["conditions"] == first["conditions"]
    [changed] = compile.status(after, compile.no_scale("gone")[:1], START + 60, current=None, desired=None)[
        "conditions"
    ]
    assert changed["lastTransitionTime"] != first["conditions"][0]["lastTransitionTime"]


async def test_targets_are_kept_between_the_bounds() -> None:
    async with world() as there:
        autoscalers = there.view(kinds.HORIZONTAL_POD_AUTOSCALERS)

        def reasons(name: str) -> dict[str, str]:
            found = autoscalers.get(Key("default", name))
            return {each.type: each.reason for each in found.status.conditions or ()} if found is not None else {}

        async def add(name: str, target: str, low: int, high: int, version: str = "apps/v1") -> None:
            reference = {"apiVersion": version, "kind": "Deployment", "name": target}
            spec = {"scaleTargetRef": reference, "minReplicas": low, "maxReplicas": high}
            await there.create(kinds.HORIZONTAL_POD_AUTOSCALERS, name, spec=spec)

        await there.add_node("n1")
        for name, replicas in (("small", 1), ("fine", 2), ("off", 0)):
            await there.add_deployment(name, replicas)
            await add(name, name, 2, 3)
        await add("lost", "nowhere", 1, 2)
        await add("unknown", "fine", 1, 2, version="")
        await there.until(lambda: reasons("small").get("AbleToScale") == "SucceededRescale")
        await there.until(lambda: len(there.running("small")) == 2)
        await there.until(lambda: reasons("fine").get("ScalingActive") == "FailedGetResourceMetric")
        await there.until(lambda: reasons("off").get("ScalingActive") == "ScalingDisabled")
        await there.until(lambda: reasons("lost").get("AbleToScale") == "FailedGetScale")
        await there.until(lambda: reasons("unknown").get("AbleToScale") == "FailedGetScale")
        await there.until(lambda: {"SuccessfulRescale"} <= there.reasons("small"))
        found = autoscalers.get(Key("default", "lost"))
        assert found is not None
        [condition] = found.status.conditions or ()
        assert condition.message.endswith('current scale: deployments.apps "nowhere" not found')
        found = autoscalers.get(Key("default", "unknown"))
        assert found is not None
        [condition] = found.status.conditions or ()
        assert condition.message.endswith('current scale: no matches for kind "Deployment" in group ""')
        assert autoscalers.get(Key("default", "fine")).status.current_replicas == 2
