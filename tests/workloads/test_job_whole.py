"""Jobs in a world of a real API server, with pods that end as the test says."""

from __future__ import annotations

import time
from typing import Any

from tests.workloads.make import STAMP
from tests.workloads.world import World, world
from wherry.kube import kinds
from wherry.kube.keys import Key
from wherry.kube.objects import Pod
from wherry.kube.times import parse_time
from wherry.workloads.batch import JOBS, Job
from wherry.workloads.job.pods import FINALIZER, INDEX


class Clock:
    """The machine's clock, set forward by a test."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Jobs:
    """A world with one node, and what a test of jobs does in it."""

    def __init__(self, made: World) -> None:
        self.world = made
        self.jobs = made.view(JOBS)

    async def add(self, name: str, *, labels: dict[str, str] | None = None, **spec: Any) -> None:
        pod_spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}
        template = {"metadata": {"labels": labels or {}}, "spec": pod_spec}
        await self.world.create(JOBS, name, spec={"template": template, **spec})

    async def change(self, name: str, **spec: Any) -> None:
        await self.world.client.patch(JOBS, name, {"spec": spec}, namespace="default")

    async def touch(self, name: str = "j") -> None:
        """Have the job looked at again."""
        notes = {"metadata": {"annotations": {"touched": str(time.time_ns())}}}
        await self.world.client.patch(JOBS, name, notes, namespace="default")

    def job(self, name: str = "j") -> Job:
        found: Job | None = self.jobs.get(Key("default", name))
        assert found is not None
        return found

    def pods(self, name: str = "j") -> list[Pod]:
        found = [each for each in self.world.pods.list("default") if each.labels.get("job-name") == name]
        return sorted(found, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.name))

    def running(self, name: str = "j") -> list[Pod]:
        return [each for each in self.pods(name) if each.ready and not each.finished and not each.deleting]

    async def running_are(self, count: int, name: str = "j") -> list[Pod]:
        await self.world.until(lambda: len(self.running(name)) == count)
        return self.running(name)

    async def end(self, pod: Pod, code: int = 0) -> None:
        ended = {"terminated": {"exitCode": code, "finishedAt": STAMP}}
        status = {
            "phase": "Failed" if code else "Succeeded",
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": STAMP}],
            "containerStatuses": [{"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0,
                                   "state": ended}],
        }  # fmt: skip
        await self.world.client.patch(
            kinds.PODS, pod.name, {"status": status}, namespace="default", subresource="status", type="strategic"
        )

    async def finished(self, name: str = "j") -> Job:
        await self.world.until(lambda: self.job(name).finished)
        return self.job(name)


def conditions(job: Job) -> list[tuple[str, str, str]]:
    return [(each.type, each.status, each.reason) for each in job.status.conditions]


async def test_a_job_runs_to_its_completions() -> None:
    async with world() as made:
        jobs = Jobs(made)
        await made.add_node("n1")
        await jobs.add("j", completions=3, parallelism=2)
        first = await jobs.running_are(2)
        assert all(FINALIZER in pod.metadata.finalizers for pod in first)
        assert jobs.job().status.start_time
        for pod in first:
            await jobs.end(pod)
        [last] = await jobs.running_are(1)
        await jobs.end(last)
        job = await jobs.finished()
        assert conditions(job) == [
            ("SuccessCriteriaMet", "True", "CompletionsReached"),
            ("Complete", "True", "CompletionsReached"),
        ]
        status = job.status
        assert (status.succeeded, status.failed, status.active, status.ready, status.terminating) == (3, 0, 0, 0, 0)
        assert status.completion_time
        assert len(jobs.pods()) == 3
        assert not any(FINALIZER in pod.metadata.finalizers for pod in jobs.pods())
        await made.until(lambda: {"SuccessfulCreate", "Completed"} <= made.reasons("j"))


async def test_a_failing_job_gives_up_and_stops_what_still_runs() -> None:
    async with world() as made:
        jobs = Jobs(made)
        await made.add_node("n1")
        await jobs.add("j", completions=3, parallelism=2, backoffLimit=0)
        first, second = await jobs.running_are(2)
        await jobs.end(first, 3)
        job = await jobs.finished()
        assert conditions(job) == [
            ("FailureTarget", "True", "BackoffLimitExceeded"), ("Failed", "True", "BackoffLimitExceeded")
        ]  # fmt: skip
        assert (job.status.failed, job.status.active, job.status.completion_time) == (2, 0, None)
        await made.until(lambda: made.pods.get(second.key) is None)
        assert [pod.name for pod in jobs.pods()] == [first.name]
        await made.until(lambda: {"SuccessfulDelete", "BackoffLimitExceeded"} <= made.reasons("j"))


async def test_failed_pods_come_back_after_a_pause() -> None:
    clock = Clock()
    async with world(batch_clock=clock) as made:
        jobs = Jobs(made)
        await made.add_node("n1")
        await jobs.add("j", backoffLimit=3)
        [pod] = await jobs.running_are(1)
        clock.ahead = -time.time() + parse_time(STAMP) + 1
        await jobs.end(pod, 1)
        await made.until(lambda: jobs.job().status.failed == 1 and jobs.job().status.active == 0)
        assert not jobs.running()
        clock.ahead += 10
        await jobs.touch()
        [pod] = await jobs.running_are(1)
        await jobs.end(pod)
        job = await jobs.finished()
        assert (job.status.succeeded, job.status.failed) == (1, 1)


async def test_an_indexed_job_grows_and_shrinks() -> None:
    def running(jobs: Jobs) -> set[str]:
        return {pod.metadata.annotations[INDEX] for pod in jobs.running()}

    async with world() as made:
        jobs = Jobs(made)
        await made.add_node("n1")
        await jobs.add("j", completionMode="Indexed", completions=2, parallelism=2)
        await made.until(lambda: running(jobs) == {"0", "1"})
        await jobs.change("j", completions=4, parallelism=4)
        await made.until(lambda: running(jobs) == {"0", "1", "2", "3"})
        assert {pod.spec.hostname for pod in jobs.running()} == {"j-0", "j-1", "j-2", "j-3"}
        await jobs.change("j", completions=3, parallelism=3)
        await made.until(lambda: running(jobs) == {"0", "1", "2"})
        for pod in jobs.running():
            await jobs.end(pod)
        job = await jobs.finished()
        assert (job.status.completed_indexes, job.status.succeeded, job.status.failed) == ("0-2", 3, 0)


async def test_suspending_stops_pods_and_resuming_starts_the_time_anew() -> None:
    clock = Clock()
    async with world(batch_clock=clock) as made:
        jobs = Jobs(made)
        await made.add_node("n1")
        await jobs.add("j", completions=2, parallelism=2, activeDeadlineSeconds=1000)
        await jobs.running_are(2)
        started = jobs.job().status.start_time
        await jobs.change("j", suspend=True)
        await made.until(lambda: conditions(jobs.job()) == [("Suspended", "True", "JobSuspended")] and not jobs.pods())
        clock.ahead = 5000.0
        await jobs.change("j", suspend=False)
        await jobs.running_are(2)
        await made.until(lambda: conditions(jobs.job()) == [("Suspended", "False", "JobResumed")])
        job = jobs.job()
        assert job.status.start_time is not None
        assert started is not None
        assert parse_time(job.status.start_time) - parse_time(started) >= 4999
        assert job.status.failed == 0
        await made.until(lambda: {"Suspended", "Resumed", "SuccessfulDelete"} <= made.reasons("j"))


async def test_a_job_past_its_deadline_fails() -> None:
    clock = Clock()
    async with world(batch_clock=clock) as made:
        jobs = Jobs(made)
        await made.add_node("n1")
        await jobs.add("j", activeDeadlineSeconds=1000, ttlSecondsAfterFinished=50)
        await jobs.running_are(1)
        clock.ahead = 1001.0
        await jobs.touch()
        assert (await jobs.finished()).status.conditions[-1].reason == "DeadlineExceeded"
        await made.until(lambda: not jobs.pods())
        clock.ahead += 60
        await jobs.touch()
        await made.until(lambda: jobs.jobs.get(Key("default", "j")) is None)


async def test_pods_of_deleted_jobs_are_let_go() -> None:
    async with world() as made:
        jobs = Jobs(made)
        await made.add_node("n1")
        for name in ("background", "foreground", "orphan"):
            await jobs.add(name)
        for name in ("background", "foreground", "orphan"):
            await jobs.running_are(1, name)
        [kept] = jobs.running("orphan")
        await made.client.delete(JOBS, "background", namespace="default", propagation="Background")
        await made.client.delete(JOBS, "foreground", namespace="default", propagation="Foreground")
        await made.client.delete(JOBS, "orphan", namespace="default", propagation="Orphan")
        await made.until(lambda: not jobs.pods("background") and not jobs.pods("foreground") and not jobs.jobs.list())
        await made.until(lambda: not jobs.pods("orphan")[0].metadata.finalizers)
        assert [pod.uid for pod in jobs.running("orphan")] == [kept.uid]


async def test_an_ended_pod_is_adopted_and_counted() -> None:
    async with world() as made:
        jobs = Jobs(made)
        await made.add_node("n1")
        labels = {"app": "mine", "job-name": "j"}
        spec = {"restartPolicy": "Never", "nodeName": "n1", "containers": [{"name": "main", "image": "x"}]}
        await made.create(kinds.PODS, "early", metadata={"labels": labels}, spec=spec)
        await made.until(lambda: jobs.running())
        manual = {"manualSelector": True, "selector": {"matchLabels": {"app": "mine"}}}
        await jobs.add("j", labels=labels, completions=1, **manual)
        await made.until(lambda: FINALIZER in jobs.pods()[0].metadata.finalizers)
        await jobs.end(jobs.pods()[0])
        assert (await jobs.finished()).status.succeeded == 1
        assert [pod.name for pod in jobs.pods()] == ["early"]


async def test_jobs_of_other_managers_are_left_alone() -> None:
    async with world() as made:
        jobs = Jobs(made)
        await jobs.add("theirs", managedBy="example.com/queue")
        await jobs.add("ours", suspend=True)
        await made.until(lambda: jobs.job("ours").status.conditions)
        assert jobs.job("theirs").status.start_time is None
        assert not jobs.job("theirs").status.conditions
