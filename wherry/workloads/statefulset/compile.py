"""A stateful set, its revisions, pods and claims in; steps to take and the status out. Pure.

With ``OrderedReady`` one pod is dealt with at a time: none is made before all with lower ordinals are available, none
is scaled away before all that stay are available, and scaling goes before updating. With ``Parallel`` nothing waits
for another pod. Rules: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/ (deployment and scaling
guarantees, update strategies, rolling updates), KEP-961 (maxUnavailable).

A pod that exists in any form keeps its name: its successor is made only once the object is gone, whatever has become
of its node.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from wherry.kube.objects import PersistentVolumeClaim, Pod
from wherry.workloads import podstate
from wherry.workloads.deployment.rolling import resolve
from wherry.workloads.kinds import ControllerRevision, StatefulSet
from wherry.workloads.statefulset import identity, volumes

Claims = Mapping[str, PersistentVolumeClaim]
"""The claims of the set's pods by name."""


class Do(Enum):
    """What a step is about."""

    CREATE = "create"
    DELETE = "delete"
    PROVIDE = "provide"
    """Make the claims that a pod still waits for."""
    CORRECT = "correct"
    """Give a pod its labels and its claims their owners."""
    HAND_OVER = "hand over"
    """Give the claims of a pod that is scaled away their owners."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do for the pod with an ordinal; only ``CREATE`` has no pod."""

    do: Do
    ordinal: int
    pod: Pod | None = None


Phase = tuple[Step, ...]
"""Steps that go on where the one before succeeded (``OrderedReady``), or all at once (``Parallel``)."""


def pod_revision(
    stateful_set: StatefulSet, current: ControllerRevision, update: ControllerRevision, ordinal: int
) -> ControllerRevision:
    """The revision that a pod to be made gets: below the partition the current one."""
    strategy = stateful_set.spec.update_strategy
    start = identity.ordinals(stateful_set).start
    if strategy.rolling_update is not None:
        kept = strategy.rolling_update.partition
    else:
        kept = stateful_set.status.current_replicas if strategy.type == "RollingUpdate" else 0
    return current if ordinal < start + kept else update


