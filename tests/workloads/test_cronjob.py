"""Cron jobs: what is due when, as pure functions; and in a world whose clock the test sets."""

from __future__ import annotations

import time
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.make import STAMP, START, meta, of
from tests.workloads.world import World, world
from wherry.kube.cron import parse
from wherry.kube.keys import Key
from wherry.kube.objects import Event
from wherry.kube.times import format_time, parse_time
from wherry.workloads.batch import CRON_JOBS, JOBS, CronJob, Job
from wherry.workloads.cronjob import compile

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
# START is 22:13:20.


def cron_job(schedule: str = "*/10 * * * *", *, last: float | None = None, **spec: Any) -> CronJob:
    status = {"lastScheduleTime": format_time(START + last)} if last is not None else {}
    template = {"metadata": {"labels": {"a": "1"}, "annotations": {"b": "2"}}, "spec": {"completions": 1}}
    return of(
        CronJob,
        {
            "metadata": meta("c", "default", creationTimestamp=STAMP),
            "spec": {"schedule": schedule, "jobTemplate": template, **spec},
            "status": status,
        },
    )


FIRST = 400.0
"""Seconds from START to 22:20, the first time of the schedule."""


@pytest.mark.parametrize(
    ("one", "after", "at", "missed"),
    [
        (cron_job(), 0, None, 0),
        (cron_job(), FIRST, FIRST, 0),
        (cron_job(), FIRST + 599, FIRST, 0),
        (cron_job(), FIRST + 601, FIRST + 600, 2),
        (cron_job(last=FIRST), FIRST + 10, None, 0),
        (cron_job(last=FIRST), FIRST + 600, FIRST + 600, 0),
        (cron_job(), FIRST + DAY, FIRST + DAY, 145),
        (cron_job(startingDeadlineSeconds=700), FIRST + DAY + 50, FIRST + DAY, 2),
        (cron_job(startingDeadlineSeconds=20), FIRST + 30, None, 0),
        # An interval keeps the beat of its start.
        (cron_job("@every 7m"), 10 * HOUR, 85 * 7 * MINUTE, 85),
        # Uneven times: working hours, looked at on a Sunday night.
        (cron_job("30 6-16/4 * * 1-5"), 5 * DAY, parse_time("2023-11-17T14:30:00Z") - START, 28),
    ],
)
def test_what_is_due(one: CronJob, after: float, at: float | None, missed: int) -> None:
    found = compile.due(one, parse(one.spec.schedule), START + after, with_deadline=True)
    assert (found.at and found.at - START, found.missed) == (at, missed)
    assert found.too_many == (missed > 100)


@given(
    st.sampled_from(["*/10 * * * *", "30 6-16/4 * * 1-5", "5,6,50 3,4 */9 * *", "@every 7m", "0 0 1 * *", "@weekly"]),
    st.floats(0, 40 * DAY),
)
def test_the_latest_time_is_due(schedule: str, after: float) -> None:
    one, parsed = cron_job(schedule), parse(schedule)
    latest, following = None, parsed.next_after(START)
    while following is not None and following <= START + after:
        latest, following = following, parsed.next_after(following)
    assert compile.due(one, parsed, START + after, with_deadline=True).at == latest


def test_a_schedule_whose_time_never_comes() -> None:
    never = cron_job("0 0 30 2 *")
    with pytest.raises(compile.UselessSchedule, match="time difference between two schedules is less than 1 second"):
        compile.due(never, parse(never.spec.schedule), START, with_deadline=True)
    assert compile.next_look(never, parse(never.spec.schedule), START) is None


@pytest.mark.parametrize(
    ("one", "after", "wait"),
    [
        (cron_job(), 0, FIRST),
        (cron_job(), FIRST + 1, 599),
        (cron_job(), FIRST + DAY + 1, 599),
        (cron_job(last=FIRST), FIRST + 1, 599),
        (cron_job("@every 1h"), 90 * MINUTE, 30 * MINUTE),
    ],
)
def test_when_to_look_again(one: CronJob, after: float, wait: float) -> None:
    found = compile.next_look(one, parse(one.spec.schedule), START + after)
    assert found == pytest.approx(wait + compile.MARGIN)


