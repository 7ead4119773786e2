"""The daemon set controller's edge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.errors import ApiError
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import LabelSelector, Node, Pod
from wherry.kube.workqueue import Backoff
from wherry.workloads import history, podstate
from wherry.workloads.claims import Claimer, concerned
from wherry.workloads.daemonset import compile
from wherry.workloads.expectations import Expectations
from wherry.workloads.kinds import CONTROLLER_REVISIONS, DAEMON_SETS, ControllerRevision, DaemonSet, reference
from wherry.workloads.podcontrol import PodControl, is_terminating
from wherry.workloads.revisions import RevisionKeeper
from wherry.workloads.statuswriter import write_status

FAILED_POD_PAUSE = Backoff(first=1.0, longest=900.0)
"""Pauses before a pod that keeps failing on a node is replaced."""


class DaemonSetController(Controller):
    """Keeps one pod of each daemon set on every node that qualifies."""

    name = "daemonset"
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
        self._sets = informers.informer(DAEMON_SETS)
        self._pods = informers.informer(kinds.PODS)
        self._nodes = informers.informer(kinds.NODES)
        self._revisions = informers.informer(CONTROLLER_REVISIONS)
        self._expectations = Expectations(self._pods.get, time.monotonic)
        self._control = PodControl(client, recorder, DAEMON_SETS, self._expectations)
        self._claimer = Claimer(client, DAEMON_SETS, kinds.PODS, self._pods)
        self._revision_claimer = Claimer(client, DAEMON_SETS, CONTROLLER_REVISIONS, self._revisions)
        self._keeper = RevisionKeeper(client, DAEMON_SETS, compile.HASH_LABEL)
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}
        self._sets.add_handler(self._set_changed)
        self._pods.add_handler(self._pod_changed)
        self._nodes.add_handler(self._node_changed)
        self._revisions.add_handler(self.enqueue_owner(DAEMON_SETS.kind))

    async def prepare(self) -> None:
        """Wait for daemon sets, pods, nodes and revisions."""
        for informer in (self._sets, self._pods, self._nodes, self._revisions):
            await informer.synced()

    def _set_changed(self, old: DaemonSet | None, new: DaemonSet | None) -> None:
        if new is None and old is not None:
            self._expectations.forget(old.uid)
            self._failures = {key: value for key, value in self._failures.items() if key[0] != old.uid}
        self.enqueue(old, new)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        self._expectations.observe(old, new)
        for key in concerned(DAEMON_SETS, self._selectors, old, new):
            self.queue.add(key)

    def _selectors(self, namespace: str) -> Iterator[tuple[Key, LabelSelector]]:
        return ((each.key, each.spec.selector) for each in self._sets.list(namespace))

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old is None or new is None or not compile.same_placement(old, new):
            for daemon_set in self._sets.list():
                self.queue.add(daemon_set.key)

    async def reconcile(self, key: Key) -> Result | None:
        """Make and delete pods, then write the status and drop snapshots nobody will go back to."""
        daemon_set = self._sets.get(key)
        if daemon_set is None:
            return None
        if daemon_set.deleting:
            return None
        selector = daemon_set.spec.selector
        owned = await self._claimer.objects_of(daemon_set, selector)
        known = await self._revision_claimer.objects_of(daemon_set, selector)
        try:
            revision, collisions = await self._keeper.present(daemon_set, known)
        except ApiError as error:
            if is_terminating(error):
                return None
            raise
        digest = revision.labels.get(compile.HASH_LABEL, revision.name)
        now = self._clock()
        situation = compile.Situation(daemon_set, self._nodes.list(), owned, digest, now)
        waits = [podstate.next_available(owned, daemon_set.spec.min_ready_seconds, now)]
        errors: list[ApiError] = []
        if self._expectations.met(daemon_set.uid):
            plan = situation.plan()
            due, later = self._failed_due(daemon_set, plan.failed)
            waits.append(later)
            if not (plan.create or plan.delete or due or plan.succeeded):
                plan = situation.roll()
            self._say_succeeded(daemon_set, plan.succeeded)
            errors += await self._control.delete(daemon_set, (*plan.delete, *due, *plan.succeeded))
            pods = [compile.pod_for(daemon_set, node, digest) for node in plan.create]
            errors += await self._control.create(daemon_set, pods)
        status = {**situation.status(), "collisionCount": collisions}
        await write_status(self._client, DAEMON_SETS, daemon_set, status)
        if errors and not all(is_terminating(error) for error in errors):
            raise errors[0]
        old = [each for each in known if each.name != revision.name]
        live = [each.name for each in old if any(self._made_of(pod, each) for pod in owned)]
        await self._keeper.delete(history.surplus(old, daemon_set.spec.revision_history_limit, live=live))
        wait = min((each for each in waits if each is not None), default=None)
        return Result(requeue_after=wait) if wait is not None else None

    @staticmethod
    def _made_of(pod: Pod, revision: ControllerRevision) -> bool:
        digest = revision.labels.get(compile.HASH_LABEL)
        return digest is not None and pod.labels.get(compile.HASH_LABEL) == digest

    def _say_succeeded(self, daemon_set: DaemonSet, pods: Sequence[Pod]) -> None:
        for pod in pods:
            node = compile.node_of(pod)
            message = f"Found succeeded daemon pod {pod.key} on node {node}, will try to delete it"
            self._recorder.event(reference(DAEMON_SETS, daemon_set), "Normal", "SucceededDaemonPod", message)

    def _failed_due(self, daemon_set: DaemonSet, failed: tuple[Pod, ...]) -> tuple[list[Pod], float | None]:
        """Failed pods to replace now, and seconds until the next one may be; repeated failures wait longer."""
        now = time.monotonic()
        due: list[Pod] = []
        waits: list[float] = []
        for pod in failed:
            node = compile.node_of(pod)
            count, until = self._failures.get((daemon_set.uid, node), (0, 0.0))
            if now < until:
                waits.append(until - now)
                continue
            if now - until > FAILED_POD_PAUSE.longest:
                count = 0
            self._failures[daemon_set.uid, node] = count + 1, now + FAILED_POD_PAUSE.after(count + 1)
            due.append(pod)
            message = f"Found failed daemon pod {pod.key} on node {node}, will try to kill it"
            self._recorder.event(reference(DAEMON_SETS, daemon_set), "Warning", "FailedDaemonPod", message)
        return due, min(waits, default=None)
