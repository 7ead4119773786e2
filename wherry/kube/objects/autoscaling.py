"""Horizontal pod autoscalers (autoscaling/v2)."""

from __future__ import annotations

from wherry.kube.objects.base import Condition, KubeObject, LabelSelector, Model, Quantity


class CrossVersionObjectReference(Model):
    """The object that is scaled."""

    kind: str
    name: str
    api_version: str = ""


class MetricTarget(Model):
    """What a metric shall come to: ``Utilization``, ``Value`` or ``AverageValue``."""

    type: str = ""
    value: Quantity | None = None
    average_value: Quantity | None = None
    average_utilization: int | None = None


class MetricIdentifier(Model):
    """The name of a metric of one's own, and which of its series."""

    name: str = ""
    selector: LabelSelector | None = None


class MetricSource(Model):
    """Where a metric comes from; which fields are set depends on the type of the metric."""

    name: str = ""
    container: str = ""
    metric: MetricIdentifier = MetricIdentifier()
    described_object: CrossVersionObjectReference | None = None
    target: MetricTarget = MetricTarget()


class MetricSpec(Model):
    """One metric; ``type`` names the field that is set."""

    type: str
    resource: MetricSource | None = None
    container_resource: MetricSource | None = None
    pods: MetricSource | None = None
    object: MetricSource | None = None
    external: MetricSource | None = None


class HorizontalPodAutoscalerSpec(Model):
    """What to scale, between which numbers, by which metrics."""

    scale_target_ref: CrossVersionObjectReference = CrossVersionObjectReference(kind="", name="")
    max_replicas: int = 0
    min_replicas: int | None = None
    metrics: tuple[MetricSpec, ...] = ()


class HorizontalPodAutoscalerStatus(Model):
    """What the controller saw and did last."""

    current_replicas: int = 0
    desired_replicas: int = 0
    last_scale_time: str | None = None
    conditions: tuple[Condition, ...] | None = ()


class HorizontalPodAutoscaler(KubeObject):
    """Keeps the number of replicas of an object in line with metrics."""

    spec: HorizontalPodAutoscalerSpec = HorizontalPodAutoscalerSpec()
    status: HorizontalPodAutoscalerStatus = HorizontalPodAutoscalerStatus()