def test_the_job_of_a_time() -> None:
    at = parse_time("2026-07-01T10:30:00Z")
    made = compile.job_for(cron_job(), at, ZoneInfo("Europe/Berlin"))
    metadata = made["metadata"]
    assert metadata["name"] == f"c-{int(at) // 60}"
    assert metadata["labels"] == {"a": "1"}
    assert metadata["annotations"] == {"b": "2", compile.SCHEDULED_AT: "2026-07-01T12:30:00+02:00"}
    assert (
        compile.job_for(cron_job(), at, UTC)["metadata"]["annotations"][compile.SCHEDULED_AT] == "2026-07-01T10:30:00Z"
    )
    [owner] = metadata["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("CronJob", "c", True)
    assert made["spec"] == {"completions": 1}
    assert compile.mail_time(at) == "Wed, 01 Jul 2026 10:30:00 +0000"


def ended(name: str, outcome: str | None, started: str) -> Job:
    conditions = [{"type": outcome, "status": "True"}] if outcome else []
    return of(Job, {"metadata": meta(name, "default"), "status": {"startTime": started, "conditions": conditions}})


def test_old_jobs_go_first() -> None:
    jobs = [
        ended("b", "Complete", "2026-01-02T00:00:00Z"), ended("a", "Complete", "2026-01-01T00:00:00Z"),
        ended("x", "Failed", "2026-01-01T00:00:00Z"), ended("y", "Failed", "2026-01-03T00:00:00Z"),
        ended("runs", None, "2025-01-01T00:00:00Z"),
    ]  # fmt: skip

    def gone(**limits: int | None) -> list[str]:
        return [job.name for job in compile.superfluous(cron_job(**limits), jobs)]

    assert gone(successfulJobsHistoryLimit=1, failedJobsHistoryLimit=1) == ["a", "x"]
    assert gone(successfulJobsHistoryLimit=0, failedJobsHistoryLimit=9) == ["a", "b"]
    assert gone(successfulJobsHistoryLimit=None, failedJobsHistoryLimit=0) == ["x", "y"]


# -- the controller -----------------------------------------------------------------------------------------------


class Crons:
    """A world without nodes, whose jobs a test ends by hand, and its clock."""

    def __init__(self) -> None:
        # Half a minute after an hour that lies ahead, so that new objects are older than any time that comes.
        self.now = (time.time() // HOUR + 2) * HOUR + 30
        self.world: World

    def __call__(self) -> float:
        return self.now

    def enter(self, made: World) -> None:
        self.world = made
        self.jobs = made.view(JOBS)
        self.cron_jobs = made.view(CRON_JOBS)

    async def add(self, schedule: str = "0 * * * *", *, last: float = 0.0, name: str = "c", **spec: Any) -> None:
        """A cron job whose last time was ``last`` seconds ago (by default it has none due)."""
        pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}
        job = {"spec": {"template": {"spec": pod}, "suspend": True}}
        whole = {"schedule": schedule, "jobTemplate": job, "suspend": True, **spec}
        await self.world.create(CRON_JOBS, name, spec=whole)
        await self.status(name, lastScheduleTime=format_time(self.now - last))
        await self.change(name, suspend=spec.get("suspend", False))

    async def change(self, name: str = "c", **spec: Any) -> None:
        await self.world.client.patch(CRON_JOBS, name, {"spec": spec}, namespace="default")

    async def status(self, name: str = "c", **status: Any) -> None:
        patch = {"status": status}
        await self.world.client.patch(CRON_JOBS, name, patch, namespace="default", subresource="status")

    async def later(self, seconds: float) -> None:
        """Set the clock forward and have the cron job looked at."""
        self.now += seconds
        notes = {"metadata": {"annotations": {"touched": str(time.time_ns())}}}
        await self.world.client.patch(CRON_JOBS, "c", notes, namespace="default")

    def cron_job(self, name: str = "c") -> CronJob:
        found: CronJob | None = self.cron_jobs.get(Key("default", name))
        assert found is not None
        return found

    def names(self) -> list[str]:
        return sorted(job.name for job in self.jobs.list("default"))

    async def names_are(self, *minutes: float) -> None:
        """Wait until there are jobs for just these times."""
        wanted = sorted(f"c-{int(each) // 60}" for each in minutes)
        await self.world.until(lambda: self.names() == wanted)

    async def active_are(self, count: int) -> None:
        await self.world.until(lambda: len(self.cron_job().status.active) == count)

    async def end(self, name: str, outcome: str = "Complete") -> None:
        stamp = format_time(self.now)
        before = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[outcome]
        conditions = [{"type": each, "status": "True", "lastTransitionTime": stamp} for each in (before, outcome)]
        status: dict[str, Any] = {"conditions": conditions, "startTime": stamp}
        if outcome == "Complete":
            status["completionTime"] = stamp
        await self.world.client.patch(JOBS, name, {"status": status}, namespace="default", subresource="status")

    def said(self) -> dict[str, str]:
        events: list[Event] = self.world.events.list()
        return {each.reason: each.message for each in events if each.involved_object.name == "c"}

    async def hears(self, reason: str) -> str:
        await self.world.until(lambda: reason in self.said())
        return self.said()[reason]


async def test_a_job_each_hour() -> None:
    crons = Crons()
    async with world(batch_clock=crons) as made:
        crons.enter(made)
        await crons.add()
        await crons.later(HOUR)
        hour = crons.now - 30
        await crons.names_are(hour)
        name = crons.names()[0]
        assert await crons.hears("SuccessfulCreate") == f"Created job {name}"
        await crons.active_are(1)
        assert crons.cron_job().status.active[0].name == name
        assert crons.cron_job().status.last_schedule_time == format_time(hour)
        await crons.later(60)
        await crons.end(name)
        await crons.active_are(0)
        assert await crons.hears("SawCompletedJob") == f"Saw completed job: {name}, condition: Complete"
        assert crons.cron_job().status.last_successful_time == format_time(crons.now)
        await crons.later(HOUR)
        await crons.names_are(hour, hour + HOUR)


@pytest.mark.parametrize("policy", ["Allow", "Forbid", "Replace"])
async def test_jobs_at_the_same_time(policy: str) -> None:
    crons = Crons()
    async with world(batch_clock=crons) as made:
        crons.enter(made)
        await crons.add(concurrencyPolicy=policy)
        await crons.later(HOUR)
        hour = crons.now - 30
        await crons.active_are(1)
        await crons.later(HOUR)
        if policy == "Allow":
            await crons.names_are(hour, hour + HOUR)
            await crons.active_are(2)
        elif policy == "Replace":
            await crons.names_are(hour + HOUR)
            assert await crons.hears("SuccessfulDelete") == f"Deleted job c-{int(hour) // 60}"
            await crons.active_are(1)
        else:
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            assert await crons.hears("JobAlreadyActive") == text
            assert crons.names() == [f"c-{int(hour) // 60}"]
            await crons.end(crons.names()[0])
            # As soon as there is room the missed one is made up for.
            await crons.names_are(hour, hour + HOUR)


async def test_late_times_are_told() -> None:
    crons = Crons()
    async with world(batch_clock=crons) as made:
        crons.enter(made)
        await crons.add("* * * * *", last=200 * MINUTE)
        assert "too many missed start times" in await crons.hears("TooManyMissedTimes")
        await crons.names_are(crons.now - 30)
        await crons.change(suspend=True)
        await crons.add("0 0 30 2 *", name="never")
        await made.until(lambda: "InvalidSchedule" in made.reasons("never"))


async def test_what_stops_a_cron_job() -> None:
    crons = Crons()
    async with world(batch_clock=crons) as made:
        crons.enter(made)
        await crons.add(last=HOUR, suspend=True)
        await crons.add(last=HOUR, startingDeadlineSeconds=10, name="late")
        await crons.add(last=HOUR, timeZone="Asia/Kathmandu", name="elsewhere")
        await made.until(lambda: crons.names())
        # Kathmandu's hours begin at a quarter past.
        at = crons.now - 30 - 45 * MINUTE
        assert crons.names() == [f"elsewhere-{int(at) // 60}"]
        assert crons.cron_job("late").status.active == ()


async def test_another_schedule_holds_from_now_on() -> None:
    crons = Crons()
    async with world(batch_clock=crons) as made:
        crons.enter(made)
        await crons.add("0 0 1 1 *", last=HOUR)
        await crons.add("0 0 1 1 *", last=HOUR, name="witness")
        await crons.change(schedule="@every 50m")
        # Due ten minutes ago by the new schedule; the witness, suspended meanwhile, is made to run after it.
        await crons.change("witness", suspend=True)
        await crons.change("witness", schedule="@every 50m")
        await crons.change("witness", suspend=False)
        await made.until(lambda: crons.names())
        assert [name.split("-")[0] for name in crons.names()] == ["witness"]


async def test_history_and_lost_jobs() -> None:
    crons = Crons()
    async with world(batch_clock=crons) as made:
        crons.enter(made)
        await crons.add(successfulJobsHistoryLimit=1, failedJobsHistoryLimit=0)
        hours = []
        for outcome in ("Complete", "Failed", "Complete"):
            await crons.later(HOUR)
            hours.append(crons.now - 30)
            await crons.active_are(1)
            await crons.end(f"c-{int(hours[-1]) // 60}", outcome)
            await crons.active_are(0)
        await crons.names_are(hours[-1])
        await crons.later(HOUR)
        await crons.active_are(1)
        lost = f"c-{int(crons.now - 30) // 60}"
        await made.client.delete(JOBS, lost, namespace="default", propagation="Background")
        assert await crons.hears("MissingJob") == f"Active job went missing: {lost}"
        await crons.active_are(0)
        await crons.names_are(hours[-1])


async def test_a_job_made_before_a_crash_is_not_made_again() -> None:
    crons = Crons()
    async with world(batch_clock=crons) as made:
        crons.enter(made)
        await crons.add()
        await crons.later(HOUR)
        await crons.active_are(1)
        before = crons.jobs.list("default")[0].uid
        # As if the controller had died between the job and the status.
        await crons.status(active=None, lastScheduleTime=format_time(crons.now - HOUR))
        await crons.active_are(1)
        assert [job.uid for job in crons.jobs.list("default")] == [before]
        assert "Saw a job that the controller did not create or forgot" in await crons.hears("UnexpectedJob")
