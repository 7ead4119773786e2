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


class ResourceMetricSource(Model):
    """The cpu or memory that pods use."""

    name: str = ""
    target: MetricTarget = MetricTarget()


class ContainerResourceMetricSource(Model):
    """The cpu or memory that one container of each pod uses."""

    name: str = ""
    container: str = ""
    target: MetricTarget = MetricTarget()


class PodsMetricSource(Model):
    """A metric that each pod has."""

    metric: MetricIdentifier = MetricIdentifier()
    target: MetricTarget = MetricTarget()


class ObjectMetricSource(Model):
    """A metric of one object."""

    described_object: CrossVersionObjectReference = CrossVersionObjectReference(kind="", name="")
    metric: MetricIdentifier = MetricIdentifier()
    target: MetricTarget = MetricTarget()


class ExternalMetricSource(Model):
    """A metric of something outside the cluster."""

    metric: MetricIdentifier = MetricIdentifier()
    target: MetricTarget = MetricTarget()


class MetricSpec(Model):
    """One metric; ``type`` names the field that is set."""

    type: str
    resource: ResourceMetricSource | None = None
    container_resource: ContainerResourceMetricSource | None = None
    pods: PodsMetricSource | None = None
    object: ObjectMetricSource | None = None
    external: ExternalMetricSource | None = None


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
