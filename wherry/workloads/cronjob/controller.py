"""The cron job controller's edge."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from typing import cast

from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.cron import ScheduleError, local_zone, parse
from wherry.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import ObjectReference
from wherry.kube.objects.batch import CronJobStatus
from wherry.kube.patches import merge_diff
from wherry.kube.times import format_time, parse_time
from wherry.workloads.batch import CRON_JOBS, JOBS, CronJob, Job
from wherry.workloads.claims import CONTROLLER_INDEX, controller_values
from wherry.workloads.cronjob import compile
from wherry.workloads.kinds import reference
from wherry.workloads.podcontrol import is_terminating
from wherry.workloads.written import PATIENCE, Written

LONGEST_WAIT = 600.0
"""Seconds after which to look at the clock again: it may be set, or the machine may have slept."""


@dataclass(slots=True)
class _Draft:
    """The status as it becomes in one reconcile."""

    active: list[ObjectReference]
    last_schedule: str | None
    last_success: str | None

    def drop(self, uid: str) -> None:
        self.active = [each for each in self.active if each.uid != uid]

    def status(self) -> CronJobStatus:
        return CronJobStatus(
            active=tuple(self.active), last_schedule_time=self.last_schedule, last_successful_time=self.last_success
        )


class CronJobController(Controller):
    """Makes jobs when they are due and keeps as many finished ones as asked for.

    A job's name holds its minute, so that a controller that was killed after making it does not make it again.
    """

    name = "cronjob"
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
        self._zone: tzinfo | None = None
        self._cron_jobs = informers.informer(CRON_JOBS)
        self._jobs = informers.informer(JOBS)
        self._jobs.add_index(CONTROLLER_INDEX, controller_values)
        self._written = Written(self._cron_jobs.get)
        self._cron_jobs.add_handler(self._cron_job_changed)
        self._jobs.add_handler(self.enqueue_owner(CRON_JOBS.kind))

    async def prepare(self) -> None:
        """Wait for cron jobs and jobs."""
        await self._cron_jobs.synced()
        await self._jobs.synced()

    def _cron_job_changed(self, old: CronJob | None, new: CronJob | None) -> None:
        if new is None and old is not None:
            self._written.forget(old.uid)
        if old is not None and new is not None and _times_of(old) != _times_of(new):
            # Another schedule holds from now on: what it would have made in the past is not made up for.
            wait = self._next_look(new)
            if wait is not None:
                self.queue.add_after(new.key, wait)
                return
        self.enqueue(old, new)

    def _next_look(self, cron_job: CronJob) -> float | None:
        zone = self._zone_of(cron_job)
        try:
            schedule = parse(cron_job.spec.schedule, zone) if zone is not None else None
        except ScheduleError:
            return None
        return compile.next_look(cron_job, schedule, self._clock()) if schedule is not None else None

    async def reconcile(self, key: Key) -> Result | None:
        """Look after the jobs there are, and make one if it is due."""
        cron_job = self._cron_jobs.get(key)
        if cron_job is None:
            return None
        if not self._written.shown(cron_job.uid):
            # The watch brings what is missing and with it the next try.
            return Result(requeue_after=PATIENCE)
        known = cron_job.status
        draft = _Draft([*known.active], known.last_schedule_time, known.last_successful_time)
        jobs = self._jobs.by_index(CONTROLLER_INDEX, cron_job.uid)
        try:
            for job in compile.superfluous(cron_job, jobs):
                await self._delete(cron_job, job, draft)
            await self._look_after(cron_job, jobs, draft)
            wait = await self._start(cron_job, draft) if not cron_job.deleting else None
        finally:
            # What was done is written down also where something else failed.
            await self._write(cron_job, draft.status())
        return Result(requeue_after=wait) if wait is not None else None

    # -- the jobs there are --------------------------------------------------------------------------------------

    async def _look_after(self, cron_job: CronJob, jobs: list[Job], draft: _Draft) -> None:
        """Bring the list of active jobs and the time of the last success up to date."""
        known = {each.uid for each in draft.active}
        for job in jobs:
            end = job.finished
            if end is None:
                if job.uid not in known:
                    message = f"Saw a job that the controller did not create or forgot: {job.name}"
                    self._event(cron_job, "Warning", "UnexpectedJob", message)
                continue
            if job.uid in known:
                draft.drop(job.uid)
                message = f"Saw completed job: {job.name}, condition: {end.type}"
                self._event(cron_job, "Normal", "SawCompletedJob", message)
            done = job.status.completion_time
            if end.type == "Complete" and done is not None and _later(done, draft.last_success):
                draft.last_success = done
        there = {job.uid for job in jobs}
        for each in [*draft.active]:
            if each.uid not in there and not await self._exists(cron_job, each):
                self._event(cron_job, "Normal", "MissingJob", f"Active job went missing: {each.name}")
                draft.drop(each.uid)

    async def _exists(self, cron_job: CronJob, active: ObjectReference) -> bool:
        """Whether the server has the job that the cache does not show."""
        try:
            job = await self._client.get(JOBS, active.name, namespace=cron_job.namespace)
        except NotFound:
            return False
        return job.uid == active.uid

    async def _delete(self, cron_job: CronJob, job: Job, draft: _Draft) -> bool:
        """Delete a job with its pods; whether it is gone or going."""
        try:
            await self._client.delete(JOBS, job.name, namespace=job.namespace, propagation="Background", uid=job.uid)
        except (NotFound, Conflict):
            # Gone already; another job may have its name by now.
            draft.drop(job.uid)
            return True
        except ApiError as error:
            self._event(cron_job, "Warning", "FailedDelete", f"Deleted job: {error}")
            return False
        draft.drop(job.uid)
        self._event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {job.name}")
        return True

    # -- the next job --------------------------------------------------------------------------------------------

    async def _start(self, cron_job: CronJob, draft: _Draft) -> float | None:
        """Make the job that is due; seconds until to look again."""
        spec, now = cron_job.spec, self._clock()
        zone = self._zone_of(cron_job)
        if zone is None or spec.suspend:
            return None
        try:
            schedule = parse(spec.schedule, zone)
        except ScheduleError as error:
            message = f'unparseable schedule: "{spec.schedule}" : {error}'
            self._event(cron_job, "Warning", "UnparseableSchedule", message)
            return None
        try:
            found = compile.due(cron_job, schedule, now, with_deadline=True)
        except compile.UselessSchedule as error:
            self._event(cron_job, "Warning", "InvalidSchedule", f"invalid schedule: {spec.schedule} : {error}")
            return None
        if found.at is not None and found.too_many:
            message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self._event(cron_job, "Warning", "TooManyMissedTimes", message)
        if found.at is not None and await self._may_start(cron_job, draft, found.at, now):
            await self._create(cron_job, draft, found.at, zone)
        wait = compile.next_look(cron_job, schedule, now)
        return min(wait, LONGEST_WAIT) if wait is not None else None

    async def _may_start(self, cron_job: CronJob, draft: _Draft, at: float, now: float) -> bool:
        """Whether a job for a time that has come is to be made; makes room for it where older ones are replaced."""
        if compile.too_late(cron_job, at, now):
            message = f"Missed scheduled time to start a job: {compile.mail_time(at)}"
            self._event(cron_job, "Warning", "MissSchedule", message)
            return False
        name = compile.job_name(cron_job, at)
        if any(each.name == name for each in draft.active) or format_time(at) == draft.last_schedule:
            return False
        if cron_job.spec.concurrency_policy == "Forbid" and draft.active:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._event(cron_job, "Normal", "JobAlreadyActive", message)
            return False
        if cron_job.spec.concurrency_policy == "Replace":
            return await self._replace(cron_job, draft)
        return True

    async def _replace(self, cron_job: CronJob, draft: _Draft) -> bool:
        for each in [*draft.active]:
            try:
                job = await self._client.get(JOBS, each.name, namespace=cron_job.namespace)
            except NotFound:
                draft.drop(each.uid)
                continue
            if not await self._delete(cron_job, job, draft):
                raise RuntimeError(f"could not replace job {job.namespace}/{job.name}")
        return True

    async def _create(self, cron_job: CronJob, draft: _Draft, at: float, zone: tzinfo) -> None:
        wanted = compile.job_for(cron_job, at, zone)
        try:
            job = await self._client.create(JOBS, cast("Job", wanted), namespace=cron_job.namespace)
        except AlreadyExists:
            # Made before a crash, or by somebody else: then it is none of ours.
            job = await self._client.get(JOBS, compile.job_name(cron_job, at), namespace=cron_job.namespace)
            owner = job.metadata.controller
            if owner is None or owner.uid != cron_job.uid:
                return
        except ApiError as error:
            if is_terminating(error):
                return
            self._event(cron_job, "Warning", "FailedCreate", f"Error creating job: {error}")
            raise
        else:
            self._event(cron_job, "Normal", "SuccessfulCreate", f"Created job {job.name}")
        draft.active.append(reference(JOBS, job))
        draft.last_schedule = format_time(at)

    # -- small things --------------------------------------------------------------------------------------------

    def _zone_of(self, cron_job: CronJob) -> tzinfo | None:
        """The time zone that a schedule is meant in; None, with an event, when there is no such zone."""
        name = cron_job.spec.time_zone
        if name is None:
            if self._zone is None:
                self._zone = local_zone()
            return self._zone
        from zoneinfo import ZoneInfo  # only where a time zone is named

        try:
            return ZoneInfo(name)
        except (ValueError, KeyError, OSError):
            message = f'invalid timeZone: "{name}": unknown time zone {name}'
            self._event(cron_job, "Warning", "UnknownTimeZone", message)
            return None

    async def _write(self, cron_job: CronJob, status: CronJobStatus) -> None:
        """Write what changed of the status, if nobody else has written since; Conflict otherwise."""
        change = merge_diff(cron_job.status, status)
        if not change:
            return
        meta = {"uid": cron_job.uid, "resourceVersion": cron_job.metadata.resource_version}
        patch = {"metadata": meta, "status": change}
        try:
            answer = await self._client.patch(
                CRON_JOBS, cron_job.name, patch, namespace=cron_job.namespace, subresource="status"
            )
        except NotFound:
            return
        self._written.note(cron_job.uid, answer)

    def _event(self, cron_job: CronJob, type_: str, reason: str, message: str) -> None:
        self._recorder.event(reference(CRON_JOBS, cron_job), type_, reason, message)


def _times_of(cron_job: CronJob) -> tuple[str, str | None]:
    return cron_job.spec.schedule, cron_job.spec.time_zone


def _later(one: str, other: str | None) -> bool:
    return other is None or parse_time(one) > parse_time(other)
