"""The arithmetic of a rollout: how many pods each replica set may have. Pure.

Rules: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#strategy (maxSurge, maxUnavailable,
proportional scaling).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from wherry.kube.objects import IntOrString
from wherry.workloads.deployment.revisions import MAX_REPLICAS
from wherry.workloads.kinds import Deployment, ReplicaSet


def resolve(value: IntOrString | None, total: int, *, up: bool) -> int:
    """A count, or a percentage of ``total`` rounded up or down; nothing and nonsense count as 0."""
    if isinstance(value, int):
        return value
    if not value or not value.endswith("%") or not value[:-1].isdecimal():
        return 0
    share = int(value[:-1]) * total
    return -(-share // 100) if up else share // 100


def limits(deployment: Deployment) -> tuple[int, int]:
    """``maxSurge`` and ``maxUnavailable`` as counts; (0, 0) for a deployment that does not roll."""
    strategy = deployment.spec.strategy
    if strategy.type != "RollingUpdate":
        return 0, 0
    wanted = deployment.spec.replicas
    rolling = strategy.rolling_update
    surge = resolve(rolling.max_surge if rolling else None, wanted, up=True)
    unavailable = resolve(rolling.max_unavailable if rolling else None, wanted, up=False)
    if surge == 0 and unavailable == 0:
        # Percentages of a small number may both come to nothing, and then nothing could ever move.
        unavailable = 1
    return surge, min(unavailable, wanted)


def total(sets: Sequence[ReplicaSet]) -> int:
    """Pods asked for by these replica sets."""
    return sum(each.spec.replicas for each in sets)


def available(sets: Sequence[ReplicaSet]) -> int:
    """Pods of these replica sets that are available."""
    return sum(each.status.available_replicas for each in sets)


def new_size(deployment: Deployment, current: int, everything: int) -> int:
    """How large the newest replica set may be now, given its size and that of all together."""
    wanted = deployment.spec.replicas
    if deployment.spec.strategy.type != "RollingUpdate" or current >= wanted:
        return wanted
    surge, _ = limits(deployment)
    room = wanted + surge - everything
    return current + max(0, min(room, wanted - current))


def scale_down_old(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> dict[str, int]:
    """New sizes of the old replica sets (by name) that shrink now; empty when none may.

    Pods that are not available go first, as they serve nobody; then as many as leave enough available.
    """
    _, max_unavailable = limits(deployment)
    minimum = deployment.spec.replicas - max_unavailable
    everything = [*old, new]
    missing = max(0, new.spec.replicas - new.status.available_replicas)
    budget = total(everything) - minimum - missing
    if budget <= 0 or total(old) == 0:
        return {}
    sizes = {each.name: each.spec.replicas for each in old}
    ordered = sorted(old, key=lambda each: (each.metadata.creation_timestamp or "", each.name))
    for each in ordered:
        unhealthy = max(0, sizes[each.name] - each.status.available_replicas)
        step = min(budget, unhealthy)
        sizes[each.name] -= step
        budget -= step
    spare = available(everything) - minimum
    for each in ordered:
        step = max(0, min(sizes[each.name], spare))
        sizes[each.name] -= step
        spare -= step
    return {each.name: sizes[each.name] for each in old if sizes[each.name] != each.spec.replicas}


def proportional(deployment: Deployment, active: Sequence[ReplicaSet]) -> dict[str, int]:
    """Sizes by name that share a change of ``spec.replicas`` among replica sets in the middle of a rollout.

    Each gets its part of the pods that the whole may have (``replicas`` + ``maxSurge``), the largest first, which
    also gets what rounding leaves over.
    """
    surge, _ = limits(deployment)
    wanted = deployment.spec.replicas
    change = (wanted + surge if wanted > 0 else 0) - total(active)
    growing = change > 0
    ordered = sorted(active, key=lambda each: each.metadata.creation_timestamp or "", reverse=growing)
    ordered.sort(key=lambda each: each.spec.replicas, reverse=True)
    sizes = {}
    given = 0
    for each in ordered:
        part = _part(deployment, each, wanted + surge) if change else 0
        left = change - given
        step = max(0, min(part, left)) if growing else min(0, max(part, left))
        given += step
        sizes[each.name] = each.spec.replicas + step
    left = change - given
    for each in ordered:
        step = left if growing else max(left, -sizes[each.name])
        sizes[each.name] += step
        left -= step
    return sizes


def _part(deployment: Deployment, replica_set: ReplicaSet, whole: int) -> int:
    if deployment.spec.replicas == 0:
        return -replica_set.spec.replicas
    before = whole_before(replica_set.metadata.annotations) or deployment.status.replicas
    if before == 0:
        return 0
    return _round(replica_set.spec.replicas * whole / before) - replica_set.spec.replicas


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def whole_before(annotations: Mapping[str, str]) -> int:
    """What the whole deployment was allowed when the replica set was last scaled; 0 when that is not known."""
    text = annotations.get(MAX_REPLICAS, "")
    return int(text) if text.isdecimal() else 0
