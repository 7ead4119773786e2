"""The deployment controller's edge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result, RetryAfter, Terminal
from wherry.kube.errors import AlreadyExists, ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import LabelSelector, Pod
from wherry.workloads import templates
from wherry.workloads.claims import CONTROLLER_INDEX, Claimer, concerned, controller_values
from wherry.workloads.deployment import compile
from wherry.workloads.deployment.revisions import HASH_LABEL, REVISION
from wherry.workloads.kinds import DEPLOYMENTS, REPLICA_SETS, Deployment, ReplicaSet, reference
from wherry.workloads.podcontrol import is_terminating
from wherry.workloads.statuswriter import write_status


class DeploymentController(Controller):
    """Takes deployments step by step to the replica sets they want.

    Patches of replica sets carry the resourceVersion they were decided on, so a stale cache loses the race instead of
    scaling twice; a replica set's name follows from the template, so it is not made twice either.
    """

    name = "deployment"
    workers = 5

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
        self._deployments = informers.informer(DEPLOYMENTS)
        self._sets = informers.informer(REPLICA_SETS)
        self._pods = informers.informer(kinds.PODS)
        self._pods.add_index(CONTROLLER_INDEX, controller_values)
        self._claimer = Claimer(client, DEPLOYMENTS, REPLICA_SETS, self._sets)
        self._deployments.add_handler(self.enqueue)
        self._sets.add_handler(self._set_changed)
        self._pods.add_handler(self._pod_changed)

    async def prepare(self) -> None:
        """Wait for deployments, replica sets and pods."""
        for informer in (self._deployments, self._sets, self._pods):
            await informer.synced()

    def _set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        for key in concerned(DEPLOYMENTS, self._selectors, old, new):
            self.queue.add(key)

    def _selectors(self, namespace: str) -> Iterator[tuple[Key, LabelSelector]]:
        return ((each.key, each.spec.selector) for each in self._deployments.list(namespace))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """Recreate waits for the last pod of the old replica sets to end."""
        gone = old if new is None else new if new.finished else None
        owner = gone.metadata.controller if gone is not None else None
        if gone is None or owner is None or owner.kind != REPLICA_SETS.kind:
            return
        replica_set = self._sets.get(Key(gone.namespace, owner.name))
        manager = replica_set.metadata.controller if replica_set is not None else None
        if manager is not None and manager.kind == DEPLOYMENTS.kind:
            deployment = self._deployments.get(Key(gone.namespace, manager.name))
            if deployment is not None and deployment.spec.strategy.type == "Recreate":
                self.queue.add(deployment.key)

    async def reconcile(self, key: Key) -> Result | None:
        """Take the next step."""
        deployment = self._deployments.get(key)
        if deployment is None:
            return None
        selector = deployment.spec.selector
        if not selector.match_labels and not selector.match_expressions:
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self._event(deployment, "Warning", "SelectingAll", message)
            raise Terminal(message)
        sets = await self._claimer.objects_of(deployment, selector)
        pods = {each.uid: self._pods.by_index(CONTROLLER_INDEX, each.uid) for each in sets}
        plan = compile.plan(deployment, sets, pods, self._clock())
        for change in plan.changes:
            await self._change(deployment, change)
        for replica_set in plan.delete:
            await self._delete(replica_set)
        refused: ApiError | None = None
        if plan.create is not None and not self._exists(deployment, plan.create):
            try:
                await self._create(deployment, plan.create)
            except ApiError as error:
                if is_terminating(error):
                    return None
                words = compile.create_failure(plan, deployment, str(error))
                self._event(deployment, "Warning", compile.CREATE_ERROR, words)
                plan = compile.create_failed(plan, deployment, str(error), self._clock())
                refused = error
        if plan.revision is not None:
            await self._annotate(deployment, plan.revision)
        await write_status(self._client, DEPLOYMENTS, deployment, plan.status)
        if refused is not None:
            raise refused
        return Result(requeue_after=plan.again_in) if plan.again_in is not None else None

    # -- carrying out --------------------------------------------------------------------------------------------

    async def _change(self, deployment: Deployment, change: compile.Change) -> None:
        meta = change.replica_set.metadata
        patch: dict[str, Any] = {key: value for key, value in change.patch.items() if value}
        patch["metadata"] = {
            **patch.get("metadata", {}),
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        }
        await self._client.patch(REPLICA_SETS, meta.name, patch, namespace=meta.namespace)
        if change.replicas is not None:
            self._scaled(deployment, meta.name, change.replica_set.spec.replicas, change.replicas)

    def _exists(self, deployment: Deployment, wanted: dict[str, Any]) -> bool:
        """Whether the replica set about to be made is in the cache by now: another step made it."""
        cached = self._sets.get(Key(deployment.namespace, wanted["metadata"]["name"]))
        return cached is not None and _is_it(cached, deployment, wanted)

    async def _create(self, deployment: Deployment, wanted: dict[str, Any]) -> None:
        name = wanted["metadata"]["name"]
        try:
            await self._client.create(REPLICA_SETS, cast("ReplicaSet", wanted), namespace=deployment.namespace)
        except AlreadyExists:
            there = await self._client.get(REPLICA_SETS, name, namespace=deployment.namespace)
            if not _is_it(there, deployment, wanted):
                # Another template has this hash: count the collision, so that the next try gives another name.
                count = (deployment.status.collision_count or 0) + 1
                await write_status(self._client, DEPLOYMENTS, deployment, {"collisionCount": count})
                raise RetryAfter(0.1, f"replica set {name} has another template") from None
            return
        if wanted["spec"]["replicas"]:
            self._scaled(deployment, name, 0, wanted["spec"]["replicas"])

    async def _delete(self, replica_set: ReplicaSet) -> None:
        try:
            await self._client.delete(
                REPLICA_SETS, replica_set.name, namespace=replica_set.namespace, uid=replica_set.uid
            )
        except NotFound:
            return

    async def _annotate(self, deployment: Deployment, number: int) -> None:
        patch = {"metadata": {"uid": deployment.uid, "annotations": {REVISION: str(number)}}}
        # Through the status, where a changed annotation does not count as a new generation of the deployment.
        await self._client.patch(
            DEPLOYMENTS, deployment.name, patch, namespace=deployment.namespace, subresource="status"
        )

    def _scaled(self, deployment: Deployment, name: str, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        message = f"Scaled {way} replica set {name} from {before} to {after}"
        self._event(deployment, "Normal", "ScalingReplicaSet", message)

    def _event(self, deployment: Deployment, type_: str, reason: str, message: str) -> None:
        self._recorder.event(reference(DEPLOYMENTS, deployment), type_, reason, message)


def _is_it(found: ReplicaSet, deployment: Deployment, wanted: dict[str, Any]) -> bool:
    owner = found.metadata.controller
    return (
        owner is not None
        and owner.uid == deployment.uid
        and templates.same_template(found.spec.template, wanted["spec"]["template"], without=(HASH_LABEL,))
    )
