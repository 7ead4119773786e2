"""Jobs in a world of a real API server, with pods that end as the test says."""

from __future__ import annotations

from typing import Any

from tests.workloads.make import STAMP
from tests.workloads.world import World, world
from wherry.kube import kinds
from wherry.kube.errors import NotFound
from wherry.kube.keys import Key
from wherry.kube.objects import Pod
from wherry.workloads.batch import JOBS, Job
from wherry.workloads.job.pods import FINALIZER, INDEX


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
