"""The job controller's edge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.errors import ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Condition, LabelSelector, Pod
from wherry.kube.objects.batch import JobStatus
from wherry.kube.patches import merge_diff
from wherry.workloads.batch import JOBS, Job
from wherry.workloads.claims import Claimer, concerned
from wherry.workloads.expectations import PATIENCE, Expectations
from wherry.workloads.job import conditions as c
from wherry.workloads.job import tracking
from wherry.workloads.job.backoff import NO_FAILURES, Failures
from wherry.workloads.job.compile import Situation
from wherry.workloads.job.finalizers import take_off_all
from wherry.workloads.job.pods import FINALIZER, tracked
from wherry.workloads.kinds import reference
from wherry.workloads.podcontrol import PodControl, is_terminating
from wherry.workloads.written import Written


@dataclass(slots=True)
class _Round:
    """What one reconcile did to the pods of a job, and what is left to do."""

    active: int
    ready: int
    terminating: int
    verdict: Condition | None
    wait: float | None = None
    errors: list[ApiError] = field(default_factory=list)

    def deleted(self, pods: Sequence[Pod], errors: list[ApiError]) -> None:
        """These pods were asked to go, except for as many as there are errors."""
        self.active -= len(pods) - len(errors)
        self.terminating += len(pods) - len(errors)
        self.ready -= sum(pod.ready for pod in pods)
        self.errors += errors


class JobController(Controller):
    """Runs pods until a job's end and counts them.

    Nothing is decided on a cache that does not show everything this controller did for the job: pods made and
    deleted, finalizers taken off, the status written.
    """

    name = "job"
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
        self._jobs = informers.informer(JOBS)
        self._pods = informers.informer(kinds.PODS)
        self._expectations = Expectations(self._pods.get, time.monotonic)
        self._written = Written(self._jobs.get)
        self._freed = Written(self._pods.get)
        self._control = PodControl(client, recorder, JOBS, self._expectations)
        self._claimer = Claimer(client, JOBS, kinds.PODS, self._pods, finalizer=FINALIZER)
        self._failures: dict[str, Failures] = {}
        self._jobs.add_handler(self._job_changed)
        self._pods.add_handler(self._pod_changed)

    async def prepare(self) -> None:
        """Wait for jobs and pods."""
        await self._jobs.synced()
        await self._pods.synced()

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        if old is not None and (new is None or new.finished):
            for memory in (self._expectations, self._written, self._freed):
                memory.forget(old.uid)
            self._failures.pop(old.uid, None)
        self.enqueue(old, new)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        self._expectations.observe(old, new)
        for key in concerned(JOBS, self._selectors, old, new):
            self.queue.add(key)

    def _selectors(self, namespace: str) -> Iterator[tuple[Key, LabelSelector | None]]:
        return ((each.key, each.spec.selector) for each in self._jobs.list(namespace) if not each.finished)

    async def reconcile(self, key: Key) -> Result | None:
        """Make or delete pods, then count those that ended."""
        job = self._jobs.get(key)
        if job is None or job.foreign or job.finished:
            return None
        pods = await self._claimer.objects_of(job, job.spec.selector)
        if not (self._written.shown(job.uid) and self._freed.shown(job.uid) and self._expectations.met(job.uid)):
            # The watch brings what is missing and with it the next try.
            return Result(requeue_after=PATIENCE)
        situation = Situation(job, pods, self._clock(), self._failures.get(job.uid, NO_FAILURES))
        done = await self._act(situation)
        try:
            await self._track(situation, done)
        except NotFound:
            # The job was deleted meanwhile; its pods are let go as orphans.
            return None
        if done.errors and not all(is_terminating(error) for error in done.errors):
            raise done.errors[0]
        waits = [wait for wait in (done.wait, situation.deadline_in) if wait is not None and wait > 0]
        return Result(requeue_after=min(waits)) if waits else None

    # -- pods ----------------------------------------------------------------------------------------------------

    async def _act(self, situation: Situation) -> _Round:
        """Bring the pods to what the job wants; the last success of a job becomes its verdict here."""
        job, active = situation.job, situation.active
        done = _Round(len(active), sum(pod.ready for pod in active), situation.terminating, situation.verdict)
        if done.verdict is not None:
            done.deleted(active, await self._control.delete(job, active))
            if done.errors:
                # As long as pods stay active the job cannot end.
                done.verdict = None
            return done
        if not job.deleting:
            plan = situation.plan()
            done.wait = plan.wait
            if plan.delete:
                # Not the pods' fault: they are let go first, so that they count as nothing.
                done.errors += await self._free(job, plan.delete)
                if not done.errors:
                    done.deleted(plan.delete, await self._control.delete(job, plan.delete))
            errors = await self._control.create(job, plan.create)
            done.active += len(plan.create) if not errors else 0
            done.errors += errors
        if situation.complete(done.active):
            done.verdict = c.condition("SuccessCriteriaMet", c.COMPLETED, situation.now)
        return done

    async def _free(self, job: Job, pods: Sequence[Pod]) -> list[ApiError]:
        """Take the finalizer off pods; what could not be done."""
        errors = []
        for pod, outcome in await take_off_all(self._client, pods):
            if isinstance(outcome, ApiError):
                errors.append(outcome)
            elif outcome is None:
                self._freed.note_gone(job.uid, pod)
            else:
                self._freed.note(job.uid, outcome)
        return errors

    # -- status --------------------------------------------------------------------------------------------------

    async def _track(self, situation: Situation, done: _Round) -> None:
        """Write the status, take finalizers off, count, and end the job when nothing is left to count."""
        job = situation.job
        before = msgspec.structs.replace(
            job.status,
            start_time=situation.start_time,
            active=done.active,
            ready=max(0, done.ready),
            terminating=done.terminating,
        )
        shift = self._suspension(situation) if done.verdict is None and not job.deleting else None
        if shift is not None:
            before = msgspec.structs.replace(before, conditions=c.with_condition(before.conditions, shift))
        counting = tracking.count(situation, before, done.verdict)
        job = await self._write(job, counting.status)
        self._failures[job.uid] = situation.failures_now
        if shift is not None:
            self._event(job, "Normal", shift.reason.removeprefix("Job"), shift.message)
        errors = await self._free(job, counting.free)
        kept = {pod.uid for pod in situation.pods if tracked(pod)} - {pod.uid for pod in counting.free}
        if errors:
            # Which of them were taken off shows in the cache; counting is done then.
            done.errors += errors
            return
        status = tracking.settle(counting.status, kept)
        if done.verdict is not None and not counting.partly:
            finished = tracking.finish(status, done.verdict, situation.now)
            if finished is not None:
                self._say_finished(await self._write(job, finished))
                return
        await self._write(job, status)

    def _suspension(self, situation: Situation) -> Condition | None:
        """The condition Suspended where it changes."""
        if situation.resumed:
            return c.condition("Suspended", c.RESUMED, situation.now, status="False")
        if situation.job.spec.suspend and c.find(situation.job.status.conditions, "Suspended") is None:
            return c.condition("Suspended", c.SUSPENDED, situation.now)
        return None

    async def _write(self, job: Job, status: JobStatus) -> Job:
        """Write what changed of the status, if nobody else has written since; Conflict otherwise."""
        change = merge_diff(job.status, status)
        if not change:
            return job
        patch = {"metadata": {"uid": job.uid, "resourceVersion": job.metadata.resource_version}, "status": change}
        answer = await self._client.patch(JOBS, job.name, patch, namespace=job.namespace, subresource="status")
        self._written.note(job.uid, answer)
        return answer

    def _say_finished(self, job: Job) -> None:
        end = job.finished
        if end is None:
            return
        if end.type == "Failed":
            self._event(job, "Warning", end.reason, end.message)
            return
        if job.spec.completions is not None and job.status.succeeded > job.spec.completions:
            text = "Too many succeeded pods running after completion count reached"
            self._event(job, "Warning", "TooManySucceededPods", text)
        self._event(job, "Normal", "Completed", "Job completed")

    def _event(self, job: Job, type_: str, reason: str, message: str) -> None:
        self._recorder.event(reference(JOBS, job), type_, reason, message)
