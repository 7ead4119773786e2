"""Pod disruption budgets (policy/v1)."""

from __future__ import annotations

import msgspec

from wherry.kube.objects.base import Condition, IntOrString, KubeObject, LabelSelector, Model


class PodDisruptionBudgetSpec(Model):
    """Which pods, and how many of them must stay or may go; at most one of the two numbers is set."""

    selector: LabelSelector | None = None
    min_available: IntOrString | None = None
    max_unavailable: IntOrString | None = None
    unhealthy_pod_eviction_policy: str | None = None


class PodDisruptionBudgetStatus(Model):
    """How many pods may go now; ``disrupted_pods`` maps names to the times at which their evictions were granted."""

    observed_generation: int = 0
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    disrupted_pods: dict[str, str] = msgspec.field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()


class PodDisruptionBudget(KubeObject):
    """A limit on voluntary disruptions."""

    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: PodDisruptionBudgetStatus = PodDisruptionBudgetStatus()
