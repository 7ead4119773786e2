"""When a cron job is due, and the job it makes then. Pure; times in seconds since 1970."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from email.utils import format_datetime
from typing import Any

from wherry.kube.cron import Schedule
from wherry.kube.times import parse_time
from wherry.workloads.batch import CRON_JOBS, CronJob, Job
from wherry.workloads.kinds import controller_reference
from wherry.workloads.templates import plain

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
"""Annotation of a job: the time it was made for, in the cron job's time zone."""

MARGIN = 0.1
"""Seconds after the due time at which to look, so as not to be early by a clock's fraction."""

_MANY = 100


class UselessSchedule(ValueError):
    """A schedule whose times do not move."""


@dataclass(frozen=True, slots=True)
class Due:
    """The latest time that has come (None: none has), the time it was reckoned from, and how many came since."""

    at: float | None
    since: float
    missed: int = 0

    @property
    def too_many(self) -> bool:
        """Whether so many were missed that the user should hear of it."""
        return self.missed > _MANY


def due(cron_job: CronJob, schedule: Schedule, now: float, *, with_deadline: bool) -> Due:
    """The latest scheduled time up to ``now`` that no job was made for; UselessSchedule where that cannot be told.

    ``with_deadline``: times older than ``startingDeadlineSeconds`` do not count. Times are not listed one by one, as
    there may be very many after a long pause: their number is estimated from the first two.
    """
    since = _start(cron_job)
    deadline = cron_job.spec.starting_deadline_seconds
    if with_deadline and deadline is not None:
        since = max(since, now - deadline)
    first = schedule.next_after(since)
    if first is None:
        raise UselessSchedule("time difference between two schedules is less than 1 second")
    if now < first:
        return Due(None, since)
    second = schedule.next_after(first)
    if second is None or now < second:
        return Due(first, since)
    between = int(second - first)
    if between < 1:
        raise UselessSchedule("time difference between two schedules is less than 1 second")
    missed = int(now - first) // between + 1
    # Back by whole steps, so that an interval keeps its beat; by more of them where an uneven schedule has a gap.
    latest, back = None, 1
    while latest is None:
        latest = _last_between(schedule, first + max(0, missed - 1 - back) * between, now)
        back *= 2
    return Due(latest, since, missed)


def _last_between(schedule: Schedule, start: float, end: float) -> float | None:
    last, following = None, schedule.next_after(start)
    while following is not None and following <= end:
        last, following = following, schedule.next_after(following)
    return last


def next_look(cron_job: CronJob, schedule: Schedule, now: float) -> float | None:
    """Seconds until the schedule is due next; None when it never is."""
    try:
        last = due(cron_job, schedule, now, with_deadline=False)
    except UselessSchedule:
        last = Due(now, now)
    following = schedule.next_after(last.at if last.at is not None else last.since)
    return max(0.0, following + MARGIN - now) if following is not None else None


def _start(cron_job: CronJob) -> float:
    text = cron_job.status.last_schedule_time or cron_job.metadata.creation_timestamp
    return parse_time(text) if text else 0.0


def too_late(cron_job: CronJob, at: float, now: float) -> bool:
    """Whether the time to start a job for ``at`` is over."""
    deadline = cron_job.spec.starting_deadline_seconds
    return deadline is not None and at + deadline < now


def job_name(cron_job: CronJob, at: float) -> str:
    """The job's name: it holds the minute, so that there is one job for each."""
    return f"{cron_job.name}-{int(at) // 60}"


def job_for(cron_job: CronJob, at: float, zone: tzinfo) -> dict[str, Any]:
    """The job for a scheduled time."""
    template = cron_job.spec.job_template
    stamp = datetime.fromtimestamp(int(at), zone).isoformat().replace("+00:00", "Z")
    return {
        "metadata": {
            "name": job_name(cron_job, at),
            "namespace": cron_job.namespace,
            "labels": dict(template.metadata.labels),
            "annotations": {**template.metadata.annotations, SCHEDULED_AT: stamp},
            "ownerReferences": [plain(controller_reference(CRON_JOBS, cron_job))],
        },
        "spec": copy.deepcopy(template.spec),
    }


def mail_time(at: float) -> str:
    """A time as the event about a missed one shows it: ``Mon, 02 Jan 2006 15:04:05 +0000``."""
    return format_datetime(datetime.fromtimestamp(int(at), UTC))


def superfluous(cron_job: CronJob, jobs: Sequence[Job]) -> list[Job]:
    """Finished jobs beyond the history to keep, oldest first."""
    limits = {
        "Complete": cron_job.spec.successful_jobs_history_limit,
        "Failed": cron_job.spec.failed_jobs_history_limit,
    }
    found: list[Job] = []
    for outcome, limit in limits.items():
        ended = [job for job in jobs if job.finished is not None and job.finished.type == outcome and not job.deleting]
        ended.sort(key=lambda job: (job.status.start_time is None, job.status.start_time or "", job.name))
        if limit is not None:
            found += ended[: max(0, len(ended) - limit)]
    return found
