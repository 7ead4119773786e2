"""What an autoscaler does about a scale, and in which words. Pure.

Rules: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ . No metric can be had here, so only
the bounds act, and every metric is reported as one that could not be had.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from wherry.kube.objects import HorizontalPodAutoscaler
from wherry.kube.objects.autoscaling import MetricSpec, ResourceMetricSource
from wherry.kube.times import format_time
from wherry.workloads.scales import Scale

ABLE, ACTIVE = "AbleToScale", "ScalingActive"

_NO_RESOURCE_METRICS = "no metrics returned from resource metrics API"
_NO_CUSTOM_METRICS = "unable to fetch metrics from custom metrics API: no known available metric versions found"
_NO_EXTERNAL_METRICS = "unable to fetch metrics from external metrics API: no known available metric versions found"

_DEFAULT = (MetricSpec(type="Resource", resource=ResourceMetricSource(name="cpu")),)
"""The API server fills this in where no metrics are given."""


@dataclass(frozen=True, slots=True)
class Told:
    """A condition to set: type, status, reason and message."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Warned:
    """An event of type Warning to report."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``replicas`` is the number to ask for, None to leave the scale alone; ``desired`` goes into the status."""

    desired: int
    replicas: int | None = None
    why: str = ""
    told: tuple[Told, ...] = ()
    warned: tuple[Warned, ...] = field(default=())


def decide(autoscaler: HorizontalPodAutoscaler, scale: Scale) -> Decision:
    """What to do about a scale."""
    spec, current = autoscaler.spec, scale.replicas
    low = spec.min_replicas if spec.min_replicas is not None else 1
    got = Told(ABLE, "True", "SucceededGetScale", "the HPA controller was able to get the target's current scale")
    if current == 0 and low != 0:
        text = "scaling is disabled since the replica count of the target is zero"
        return Decision(desired=current, told=(got, Told(ACTIVE, "False", "ScalingDisabled", text)))
    if current > spec.max_replicas:
        why = "Current number of replicas above Spec.MaxReplicas"
        return Decision(spec.max_replicas, spec.max_replicas, why, (got,))
    if current < low:
        return Decision(low, low, "Current number of replicas below Spec.MinReplicas", (got,))
    told, warned = _without_metrics(spec.metrics or _DEFAULT, scale)
    return Decision(autoscaler.status.desired_replicas, told=(got, told), warned=warned)


def no_scale(error: str) -> tuple[Told, Warned]:
    """What is said where the target has no scale or is not there."""
    text = f"the HPA controller was unable to get the target's current scale: {error}"
    return Told(ABLE, "False", "FailedGetScale", text), Warned("FailedGetScale", error)


def rescaled(decision: Decision) -> Told:
    """What is said of a scale that was changed."""
    text = f"the HPA controller was able to update the target scale to {decision.desired}"
    return Told(ABLE, "True", "SucceededRescale", text)


def not_rescaled(decision: Decision, error: str) -> tuple[Told, Warned]:
    """What is said of a scale that could not be changed."""
    told = Told(
        ABLE, "False", "FailedUpdateScale", f"the HPA controller was unable to update the target scale: {error}"
    )
    return told, Warned("FailedRescale", f"New size: {decision.desired}; reason: {decision.why}; error: {error}")


def _without_metrics(metrics: tuple[MetricSpec, ...], scale: Scale) -> tuple[Told, tuple[Warned, ...]]:
    if not scale.selector:
        text = "selector is required"
        told = Told(ACTIVE, "False", "InvalidSelector", "the HPA target's scale is missing a selector")
        return told, (Warned("SelectorRequired", text), Warned("FailedComputeMetricsReplicas", text))
    failures = [_failure(metric) for metric in metrics]
    reason, error, lead = failures[0]
    told = Told(ACTIVE, "False", reason, f"the HPA was unable to compute the replica count: {error}")
    text = f"invalid metrics ({len(metrics)} invalid out of {len(metrics)}), first error is: {lead}: {error}"
    each = tuple(Warned(kind, message) for kind, message, _ in failures)
    return told, (*each, Warned("FailedComputeMetricsReplicas", text))


def _failure(metric: MetricSpec) -> tuple[str, str, str]:
    """Reason, error, and what the error is about, of a metric that cannot be had."""
    match metric:
        case MetricSpec(resource=source) if source is not None:
            what = "utilization" if source.target.average_value is None else "usage"
            error = f"unable to get metrics for resource {source.name}: {_NO_RESOURCE_METRICS}"
            lead = f"failed to get {source.name} resource metric value"
            return "FailedGetResourceMetric", f"failed to get {source.name} {what}: {error}", lead
        case MetricSpec(container_resource=inside) if inside is not None:
            what = "utilization" if inside.target.average_value is None else "usage"
            error = f"unable to get metrics for resource {inside.name}: {_NO_RESOURCE_METRICS}"
            lead = f"failed to get {inside.name} container metric value"
            return "FailedGetContainerResourceMetric", f"failed to get {inside.name} {what}: {error}", lead
        case MetricSpec(pods=pods) if pods is not None:
            error = f"unable to get metric {pods.metric.name}: {_NO_CUSTOM_METRICS}"
            return "FailedGetPodsMetric", error, "failed to get pods metric value"
        case MetricSpec(object=single) if single is not None:
            about = single.described_object
            error = f"unable to get metric {single.metric.name}: {about.kind} on {about.name} {_NO_CUSTOM_METRICS}"
            return "FailedGetObjectMetric", error, "failed to get object metric value"
        case MetricSpec(external=outside) if outside is not None:
            error = f"unable to get external metric {outside.metric.name}: {_NO_EXTERNAL_METRICS}"
            return "FailedGetExternalMetric", error, f"failed to get {outside.metric.name} external metric value"
    text = f'unknown metric source type "{metric.type}"'
    return "InvalidMetricSourceType", text, text


def status(
    autoscaler: HorizontalPodAutoscaler, told: Iterable[Told], now: float, *, current: int | None, desired: int | None
) -> dict[str, Any]:
    """The status for a merge patch; numbers that are None stay as they are."""
    conditions = {
        each.type: {
            "type": each.type,
            "status": each.status,
            "lastTransitionTime": each.last_transition_time,
            "reason": each.reason,
            "message": each.message,
        }
        for each in autoscaler.status.conditions or ()
    }
    for each in told:
        before = conditions.get(each.type)
        same = before is not None and before["status"] == each.status
        since = before["lastTransitionTime"] if before is not None and same else format_time(now)
        conditions[each.type] = {
            "type": each.type,
            "status": each.status,
            "lastTransitionTime": since,
            "reason": each.reason,
            "message": each.message,
        }
    wanted: dict[str, Any] = {"conditions": list(conditions.values())}
    if current is not None:
        wanted["currentReplicas"] = current
    if desired is not None:
        wanted["desiredReplicas"] = desired
    return wanted
