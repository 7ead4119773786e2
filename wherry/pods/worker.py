"""The life of one pod on this node: look, plan, act, report; again after every change.

A worker never waits inside its loop. Every step runs in a task of its own and marks what it is busy with, so that a
hook that hangs or a config map that is missing delays neither the other containers of the pod nor any other pod.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import msgspec

from wherry.kube.objects import Container, Pod
from wherry.kube.times import format_time, parse_time
from wherry.pods.actions import PodActions
from wherry.pods.admission import Rejection
from wherry.pods.behaving import Behaving
from wherry.pods.compile import Plan, Remove, SetUp, Start, Stop, TearDown, compile_pod, grace_period
from wherry.pods.context import Context
from wherry.pods.model import ContainerState
from wherry.pods.probes.watch import ProbeWatch
from wherry.pods.record import Record
from wherry.pods.reporter import StatusReporter
from wherry.pods.sources import pod_references
from wherry.pods.state import SETUP, TEARDOWN, Ending, Observed, Stopping, Waiting
from wherry.pods.status import pod_status

_log = logging.getLogger(__name__)
_PLAIN_WORDS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}
"""What `kubectl logs` says of a container that waits for a common reason."""
_DEADLINE_REASON = "DeadlineExceeded"
_DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


class PodWorker:
    """One pod. `run` ends when the pod is gone from this node; the other methods may be called at any time."""

    def __init__(self, context: Context, pod: Pod, record: Record) -> None:
        self.pod = pod
        self.record = record
        self._context = context
        self._gone = False
        self._done = False
        self._gone_event = asyncio.Event()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._group: asyncio.TaskGroup | None = None
        self._stops: dict[str, asyncio.Task[None]] = {}
        self._dirty_since: float | None = None
        self._started = pod.status.start_time or format_time(context.clock())
        self._grace: float | None = None
        self._backed_off: dict[str, int] = {}
        self._reporter = StatusReporter(context.client, pod, acknowledged=self.wake)
        self.actions = PodActions(context, self)
        self._probes = ProbeWatch(context, self)
        self.behaving = Behaving(context, self)
        self._refreshing = False
        self._waiting: dict[str, Waiting] = {}

    # -- what happens to it --------------------------------------------------------------------------------------

    def update(self, pod: Pod) -> None:
        """Take in the pod's object as the informer has it."""
        before, self.pod = self.pod, pod
        news = self._reporter.noticed(pod)
        same = before.metadata.generation == pod.metadata.generation and before.spec == pod.spec
        if not same:
            self.hold_references()
        if before.labels != pod.labels or before.metadata.annotations != pod.metadata.annotations:
            self.refresh()
            if self._group is not None:
                self.spawn(self.behaving.refresh(), "stand-ins")
        if news or not same or pod.deleting or before.metadata.generation != pod.metadata.generation:
            self.wake()

    def gone(self) -> None:
        """Take in that the pod's object does not exist any more."""
        self._gone = True
        self._gone_event.set()
        self._reporter.gone()
        self.wake()

    def notice(self, state: ContainerState) -> None:
        """Take in what the runtime says of one of the pod's containers."""
        if self.record.notice(state):
            if state.phase == "exited":
                self.actions.ended(state)
            self.wake()

    def sources_changed(self) -> None:
        """Take in that an object the pod refers to changed: what failed for its sake is due again."""
        self.hold_references()
        self.record.retry_at.clear()
        self.record.delays.clear()
        self.refresh()
        self.wake()

    def wake(self) -> None:
        """Have the worker look again."""
        self._wake.set()

    def refresh(self) -> None:
        """Bring the pod's volumes up to date, if they are on the disk."""
        if self._group is None or self._refreshing or not self.actions.volumes.written or self.record.ending:
            return
        self._refreshing = True
        self.spawn(self._refresh(), "volumes")

    async def _refresh(self) -> None:
        try:
            await self.actions.refresh_volumes()
        finally:
            self._refreshing = False
            self.wake()

    @property
    def started(self) -> str:
        """When the pod came to this node, `status.startTime`."""
        return self._started

    @property
    def is_over(self) -> bool:
        """Whether nothing of the pod runs any more or ever will."""
        return self.record.finished or (self.record.ending is not None and self.record.ending.rejected)

    @property
    def is_gone(self) -> bool:
        """Whether the pod's object does not exist any more."""
        return self._gone

    async def wait_gone(self) -> None:
        """Wait until the pod's object does not exist any more."""
        await self._gone_event.wait()

    def waits(self, container: Container) -> bool:
        """Tell whether a container that ended is about to be started again."""
        return container.name in self._waiting

    def why_waiting(self, container: Container) -> str:
        """Return why a container has not been started, as its status says."""
        why = self._waiting.get(container.name)
        if why is not None:
            return _PLAIN_WORDS.get(why.reason, why.reason)
        return "PodInitializing" if self.pod.spec.init_containers else "ContainerCreating"

    # -- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until the pod is gone from this node, or until cancelled, which leaves it running."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self.hold_references()
                if any(self.record.attempts.values()):
                    # An agent that was away has missed what annotations say by now.
                    self.spawn(self.behaving.refresh(), "stand-ins")
                while not self._done:
                    self._wake.clear()
                    self._step()
                    await self._wake.wait()
                self._probes.close()
                for task in self._stops.values():
                    task.cancel()
        finally:
            self._group = None
            self._set_timer(None)
            self._context.references.release(self.pod.uid)

    def spawn(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        """Run a step beside the loop; what goes wrong in it unforeseen is logged and stays with this pod."""
        if self._group is None:
            work.close()
            raise RuntimeError("the worker is not running")
        return self._group.create_task(self._guarded(work, what), name=f"{what} of pod {self.pod.key}")

    async def _guarded(self, work: Coroutine[Any, Any, None], what: str) -> None:
        try:
            await work
        except Exception:
            _log.exception("pod %s: %s failed", self.pod.key, what)
            self.wake()

    def hold_references(self) -> None:
        """Follow what the pod refers to, and what that refers to as far as it is known by now."""
        references, pod = self._context.references, self.pod
        wanted = pod_references(pod, references.sources(pod.uid))
        references.hold(pod.uid, pod.namespace, wanted, self.sources_changed)

    def _step(self) -> None:
        now = self._context.clock()
        self._update_ending(now)
        if self._reporter.reported.phase in ("Succeeded", "Failed"):
            self.record.finished = True
        seen = self.record.observed(self.pod)
        plan = compile_pod(self.pod, seen, now, policy=self._context.settings.backoff)
        self._waiting = plan.waiting
        for action in plan.actions:
            match action:
                case SetUp():
                    self._busy(SETUP, self.actions.set_up(), "set-up")
                case Start(container):
                    self._busy(container.name, self.actions.starter.start(action), f"start of {container.name}")
                case Stop():
                    self._stop(action)
                case Remove(_, id_):
                    self.record.forget(id_)
                    self.spawn(self.actions.remove(id_), f"removal of {id_}")
                case TearDown(delete):
                    self._busy(TEARDOWN, self.actions.tear_down(delete=delete), "tear-down")
        self._tell_back_off(plan)
        self._probes.manage()
        if plan.actions:
            seen = self.record.observed(self.pod)
        wake_at = self.report(seen, plan, now)
        renew_at = self.actions.volumes.renew_at
        if renew_at is not None and renew_at <= now:
            self.refresh()
            renew_at = None
        self._set_timer(_earliest(wake_at, plan.wake_at, self._deadline(), renew_at))

    def _busy(self, key: str, work: Coroutine[Any, Any, None], what: str) -> None:
        self.record.busy.add(key)
        self.spawn(self._until_done(key, work), what)

    async def _until_done(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            # Unforeseen: it must not be tried again in a tight loop.
            self.record.failed(key, self._context.clock())
            raise
        finally:
            self.record.busy.discard(key)
            self.wake()

    def _stop(self, action: Stop) -> None:
        first = action.id not in self.record.stopping
        self.record.stopping[action.id] = Stopping(action.deadline, action.held)
        if action.replace:
            self.record.replaced.add(action.id)
        running = self._stops.pop(action.id, None)
        if running is not None:
            running.cancel()
        task = self.spawn(self.actions.stopper.stop(action, first=first), f"stop of {action.container.name}")
        self._stops[action.id] = task
        task.add_done_callback(
            lambda done: self._stops.pop(action.id, None) if self._stops.get(action.id) is done else None
        )

    # -- ends ----------------------------------------------------------------------------------------------------

    def _update_ending(self, now: float) -> None:
        pod, ending = self.pod, self.record.ending
        if self._gone:
            if ending is None or not ending.delete:
                self.record.ending = Ending(deadline=now + grace_period(pod), delete=True)
        elif pod.deleting:
            grace = grace_period(pod)
            if ending is None or not ending.delete or self._grace is None or grace < self._grace:
                self._grace = grace
                # The API's own stamp counts the grace period from the request, also when this agent was away then.
                stamp = pod.metadata.deletion_timestamp
                deadline = min(now + grace, parse_time(stamp) + 1.0) if stamp else now + grace
                self.record.ending = Ending(deadline=max(deadline, now), delete=True)
        elif ending is None and (end := self._deadline()) is not None and now >= end and not self.record.finished:
            self.record.ending = Ending(
                deadline=now + grace_period(pod), delete=False, reason=_DEADLINE_REASON, message=_DEADLINE_MESSAGE
            )
            self._context.event(pod, "Normal", _DEADLINE_REASON, _DEADLINE_MESSAGE)

    def _deadline(self) -> float | None:
        seconds = self.pod.spec.active_deadline_seconds
        if seconds is None or self.record.ending is not None:
            return None
        return parse_time(self._started) + seconds

    def reject(self, why: Rejection) -> None:
        """Fail the pod before anything of it runs; called before `run`."""
        message = f"Pod was rejected: {why.message}"
        self.record.ending = Ending(
            deadline=self._context.clock(), delete=False, reason=why.reason, message=message, rejected=True
        )
        self._context.event(self.pod, "Warning", why.reason, why.message)

    def finish(self) -> None:
        """End the worker; the pod has left nothing on this node."""
        self._done = True
        self.wake()

    # -- reporting -----------------------------------------------------------------------------------------------

    def report(self, seen: Observed, plan: Plan, now: float) -> float | None:
        """Offer the status; returns when to look again if it was held back."""
        status = pod_status(
            self._as_reported(),
            seen,
            plan.waiting,
            host_ips=self._context.settings.node_ips,
            start_time=self._started,
            now=now,
        )
        if self._gone or not self._reporter.offer(status):
            self._dirty_since = None
            return None
        if self._dirty_since is None:
            self._dirty_since = now
        held_until = self._dirty_since + self._hold(seen, plan, status.phase)
        if now < held_until:
            return held_until
        self._dirty_since = None
        if not self._reporter.sending:
            self.spawn(self._reporter.send(), "status")
        return None

    def _hold(self, seen: Observed, plan: Plan, phase: str) -> float:
        """How long the status may wait: only while something is under way that is about to change it."""
        settings = self._context.settings
        under_way = seen.busy or self._probes.undecided
        if not under_way or self.record.ending is not None:
            return 0.0
        first = phase == "Pending" and not plan.waiting and not self._reporter.reported.start_time
        return settings.first_hold if first else settings.hold

    async def flush_status(self) -> None:
        """Report the status as it is now and return when the API has it."""
        seen = self.record.observed(self.pod)
        now = self._context.clock()
        plan = compile_pod(self.pod, seen, now, policy=self._context.settings.backoff)
        status = pod_status(
            self._as_reported(),
            seen,
            plan.waiting,
            host_ips=self._context.settings.node_ips,
            start_time=self._started,
            now=now,
        )
        self._reporter.offer(status)
        await self._reporter.send()

    def _as_reported(self) -> Pod:
        if self.pod.status is self._reporter.reported:
            return self.pod
        return msgspec.structs.replace(self.pod, status=self._reporter.reported)

    def _tell_back_off(self, plan: Plan) -> None:
        for name, why in plan.waiting.items():
            if why.reason != "CrashLoopBackOff":
                continue
            number = self.record.attempts[name][-1].number
            if self._backed_off.get(name) != number:
                self._backed_off[name] = number
                meta = self.pod.metadata
                text = f"Back-off restarting failed container {name} in pod {meta.name}_{meta.namespace}({meta.uid})"
                container = next(found for found in self.pod.spec.every_container if found.name == name)
                self._context.event(self.pod, "Warning", "BackOff", text, container=container)

    # -- time ----------------------------------------------------------------------------------------------------

    def _set_timer(self, moment: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if moment is not None:
            delay = max(0.0, moment - self._context.clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self.wake)


def _earliest(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)
