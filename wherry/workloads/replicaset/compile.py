"""A replica set and its pods in; pods to make, pods to delete and the status out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from wherry.kube.objects import Condition, Pod
from wherry.kube.selectors import from_labels
from wherry.kube.times import format_time
from wherry.workloads import podstate, templates
from wherry.workloads.kinds import ReplicaSet, ReplicationController
from wherry.workloads.podcontrol import BURST

REPLICA_FAILURE = "ReplicaFailure"

Owner: TypeAlias = ReplicaSet | ReplicationController
"""What keeps a number of pods."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many pods to make, or which to delete; at most one of the two is something."""

    create: int = 0
    delete: tuple[Pod, ...] = ()


def plan(replica_set: Owner, owned: Sequence[Pod], related: Sequence[Pod], now: float) -> Plan:
    """What brings the number of active pods to ``spec.replicas``.

    ``related`` are the pods of all replica sets with the same owner: among equals the one that shares its node with
    most of them goes first. ``now`` in seconds since 1970.
    """
    active = [pod for pod in owned if podstate.is_active(pod)]
    surplus = len(active) - replica_set.spec.replicas
    if surplus < 0:
        return Plan(create=min(-surplus, BURST))
    if surplus == 0:
        return Plan()
    neighbours = Counter(pod.spec.node_name for pod in related if podstate.is_active(pod) and pod.spec.node_name)
    ranked = sorted(active, key=podstate.deletion_order(now, neighbours))
    return Plan(delete=tuple(ranked[: min(surplus, BURST)]))


def status(
    replica_set: Owner, owned: Sequence[Pod], now: float, *, failure: tuple[str, str] | None = None
) -> dict[str, Any]:
    """The status as plain data; ``failure`` is reason and message when pods could not be made or deleted."""
    active = [pod for pod in owned if podstate.is_active(pod)]
    labelled = from_labels(templates.labels(replica_set.spec.template))
    counts = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(labelled.matches(pod.labels) for pod in active),
        "readyReplicas": sum(pod.ready for pod in active),
        "availableReplicas": sum(podstate.is_available(pod, replica_set.spec.min_ready_seconds, now) for pod in active),
    }
    known = podstate.condition(replica_set.status.conditions, REPLICA_FAILURE)
    conditions = [each for each in replica_set.status.conditions if each.type != REPLICA_FAILURE]
    if failure is not None:
        if known is None or (known.reason, known.status) != (failure[0], "True"):
            known = Condition(
                type=REPLICA_FAILURE,
                status="True",
                reason=failure[0],
                message=failure[1],
                last_transition_time=format_time(now),
            )
        conditions.append(known)
    extra = {}
    if isinstance(replica_set, ReplicaSet):
        extra["terminatingReplicas"] = sum(pod.deleting and not pod.finished for pod in owned)
    return {
        # Zero counts are written as absent, the way Kubernetes does; ``replicas`` is always there.
        **{name: count or None for name, count in counts.items()},
        "replicas": counts["replicas"],
        **extra,
        "observedGeneration": replica_set.metadata.generation,
        "conditions": [templates.plain(each) for each in conditions] or None,
    }
