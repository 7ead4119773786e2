"""The daemon set controller's edge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import cast

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result, RetryAfter
from wherry.kube.errors import AlreadyExists, ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import LabelSelector, Node, Pod
from wherry.kube.workqueue import Backoff
from wherry.workloads import podstate
from wherry.workloads.claims import CONTROLLER_INDEX, Claimer, concerned, controller_values
from wherry.workloads.daemonset import compile, revisions
from wherry.workloads.expectations import Expectations
from wherry.workloads.kinds import CONTROLLER_REVISIONS, DAEMON_SETS, ControllerRevision, DaemonSet, reference
from wherry.workloads.podcontrol import PodControl, is_terminating
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
        self._revisions.add_index(CONTROLLER_INDEX, controller_values)
        self._expectations = Expectations(self._pods.get, time.monotonic)
        self._control = PodControl(client, recorder, DAEMON_SETS, self._expectations)
        self._claimer = Claimer(client, DAEMON_SETS, kinds.PODS, self._pods)
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
        """Make and delete pods, then write the status."""
        daemon_set = self._sets.get(key)
        if daemon_set is None:
            return None
        owned = await self._claimer.objects_of(daemon_set, daemon_set.spec.selector)
        now = self._clock()
        situation = compile.Situation(daemon_set, self._nodes.list(), owned, now)
        waits = [podstate.next_available(owned, daemon_set.spec.min_ready_seconds, now)]
        errors: list[ApiError] = []
        if not daemon_set.deleting:
            await self._keep_revisions(daemon_set, owned)
        if not daemon_set.deleting and self._expectations.met(daemon_set.uid):
            plan = situation.plan()
            due, later = self._failed_due(daemon_set, plan.failed)
            waits.append(later)
            errors += await self._control.delete(daemon_set, (*plan.delete, *due))
            pods = [compile.pod_for(daemon_set, node) for node in plan.create]
            errors += await self._control.create(daemon_set, pods)
        await write_status(self._client, DAEMON_SETS, daemon_set, situation.status())
        if errors and not all(is_terminating(error) for error in errors):
            raise errors[0]
        wait = min((each for each in waits if each is not None), default=None)
        return Result(requeue_after=wait) if wait is not None else None

    async def _keep_revisions(self, daemon_set: DaemonSet, owned: list[Pod]) -> None:
        """Number the present template and drop snapshots nobody will go back to."""
        there = self._revisions.by_index(CONTROLLER_INDEX, daemon_set.uid)
        plan = revisions.plan(daemon_set, there, owned)
        if plan.create is not None:
            await self._snapshot(daemon_set, cast("ControllerRevision", plan.create))
        if plan.renumber is not None:
            revision, number = plan.renumber
            meta = {"uid": revision.uid, "resourceVersion": revision.metadata.resource_version}
            patch = {"metadata": meta, "revision": number}
            await self._client.patch(CONTROLLER_REVISIONS, revision.name, patch, namespace=revision.namespace)
        for revision in plan.delete:
            try:
                await self._client.delete(
                    CONTROLLER_REVISIONS, revision.name, namespace=revision.namespace, uid=revision.uid
                )
            except NotFound:
                continue

    async def _snapshot(self, daemon_set: DaemonSet, wanted: ControllerRevision) -> None:
        try:
            await self._client.create(CONTROLLER_REVISIONS, wanted, namespace=daemon_set.namespace)
        except AlreadyExists:
            name = f"{daemon_set.name}-{compile.template_hash(daemon_set)}"
            found = await self._client.get(CONTROLLER_REVISIONS, name, namespace=daemon_set.namespace)
            if revisions.same(found, daemon_set):
                return
            # Another template has this hash: count the collision, so that the next try gives another name.
            count = (daemon_set.status.collision_count or 0) + 1
            await write_status(self._client, DAEMON_SETS, daemon_set, {"collisionCount": count})
            raise RetryAfter(0.1, f"revision {name} has another template") from None
        except ApiError as error:
            if not is_terminating(error):
                raise

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
