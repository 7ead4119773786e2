"""The conditions a kubelet reports of a pod, with its reasons and messages. Pure.

Source: Kubernetes documentation, "Pod Lifecycle" (conditions, readiness gates), KEP-753 for sidecars and KEP-5532 for
restarting all containers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wherry.kube.objects import Container, Pod
from wherry.kube.objects.base import Condition
from wherry.kube.objects.containers import ContainerStatus
from wherry.pods.restarts import is_sidecar, may_restart_all
from wherry.pods.state import Observed, initialised

RESTARTING = "AllContainersRestarting"
OWNED = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled", RESTARTING)
"""The condition types written here; all others belong to whoever set them."""


def pod_conditions(
    pod: Pod,
    seen: Observed,
    *,
    phase: str,
    init_statuses: tuple[ContainerStatus, ...],
    statuses: tuple[ContainerStatus, ...],
    now: str,
) -> tuple[Condition, ...]:
    """Return the owned conditions; the transition time of one whose status did not change is kept."""
    by_name = {status.name: status for status in (*init_statuses, *statuses)}
    containers_ready = _containers_ready(pod, phase, by_name)
    found = [
        _make("PodReadyToStartContainers", seen.sandbox is not None),
        _initialized(pod, seen, phase, by_name),
        _ready(pod, containers_ready),
        containers_ready,
        _make("PodScheduled", True),
    ]
    if may_restart_all(pod):
        found.append(_make(RESTARTING, any(seen.outdated(attempt) for attempt in seen.running())))
    return tuple(_dated(pod, condition, now) for condition in found)


def _make(type_: str, holds: bool, reason: str = "", message: str = "") -> Condition:
    return Condition(type=type_, status="True" if holds else "False", reason=reason, message=message)


def _dated(pod: Pod, condition: Condition, now: str) -> Condition:
    before = pod.status.condition(condition.type)
    same = before is not None and before.status == condition.status and before.last_transition_time is not None
    return Condition(
        type=condition.type,
        status=condition.status,
        reason=condition.reason,
        message=condition.message,
        observed_generation=pod.metadata.generation or None,
        last_transition_time=before.last_transition_time if same and before is not None else now,
    )


def _initialized(pod: Pod, seen: Observed, phase: str, by_name: Mapping[str, ContainerStatus]) -> Condition:
    if phase == "Succeeded":
        return _make("Initialized", True, "PodCompleted")
    if initialised(pod, seen):
        return _make("Initialized", True)
    incomplete = [c.name for c in pod.spec.init_containers if not _init_complete(c, by_name.get(c.name))]
    message = f"containers with incomplete status: {_names(incomplete)}"
    return _make("Initialized", False, "ContainersNotInitialized", message)


def _init_complete(container: Container, status: ContainerStatus | None) -> bool:
    if status is None:
        return False
    return status.started is True if is_sidecar(container) else status.ready


def _containers_ready(pod: Pod, phase: str, by_name: Mapping[str, ContainerStatus]) -> Condition:
    if phase == "Succeeded":
        return _make("ContainersReady", False, "PodCompleted")
    if phase == "Failed":
        return _make("ContainersReady", False, "PodFailed")
    asked = [c for c in pod.spec.init_containers if is_sidecar(c)] + list(pod.spec.containers or ())
    unready = [container.name for container in asked if not by_name[container.name].ready]
    if unready:
        message = f"containers with unready status: {_names(unready)}"
        return _make("ContainersReady", False, "ContainersNotReady", message)
    return _make("ContainersReady", True)


def _ready(pod: Pod, containers_ready: Condition) -> Condition:
    if containers_ready.status != "True":
        return _make("Ready", False, containers_ready.reason, containers_ready.message)
    messages: list[str] = []
    for gate in pod.spec.readiness_gates:
        condition = pod.status.condition(gate.condition_type)
        if condition is None:
            messages.append(f'corresponding condition of pod readiness gate "{gate.condition_type}" does not exist.')
        elif condition.status != "True":
            messages.append(
                f'the status of pod readiness gate "{gate.condition_type}" is not "True", but {condition.status}'
            )
    if messages:
        return _make("Ready", False, "ReadinessGatesNotReady", ", ".join(messages))
    return _make("Ready", True)


def _names(names: Iterable[str]) -> str:
    return f"[{' '.join(names)}]"
