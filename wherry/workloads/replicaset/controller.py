"""The edge of the controllers of replica sets and of replication controllers, which differ in their kind only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.errors import ApiError
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informer, Informers
from wherry.kube.keys import Key
from wherry.kube.kinds import Kind
from wherry.kube.objects import LabelSelector, Pod
from wherry.workloads import podstate, templates
from wherry.workloads.claims import CONTROLLER_INDEX, Claimer, concerned, controller_values
from wherry.workloads.expectations import Expectations
from wherry.workloads.kinds import REPLICA_SETS, REPLICATION_CONTROLLERS, controller_reference
from wherry.workloads.podcontrol import PodControl, is_terminating
from wherry.workloads.replicaset import compile
from wherry.workloads.replicaset.compile import Owner
from wherry.workloads.statuswriter import write_status


class ReplicaSetController(Controller):
    """Keeps each replica set's pods at the number asked for and its status true."""

    name = "replicaset"
    workers = 5
    kind: Kind[Any] = REPLICA_SETS

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
        self._clock = clock
        self._sets: Informer[Owner] = informers.informer(self.kind)
        self._pods = informers.informer(kinds.PODS)
        self._sets.add_index(CONTROLLER_INDEX, controller_values)
        self._expectations = Expectations(self._pods.get, time.monotonic)
        self._control = PodControl(client, recorder, self.kind, self._expectations)
        self._claimer = Claimer(client, self.kind, kinds.PODS, self._pods)
        self._sets.add_handler(self._set_changed)
        self._pods.add_handler(self._pod_changed)

    async def prepare(self) -> None:
        """Wait for replica sets and pods."""
        await self._sets.synced()
        await self._pods.synced()

    def _set_changed(self, old: Owner | None, new: Owner | None) -> None:
        if new is None and old is not None:
            self._expectations.forget(old.uid)
        self.enqueue(old, new)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        self._expectations.observe(old, new)
        for key in concerned(self.kind, self._selectors, old, new):
            self.queue.add(key)

    def _selectors(self, namespace: str) -> Iterator[tuple[Key, LabelSelector]]:
        return ((each.key, each.spec.pods) for each in self._sets.list(namespace))

    async def reconcile(self, key: Key) -> Result | None:
        """Make or delete pods, then write the status."""
        replica_set = self._sets.get(key)
        if replica_set is None:
            return None
        owned = await self._claimer.objects_of(replica_set, replica_set.spec.pods)
        errors: list[ApiError] = []
        failure: tuple[str, str] | None = None
        if not replica_set.deleting and self._expectations.met(replica_set.uid):
            related = self._related(replica_set, owned) if len(owned) > replica_set.spec.replicas else owned
            plan = compile.plan(replica_set, owned, related, self._clock())
            if plan.create:
                errors = await self._control.create(replica_set, [self._pod(replica_set) for _ in range(plan.create)])
                failure = ("FailedCreate", str(errors[0])) if errors else None
            elif plan.delete:
                errors = await self._control.delete(replica_set, plan.delete)
                failure = ("FailedDelete", str(errors[0])) if errors else None
        now = self._clock()
        status = compile.status(replica_set, owned, now, failure=failure)
        await write_status(self._client, self.kind, replica_set, status)
        if errors and not all(is_terminating(error) for error in errors):
            raise errors[0]
        wait = podstate.next_available(owned, replica_set.spec.min_ready_seconds, now)
        return Result(requeue_after=wait) if wait is not None else None

    def _pod(self, replica_set: Owner) -> dict[str, object]:
        return templates.pod_of(
            replica_set.spec.template,
            owner=controller_reference(self.kind, replica_set),
            namespace=replica_set.namespace,
            prefix=templates.name_prefix(replica_set.name),
        )

    def _related(self, replica_set: Owner, owned: list[Pod]) -> list[Pod]:
        """Pods of all replica sets with the same owner."""
        owner = replica_set.metadata.controller
        if owner is None:
            return owned
        siblings = self._sets.by_index(CONTROLLER_INDEX, owner.uid)
        return [pod for sibling in siblings for pod in self._pods.by_index(CONTROLLER_INDEX, sibling.uid)]


class ReplicationControllerController(ReplicaSetController):
    """Does the same for replication controllers."""

    name = "replicationcontroller"
    kind = REPLICATION_CONTROLLERS