class Situation:
    """A stateful set with what is there; ``now`` in seconds since 1970.

    ``current`` is the revision that ``status.currentRevision`` names, ``update`` the one of the present template.
    """

    def __init__(
        self,
        stateful_set: StatefulSet,
        current: ControllerRevision,
        update: ControllerRevision,
        pods: Sequence[Pod],
        claims: Claims,
        now: float,
    ) -> None:
        self._set = stateful_set
        self._current = current
        self._update = update
        self._claims = claims
        self._now = now
        self._ordered = stateful_set.spec.pod_management_policy != "Parallel"
        self._wanted = identity.ordinals(stateful_set)
        by_ordinal = {ordinal: pod for pod in pods if (ordinal := identity.ordinal_of(stateful_set, pod)) is not None}
        self._pods = by_ordinal
        self._condemned = sorted((each for each in by_ordinal if each not in self._wanted), reverse=True)

    def _available(self, pod: Pod) -> bool:
        """Whether the pod runs and has been ready for long enough."""
        running = pod.status.phase == "Running"
        return running and podstate.is_available(pod, self._set.spec.min_ready_seconds, self._now)

    def _healthy(self, pod: Pod | None) -> bool:
        return pod is not None and not pod.deleting and self._available(pod)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def plan(self) -> list[Phase]:
        """What to do now, phase after phase; a phase is begun only when the one before went well."""
        steps, blocked = self._replicas()
        phases = [steps]
        if not blocked:
            phases.append(self._hand_over())
            condemned, blocked = self._scale_down()
            phases.append(condemned)
        if not blocked:
            phases += self._roll({step.ordinal for step in steps if step.do is Do.DELETE})
        return [phase for phase in phases if phase]

    def _replicas(self) -> tuple[Phase, bool]:
        """Steps for the pods that the set wants, and whether nothing may follow them."""
        steps: list[Step] = []
        for ordinal in self._wanted:
            pod = self._pods.get(ordinal)
            if pod is None:
                if not self._claims_are_stale(ordinal):
                    steps.append(Step(Do.CREATE, ordinal))
                if self._ordered:
                    return tuple(steps), True
                continue
            if pod.finished:
                # How it ended does not matter: a node that restarts ends pods with success, too.
                if not pod.deleting:
                    steps.append(Step(Do.DELETE, ordinal, pod))
                if self._ordered:
                    return tuple(steps), True
                continue
            if pod.status.phase == "Pending" and self._lacks_claims(pod, ordinal):
                steps.append(Step(Do.PROVIDE, ordinal, pod))
            if self._ordered and not self._healthy(pod):
                return tuple(steps), True
            if identity.correction(self._set, pod, ordinal) or self._owners_differ(pod, ordinal):
                steps.append(Step(Do.CORRECT, ordinal, pod))
        return tuple(steps), False

    def _claims_are_stale(self, ordinal: int) -> bool:
        name = identity.pod_name(self._set, ordinal)
        return any(volumes.is_stale(claim, self._set, name) for claim in self._claims_of(ordinal))

    def _claims_of(self, ordinal: int) -> list[PersistentVolumeClaim]:
        names = volumes.claim_names(self._set, ordinal)
        return [claim for name in names if (claim := self._claims.get(name)) is not None]

    def _lacks_claims(self, pod: Pod, ordinal: int) -> bool:
        names = volumes.claim_names(self._set, ordinal)
        return any(name not in self._claims for name in names) or self._owners_differ(pod, ordinal)

    def _owners_differ(self, pod: Pod, ordinal: int) -> bool:
        wanted = ordinal in self._wanted
        return any(
            volumes.owners(claim, self._set, pod.name, pod.uid, wanted=wanted) is not None
            for claim in self._claims_of(ordinal)
        )

    def _hand_over(self) -> Phase:
        pods = ((ordinal, self._pods[ordinal]) for ordinal in self._condemned)
        return tuple(Step(Do.HAND_OVER, ordinal, pod) for ordinal, pod in pods if self._owners_differ(pod, ordinal))

    def _scale_down(self) -> tuple[Phase, bool]:
        """Steps that take pods away, the highest ordinal first, and whether nothing may follow them."""
        if not self._ordered:
            going = tuple(
                Step(Do.DELETE, ordinal, self._pods[ordinal])
                for ordinal in self._condemned
                if not self._pods[ordinal].deleting
            )
            return going, False
        if not self._condemned:
            return (), False
        ordinal = self._condemned[0]
        pod = self._pods[ordinal]
        lowest_unhealthy = next((each for each in self._condemned[::-1] if not self._healthy(self._pods[each])), None)
        if pod.deleting or (not self._available(pod) and ordinal != lowest_unhealthy):
            return (), True
        return (Step(Do.DELETE, ordinal, pod),), True

    def _roll(self, already: Collection[int]) -> list[Phase]:
        """Deletions of pods of another revision, from the highest ordinal down to the partition.

        In parallel sets those that serve nobody go first, whatever the limit: they would never become available.
        """
        strategy = self._set.spec.update_strategy
        if strategy.type != "RollingUpdate":
            return []
        rolling = strategy.rolling_update
        partition = rolling.partition if rolling else 0
        share = rolling.max_unavailable if rolling and rolling.max_unavailable is not None else 1
        limit = max(1, resolve(share, self._set.spec.replicas, up=False))
        unhealthy = [each for each in self._wanted if not self._healthy(self._pods.get(each))]
        old = [
            Step(Do.DELETE, ordinal, pod)
            for ordinal in self._wanted[partition:][::-1]
            if ordinal not in already
            and (pod := self._pods.get(ordinal)) is not None
            and not pod.deleting
            and identity.revision_of(pod) != self._update.name
        ]
        room = max(0, limit - len(unhealthy))
        if self._ordered:
            return [tuple(old[:room])]
        useless = tuple(step for step in old if not self._healthy(step.pod))
        serving = [step for step in old if self._healthy(step.pod)]
        return [useless, tuple(serving[:room])]

    # -- status --------------------------------------------------------------------------------------------------------

    def status(self, collisions: int | None, leaving: Collection[str] = ()) -> dict[str, Any]:
        """The status as plain data; ``leaving`` are uids of pods whose deletion was just accepted."""
        ready = [pod for pod in self._pods.values() if pod.status.phase == "Running" and pod.ready]
        staying = [pod for pod in self._pods.values() if not pod.deleting and pod.uid not in leaving]
        counts = {
            "replicas": len(self._pods),
            "readyReplicas": len(ready),
            "availableReplicas": sum(self._available(pod) for pod in ready),
            "currentReplicas": sum(identity.revision_of(pod) == self._current.name for pod in staying),
            "updatedReplicas": sum(identity.revision_of(pod) == self._update.name for pod in staying),
        }
        current = self._current.name
        if self._set.spec.update_strategy.type == "RollingUpdate" and all(
            counts[key] == self._set.spec.replicas for key in ("replicas", "readyReplicas", "updatedReplicas")
        ):
            counts["currentReplicas"], current = counts["updatedReplicas"], self._update.name
        return {
            # Zero counts are written as absent, the way Kubernetes does; these two are always there.
            **{name: count or None for name, count in counts.items()},
            "replicas": counts["replicas"],
            "availableReplicas": counts["availableReplicas"],
            "currentRevision": current,
            "updateRevision": self._update.name,
            "collisionCount": collisions or 0,
            "observedGeneration": self._set.metadata.generation,
        }
