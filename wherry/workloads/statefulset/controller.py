"""The stateful set controller's edge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.errors import ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import LabelSelector, PersistentVolumeClaim, Pod
from wherry.workloads import history, podstate
from wherry.workloads.claims import Claimer, concerned
from wherry.workloads.expectations import Expectations
from wherry.workloads.kinds import CONTROLLER_REVISIONS, STATEFUL_SETS, ControllerRevision, StatefulSet
from wherry.workloads.podcontrol import is_terminating
from wherry.workloads.revisions import RevisionKeeper
from wherry.workloads.statefulset import identity, volumes
from wherry.workloads.statefulset.compile import Situation
from wherry.workloads.statefulset.control import Control
from wherry.workloads.statuswriter import write_status

HASH_LABEL = "controller.kubernetes.io/hash"
"""Where the revisions of stateful sets carry the hash of their template."""


class StatefulSetController(Controller):
    """Keeps the pods of each stateful set, one per ordinal, and its status true.

    There is never a second pod of one name: the server admits none, a pod is deleted by its uid and only its own
    node ends it, and nothing more is done for a set before the cache shows what was done last.
    """

    name = "statefulset"
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
        self._clock = clock
        self._sets = informers.informer(STATEFUL_SETS)
        self._pods = informers.informer(kinds.PODS)
        self._claims = informers.informer(kinds.PERSISTENT_VOLUME_CLAIMS)
        self._revisions = informers.informer(CONTROLLER_REVISIONS)
        self._expectations = Expectations(self._pods.get, time.monotonic)
        self._control = Control(client, recorder, self._expectations, self._claims.get)
        self._claimer = Claimer(client, STATEFUL_SETS, kinds.PODS, self._pods)
        self._revision_claimer = Claimer(client, STATEFUL_SETS, CONTROLLER_REVISIONS, self._revisions)
        self._keeper = RevisionKeeper(client, STATEFUL_SETS, HASH_LABEL)
        self._sets.add_handler(self._set_changed)
        self._pods.add_handler(self._pod_changed)
        self._claims.add_handler(self._claim_changed)
        self._revisions.add_handler(self.enqueue_owner(STATEFUL_SETS.kind))

    async def prepare(self) -> None:
        """Wait for stateful sets, pods, claims and revisions."""
        for informer in (self._sets, self._pods, self._claims, self._revisions):
            await informer.synced()

    def _set_changed(self, old: StatefulSet | None, new: StatefulSet | None) -> None:
        if new is None and old is not None:
            self._expectations.forget(old.uid)
        self.enqueue(old, new)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        self._expectations.observe(old, new)
        for key in concerned(STATEFUL_SETS, self._selectors, old, new):
            self.queue.add(key)

    def _selectors(self, namespace: str) -> Iterator[tuple[Key, LabelSelector]]:
        return ((each.key, each.spec.selector) for each in self._sets.list(namespace))

    def _claim_changed(self, old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None) -> None:
        """A claim that is gone may be what a pod waits for."""
        if new is None and old is not None:
            for stateful_set in self._sets.list(old.namespace):
                if volumes.is_claim_of(stateful_set, old.name):
                    self.queue.add(stateful_set.key)

    async def reconcile(self, key: Key) -> Result | None:
        """Take the steps that are due, then write the status."""
        stateful_set = self._sets.get(key)
        if stateful_set is None:
            return None
        selector = stateful_set.spec.selector
        pods = await self._claimer.objects_of(
            stateful_set, selector, member=lambda pod: identity.ordinal_of(stateful_set, pod) is not None
        )
        known = await self._revision_claimer.objects_of(stateful_set, selector)
        try:
            present = await self._present(stateful_set, known)
        except ApiError as error:
            if not is_terminating(error):
                raise
            present = None
        if present is None:
            return None
        update, collisions = present
        current = await self._current(stateful_set, known) or update
        now = self._clock()
        situation = Situation(stateful_set, current, update, pods, self._claims_of(stateful_set, pods), now)
        errors: list[ApiError] = []
        deleted: set[str] = set()
        if not stateful_set.deleting and self._expectations.met(stateful_set.uid):
            errors, deleted = await self._control.carry_out(stateful_set, situation.plan(), current, update)
        await write_status(self._client, STATEFUL_SETS, stateful_set, situation.status(collisions, deleted))
        if errors and not all(is_terminating(error) for error in errors):
            raise errors[0]
        if not stateful_set.deleting:
            live = {current.name, update.name, *(identity.revision_of(pod) for pod in pods)}
            old = [each for each in known if each.name not in live]
            await self._keeper.delete(history.surplus(old, stateful_set.spec.revision_history_limit, live=live))
        wait = podstate.next_available(pods, stateful_set.spec.min_ready_seconds, now)
        return Result(requeue_after=wait) if wait is not None else None

    async def _present(
        self, stateful_set: StatefulSet, known: Sequence[ControllerRevision]
    ) -> tuple[ControllerRevision, int | None] | None:
        """The revision of the template and the collision count; a set that is being deleted no longer makes one."""
        if not stateful_set.deleting:
            return await self._keeper.present(stateful_set, known)
        found = history.present(stateful_set.spec.template, known).revision
        return (found, stateful_set.status.collision_count) if found is not None else None

    async def _current(
        self, stateful_set: StatefulSet, known: Sequence[ControllerRevision]
    ) -> ControllerRevision | None:
        """The revision that the status names; None when there is none.

        What the cache lacks is asked of the server: taking the newest instead would update pods that shall stay.
        """
        name = stateful_set.status.current_revision
        if not name:
            return None
        for each in known:
            if each.name == name:
                return each
        try:
            return await self._client.get(CONTROLLER_REVISIONS, name, namespace=stateful_set.namespace)
        except NotFound:
            return None

    def _claims_of(self, stateful_set: StatefulSet, pods: Sequence[Pod]) -> dict[str, PersistentVolumeClaim]:
        """The cached claims of the pods that are wanted or there."""
        if not stateful_set.spec.volume_claim_templates:
            return {}
        ordinals = {ordinal for pod in pods if (ordinal := identity.ordinal_of(stateful_set, pod)) is not None}
        found = {}
        for ordinal in ordinals.union(identity.ordinals(stateful_set)):
            for name in volumes.claim_names(stateful_set, ordinal):
                claim = self._claims.get(Key(stateful_set.namespace, name))
                if claim is not None:
                    found[name] = claim
        return found
