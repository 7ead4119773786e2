"""A deployment's counts and conditions in Kubernetes' words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from wherry.kube.objects import Condition, DeploymentStatus
from wherry.kube.times import format_time, parse_time
from wherry.workloads import podstate, templates
from wherry.workloads.deployment import rolling
from wherry.workloads.kinds import Deployment, ReplicaSet
from wherry.workloads.replicaset.compile import REPLICA_FAILURE

AVAILABLE = "Available"
PROGRESSING = "Progressing"

NEW_SET_AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"

_NO_DEADLINE = 2**31 - 1
"""A progress deadline of this many seconds means none."""


def deadline(deployment: Deployment) -> int | None:
    """Seconds a rollout may go without progress; None for as long as it likes."""
    seconds = deployment.spec.progress_deadline_seconds
    return None if seconds is None or seconds >= _NO_DEADLINE else seconds


class Conditions:
    """The conditions of a deployment while they are worked out; ``now`` in seconds since 1970."""

    def __init__(self, conditions: Iterable[Condition], now: float) -> None:
        self._by_type = {each.type: each for each in conditions}
        self._now = format_time(now)

    def get(self, type_: str) -> Condition | None:
        """The condition of a type."""
        return self._by_type.get(type_)

    def drop(self, type_: str) -> None:
        """There is no such condition any more."""
        self._by_type.pop(type_, None)

    def set(self, type_: str, status: str, reason: str, message: str, *, touch: bool = False) -> None:
        """Set a condition; with the status and reason it has already it stays as it is unless ``touch`` is given."""
        known = self._by_type.get(type_)
        if known is not None and (known.status, known.reason) == (status, reason) and not touch:
            return
        moved = known is None or known.status != status
        self._by_type[type_] = Condition(
            type=type_,
            status=status,
            reason=reason,
            message=message,
            last_update_time=self._now,
            last_transition_time=self._now if moved or known is None else known.last_transition_time,
        )

    def all(self) -> tuple[Condition, ...]:
        """The conditions in the order in which they came up."""
        return tuple(self._by_type.values())


def paused(deployment: Deployment, conditions: Conditions) -> None:
    """Note that the rollout stands still, or goes on, so that the deadline does not count the pause."""
    known = conditions.get(PROGRESSING)
    if deadline(deployment) is None or (known is not None and known.reason == TIMED_OUT):
        return
    noted = known is not None and known.reason == PAUSED
    if deployment.spec.paused and not noted:
        conditions.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused")
    elif not deployment.spec.paused and noted:
        conditions.set(PROGRESSING, "Unknown", RESUMED, "Deployment is resumed")


def counts(deployment: Deployment, sets: Sequence[ReplicaSet], new: ReplicaSet | None) -> DeploymentStatus:
    """The numbers of the status, from those of the replica sets."""
    asked = rolling.total(sets)
    ready_for_use = rolling.available(sets)
    ending = [each.status.terminating_replicas for each in sets]
    return DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=sum(each.status.replicas for each in sets),
        updated_replicas=new.status.replicas if new else 0,
        ready_replicas=sum(each.status.ready_replicas for each in sets),
        available_replicas=ready_for_use,
        unavailable_replicas=max(0, asked - ready_for_use),
        # A sum would be wrong while one of them has not been counted.
        terminating_replicas=None if None in ending else sum(each or 0 for each in ending),
        collision_count=deployment.status.collision_count,
    )


def complete(deployment: Deployment, now: DeploymentStatus) -> bool:
    """Whether all pods are of the newest template and available, and no others are left."""
    wanted = deployment.spec.replicas
    return (
        now.updated_replicas == now.replicas == now.available_replicas == wanted
        and now.observed_generation >= deployment.metadata.generation
    )


def _progressed(old: DeploymentStatus, new: DeploymentStatus) -> bool:
    return (
        new.updated_replicas > old.updated_replicas
        or new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        or new.ready_replicas > old.ready_replicas
        or new.available_replicas > old.available_replicas
    )


def seconds_left(deployment: Deployment, progressing: Condition | None, now: float) -> float | None:
    """Seconds until the rollout counts as stuck, negative once it does; None when no deadline runs."""
    limit = deadline(deployment)
    if limit is None or progressing is None or progressing.reason in (NEW_SET_AVAILABLE, TIMED_OUT, PAUSED):
        return None
    return parse_time(progressing.last_update_time) + limit - now if progressing.last_update_time else None


def available(deployment: Deployment, status: DeploymentStatus, conditions: Conditions) -> None:
    """Condition Available: no more pods are missing than may be."""
    _, may_miss = rolling.limits(deployment)
    if status.available_replicas >= deployment.spec.replicas - may_miss:
        conditions.set(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        conditions.set(
            AVAILABLE, "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
        )


def progress(
    deployment: Deployment, status: DeploymentStatus, new: ReplicaSet | None, conditions: Conditions, now: float
) -> None:
    """Condition Progressing: whether the rollout moves, is done or is stuck."""
    if deadline(deployment) is None:
        conditions.drop(PROGRESSING)
        return
    known = conditions.get(PROGRESSING)
    # Once a rollout was complete, pods that come and go later are not its progress.
    if known is not None and known.reason == NEW_SET_AVAILABLE and status.replicas == status.updated_replicas:
        return
    what = f'ReplicaSet "{new.name}"' if new is not None else f'Deployment "{deployment.name}"'
    left = seconds_left(deployment, known, now)
    if complete(deployment, status):
        conditions.set(PROGRESSING, "True", NEW_SET_AVAILABLE, f"{what} has successfully progressed.")
    elif _progressed(deployment.status, status):
        conditions.set(PROGRESSING, "True", "ReplicaSetUpdated", f"{what} is progressing.", touch=True)
    elif left is not None and left < 0:
        conditions.set(PROGRESSING, "False", TIMED_OUT, f"{what} has timed out progressing.")


def failure(sets: Sequence[ReplicaSet], new: ReplicaSet | None, conditions: Conditions) -> None:
    """Condition ReplicaFailure, taken over from a replica set, the newest one first."""
    ordered = sorted(sets, key=lambda each: each is not new)
    for each in ordered:
        found = podstate.condition(each.status.conditions, REPLICA_FAILURE)
        if found is not None:
            conditions.set(REPLICA_FAILURE, found.status, found.reason, found.message)
            return
    conditions.drop(REPLICA_FAILURE)


def as_patch(status: DeploymentStatus, conditions: tuple[Condition, ...]) -> dict[str, Any]:
    """The status as plain data for a merge patch; zero counts are absent, as Kubernetes writes them."""
    return {
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas or None,
        "updatedReplicas": status.updated_replicas or None,
        "readyReplicas": status.ready_replicas or None,
        "availableReplicas": status.available_replicas or None,
        "unavailableReplicas": status.unavailable_replicas or None,
        "terminatingReplicas": status.terminating_replicas,
        "collisionCount": status.collision_count,
        "conditions": [templates.plain(each) for each in conditions] or None,
    }
