"""The disruption controller's edge: keeps the status of budgets that evictions ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.errors import NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import OwnerReference, Pod, PodDisruptionBudget
from wherry.kube.times import parse_time
from wherry.workloads.disruption import compile
from wherry.workloads.kinds import DEPLOYMENTS, REPLICA_SETS
from wherry.workloads.scales import NoScale, Scales

STALE_CONDITION = 120.0
"""Seconds after which a pod that was to be disrupted and was not deleted is told that it stays."""

_RETRY = 30.0
"""Seconds after which a budget is tried again that could not be worked out: its pods' owner may be there by then."""


class DisruptionController(Controller):
    """Counts the pods of every disruption budget."""

    name = "disruption"
    workers = 2

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._scales = Scales(client)
        self._budgets = informers.informer(kinds.POD_DISRUPTION_BUDGETS)
        self._pods = informers.informer(kinds.PODS)
        self._replica_sets = informers.informer(REPLICA_SETS)
        self._deployments = informers.informer(DEPLOYMENTS)
        self._budgets.add_handler(self.enqueue)
        self._pods.add_handler(self._pod_changed)

    async def prepare(self) -> None:
        """Wait for budgets, pods and the owners that most pods have."""
        for informer in (self._budgets, self._pods, self._replica_sets, self._deployments):
            await informer.synced()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and _alike(old, new):
            return
        for budget in self._budgets.list((new or old or Pod()).namespace):
            selector = compile.selector_of(budget)
            if any(pod is not None and selector.matches(pod.labels) for pod in (old, new)):
                self.queue.add(budget.key)

    async def reconcile(self, key: Key) -> Result | None:
        """Work out one budget and write its status."""
        budget = self._budgets.get(key)
        if budget is None or budget.deleting:
            return None
        pods = self._pods.list(key.namespace, compile.selector_of(budget))
        if not pods:
            self._recorder.event(budget, "Normal", "NoPods", "No matching pods found")
        now = self._clock()
        try:
            scale = await self._wanted(pods) if compile.needs_scale(budget) else 0
        except NoScale as error:
            text = f"Failed to calculate the number of expected pods: {error}"
            self._recorder.event(budget, "Warning", "CalculateExpectedPodCountFailed", text)
            await self._write(budget, compile.failed(budget, str(error), now))
            return Result(requeue_after=_RETRY)
        wanted = compile.expected(budget, len(pods), scale)
        evicted = compile.evicted(budget, pods, now)
        for pod in evicted.overdue:
            text = f"Pod was expected by PDB {key} to be deleted but it wasn't"
            self._recorder.event(pod, "Warning", "NotDeleted", text)
        current = compile.healthy(pods, evicted.pending)
        await self._write(budget, compile.status(budget, wanted, current, evicted.pending, now))
        return Result(requeue_after=evicted.recheck + 1.0) if evicted.recheck is not None else None

    async def _write(self, budget: PodDisruptionBudget, status: Mapping[str, Any]) -> None:
        """Write a status over the version it was made from, as evictions write it too; Conflict when it changed."""
        if compile.says_already(budget, status):
            return
        meta = {"uid": budget.uid, "resourceVersion": budget.metadata.resource_version}
        patch = {"metadata": meta, "status": status}
        try:
            await self._client.patch(
                kinds.POD_DISRUPTION_BUDGETS, budget.name, patch, namespace=budget.namespace, subresource="status"
            )
        except NotFound:
            return

    # -- how many pods there should be ---------------------------------------------------------------------------

    async def _wanted(self, pods: list[Pod]) -> int:
        """The sum of what the pods' owners want; pods without an owner count nothing. Raises NoScale and ApiError."""
        seen: set[str] = set()
        found: dict[str, int] = {}
        for pod in pods:
            owner = pod.metadata.controller
            if owner is None or owner.uid in seen:
                continue
            seen.add(owner.uid)
            scale = await self._scale(pod.namespace, owner)
            if scale is None:
                raise NoScale(f'found no controllers for pod "{pod.name}"')
            # Replica sets of one deployment count once.
            uid, replicas = scale
            found[uid] = replicas
        return sum(found.values())

    async def _scale(self, namespace: str, owner: OwnerReference) -> tuple[str, int] | None:
        """Uid and replicas of the owner, or of the deployment behind a replica set; None when it is gone."""
        if owner.kind == REPLICA_SETS.kind and owner.api_version.startswith("apps/"):
            replica_set = self._replica_sets.get(Key(namespace, owner.name))
            if replica_set is None or replica_set.uid != owner.uid:
                return None
            above = replica_set.metadata.controller
            if above is None:
                return replica_set.uid, replica_set.spec.replicas
            deployment = self._deployments.get(Key(namespace, above.name)) if above.kind == "Deployment" else None
            if deployment is not None and deployment.uid == above.uid:
                return deployment.uid, deployment.spec.replicas
            if above.kind == "Deployment":
                return None
            owner = above
        scale = await self._scales.get(owner.api_version, owner.kind, namespace, owner.name)
        return (scale.uid, scale.replicas) if scale is not None and scale.uid == owner.uid else None


def _alike(old: Pod, new: Pod) -> bool:
    """Whether nothing changed that a budget looks at."""
    return (old.ready, old.deleting, old.labels, old.metadata.owner_references) == (
        new.ready,
        new.deleting,
        new.labels,
        new.metadata.owner_references,
    )


class StaleDisruptions(Controller):
    """Takes the condition ``DisruptionTarget`` back from pods that were to be disrupted and never were."""

    name = "stale-disruption"

    def __init__(self, client: Client, informers: Informers, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._client = client
        self._clock = clock
        self._pods = informers.informer(kinds.PODS)
        self._pods.add_handler(self._pod_changed)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None and _left(new, self._clock()) is not None:
            self.queue.add(new.key)

    async def reconcile(self, key: Key) -> Result | None:
        """Wait until the condition is stale, then take it back."""
        pod = self._pods.get(key)
        left = _left(pod, self._clock()) if pod is not None else None
        if pod is None or left is None:
            return None
        if left > 0:
            return Result(requeue_after=left)
        condition = {"type": "DisruptionTarget", "status": "False", "reason": "", "message": ""}
        patch = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                kinds.PODS, pod.name, patch, namespace=pod.namespace, subresource="status", type="strategic"
            )
        except NotFound:
            return None
        return None


def _left(pod: Pod, now: float) -> float | None:
    """Seconds until the pod's condition is stale; None where there is none to take back."""
    condition = pod.status.condition("DisruptionTarget")
    if condition is None or condition.status != "True" or pod.deleting or pod.finished:
        return None
    since = parse_time(condition.last_transition_time) if condition.last_transition_time else now
    return max(0.0, since + STALE_CONDITION - now)
