"""One step of a deployment: what to change now and what its status says. Pure.

A step ends where the next one depends on what this one brings about; the change of a replica set it causes leads to
the next reconcile, which takes the next step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wherry.kube.objects import Condition, Pod
from wherry.workloads import templates
from wherry.workloads.deployment import revisions, rolling, status
from wherry.workloads.kinds import Deployment, ReplicaSet

CREATE_ERROR = "ReplicaSetCreateError"


@dataclass(frozen=True, slots=True)
class Change:
    """A patch of a replica set, and the size it goes to when that changes."""

    replica_set: ReplicaSet
    patch: dict[str, Any]
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order: change sets, create one, delete sets, annotate the deployment, write its status."""

    changes: tuple[Change, ...] = ()
    create: dict[str, Any] | None = None
    delete: tuple[ReplicaSet, ...] = ()
    revision: int | None = None
    status: dict[str, Any] = field(default_factory=dict)
    again_in: float | None = None


PodsBySet = Mapping[str, Sequence[Pod]]
"""Pods by the uid of the replica set that controls them."""


class _Step:
    def __init__(self, deployment: Deployment, sets: Sequence[ReplicaSet], pods: PodsBySet, now: float) -> None:
        self.deployment = deployment
        self.sets = revisions.by_age(sets)
        self.pods = pods
        self.now = now
        self.new = revisions.newest(deployment, self.sets)
        self.old = [each for each in self.sets if each is not self.new]
        self.surge, _ = rolling.limits(deployment)
        self.number = revisions.next_revision(self.old)
        self.conditions = status.Conditions(deployment.status.conditions, now)
        self.changes: dict[str, Change] = {}
        self.create: dict[str, Any] | None = None
        self.delete: tuple[ReplicaSet, ...] = ()

    # -- parts of a step -----------------------------------------------------------------------------------------

    def scale(self, replica_set: ReplicaSet, size: int) -> bool:
        """Have a replica set at that size; whether that is a change."""
        notes = revisions.size_annotations(self.deployment, self.surge)
        have = replica_set.metadata.annotations
        stale = {key: value for key, value in notes.items() if have.get(key) != value}
        resized = size != replica_set.spec.replicas
        if not resized and not stale:
            return False
        patch: dict[str, Any] = {"metadata": {"annotations": stale}} if stale else {}
        if resized:
            patch["spec"] = {"replicas": size}
        self._change(replica_set, patch, size if resized else None)
        return resized

    def _change(self, replica_set: ReplicaSet, patch: dict[str, Any], size: int | None = None) -> None:
        earlier = self.changes.get(replica_set.uid)
        if earlier is not None:
            patch = {
                "metadata": {
                    "annotations": {
                        **earlier.patch.get("metadata", {}).get("annotations", {}),
                        **patch.get("metadata", {}).get("annotations", {}),
                    }
                },
                "spec": {**earlier.patch.get("spec", {}), **patch.get("spec", {})},
            }
        self.changes[replica_set.uid] = Change(replica_set, patch, size)

    def keep_newest(self, *, make: bool) -> None:
        """Number and annotate the newest replica set, or make it."""
        if self.new is None:
            if make:
                size = rolling.new_size(self.deployment, 0, rolling.total(self.old))
                self.create = revisions.new_replica_set(
                    self.deployment, replicas=size, number=self.number, surge=self.surge
                )
            return
        patch: dict[str, Any] = {}
        if notes := revisions.annotations_of_newest(self.deployment, self.new, self.number):
            patch["metadata"] = {"annotations": notes}
        if self.new.spec.min_ready_seconds != self.deployment.spec.min_ready_seconds:
            patch["spec"] = {"minReadySeconds": self.deployment.spec.min_ready_seconds}
        if patch:
            self._change(self.new, patch)
        if status.deadline(self.deployment) is not None and self.conditions.get(status.PROGRESSING) is None:
            message = f'Found new replica set "{self.new.name}"'
            self.conditions.set(status.PROGRESSING, "True", "FoundNewReplicaSet", message)

    def clean_up(self) -> None:
        """Delete the oldest replica sets without pods beyond the history limit."""
        limit = self.deployment.spec.revision_history_limit
        candidates = [each for each in self.old if not each.deleting]
        if limit is None or len(candidates) <= limit:
            return
        candidates.sort(key=lambda each: revisions.revision(each.metadata.annotations))
        self.delete = tuple(
            each
            for each in candidates[: len(candidates) - limit]
            if each.status.replicas == 0
            and each.spec.replicas == 0
            and each.metadata.generation <= each.status.observed_generation
        )

    # -- ways a step can go --------------------------------------------------------------------------------------

    def resized(self) -> bool:
        """Whether ``spec.replicas`` changed since the replica sets with pods were last scaled."""
        wanted = str(self.deployment.spec.replicas)
        return any(
            each.metadata.annotations.get(revisions.DESIRED_REPLICAS, wanted) != wanted
            for each in self.sets
            if each.spec.replicas > 0
        )

    def rescale(self) -> None:
        """Pass a change of ``spec.replicas`` on to the replica sets."""
        active = [each for each in self.sets if each.spec.replicas > 0]
        wanted = self.deployment.spec.replicas
        if len(active) <= 1:
            only = active[0] if active else self.new or (self.old[-1] if self.old else None)
            if only is not None:
                self.scale(only, wanted)
        elif self.new is not None and self._saturated(self.new):
            for each in self.old:
                if each.spec.replicas > 0:
                    self.scale(each, 0)
        elif self.deployment.spec.strategy.type == "RollingUpdate":
            for name, size in rolling.proportional(self.deployment, active).items():
                self.scale(next(each for each in active if each.name == name), size)

    def _saturated(self, new: ReplicaSet) -> bool:
        wanted = self.deployment.spec.replicas
        noted = new.metadata.annotations.get(revisions.DESIRED_REPLICAS)
        return new.spec.replicas == wanted == new.status.available_replicas and noted == str(wanted)

    def roll(self) -> None:
        """RollingUpdate: grow the newest, else shrink the others."""
        self.keep_newest(make=True)
        if self.new is None:
            return
        size = rolling.new_size(self.deployment, self.new.spec.replicas, rolling.total(self.sets))
        if size != self.new.spec.replicas:
            self.scale(self.new, size)
            return
        shrinking = rolling.scale_down_old(self.deployment, self.new, self.old)
        for each in self.old:
            if each.name in shrinking:
                self.scale(each, shrinking[each.name])

    def recreate(self) -> None:
        """Recreate: all others down, wait until their pods are gone, then the newest up."""
        self.keep_newest(make=False)
        shrinking = [each for each in self.old if each.spec.replicas > 0]
        if shrinking:
            for each in shrinking:
                self.scale(each, 0)
            return
        if any(not pod.finished for each in self.old for pod in self.pods.get(each.uid, ())):
            return
        self.keep_newest(make=True)
        if self.new is not None and self.new.spec.replicas != self.deployment.spec.replicas:
            self.scale(self.new, self.deployment.spec.replicas)

    def plan(self) -> Plan:
        """Take the step."""
        deployment = self.deployment
        status.paused(deployment, self.conditions)
        counts = status.counts(deployment, self.sets, self.new)
        if not deployment.deleting:
            if deployment.spec.paused:
                self.keep_newest(make=False)
                self.rescale()
                self.clean_up()
            elif self.resized():
                self.keep_newest(make=False)
                self.rescale()
            elif deployment.spec.strategy.type == "Recreate":
                self.recreate()
            else:
                self.roll()
            if not self.changes and self.create is None and status.complete(deployment, counts):
                self.clean_up()
        status.available(deployment, counts, self.conditions)
        if not deployment.spec.paused and not self.resized():
            status.progress(deployment, counts, self.new, self.conditions, self.now)
        status.failure(self.sets, self.new, self.conditions)
        if self.create is not None and status.deadline(deployment) is not None:
            message = f'Created new replica set "{self.create["metadata"]["name"]}"'
            self.conditions.set(status.PROGRESSING, "True", "NewReplicaSetCreated", message)
        left = status.seconds_left(deployment, self.conditions.get(status.PROGRESSING), self.now)
        return Plan(
            changes=tuple(self.changes.values()),
            create=self.create,
            delete=self.delete,
            revision=self._revision(),
            status=status.as_patch(counts, self.conditions.all()),
            again_in=max(0.0, left) + 1 if left is not None else None,
        )

    def _revision(self) -> int | None:
        """The deployment's revision where its annotation does not say it yet."""
        if self.new is not None:
            number = max(self.number, revisions.revision(self.new.metadata.annotations))
        elif self.create is not None:
            number = self.number
        else:
            return None
        return number if revisions.revision(self.deployment.metadata.annotations) != number else None


def plan(deployment: Deployment, sets: Sequence[ReplicaSet], pods: PodsBySet, now: float) -> Plan:
    """The next step of a deployment that controls these replica sets; ``now`` in seconds since 1970."""
    return _Step(deployment, sets, pods, now).plan()


def create_failure(plan: Plan, deployment: Deployment, message: str) -> str:
    """What to say when the server refused the new replica set."""
    name = plan.create["metadata"]["name"] if plan.create else deployment.name
    return f'Failed to create new replica set "{name}": {message}'


def create_failed(plan: Plan, deployment: Deployment, message: str, now: float) -> Plan:
    """The same plan after the server refused the new replica set: the status says so."""
    conditions = status.Conditions(deployment.status.conditions, now)
    conditions.set(status.PROGRESSING, "False", CREATE_ERROR, create_failure(plan, deployment, message))
    new: tuple[Condition, ...] = conditions.all()
    counted = {**plan.status, "conditions": [templates.plain(each) for each in new]}
    return replace(plan, status=counted, create=None, revision=None)
