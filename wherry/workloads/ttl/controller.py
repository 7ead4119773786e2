"""The controller of ``spec.ttlSecondsAfterFinished``."""

from __future__ import annotations

import time
from collections.abc import Callable

from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.errors import Conflict, NotFound
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.times import parse_time
from wherry.workloads.batch import JOBS, Job


def expires_at(job: Job) -> float | None:
    """When a job is to be deleted, in seconds since 1970; None as long as that is not known."""
    finished, ttl = job.finished, job.spec.ttl_seconds_after_finished
    if finished is None or ttl is None or job.deleting or not finished.last_transition_time:
        return None
    return parse_time(finished.last_transition_time) + ttl


class TtlAfterFinishedController(Controller):
    """Deletes finished jobs with their pods when they are over, on what the server says and not the cache."""

    name = "ttl-after-finished"

    def __init__(self, client: Client, informers: Informers, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._client = client
        self._clock = clock
        self._jobs = informers.informer(JOBS)
        self._jobs.add_handler(self._job_changed)

    async def prepare(self) -> None:
        """Wait for jobs."""
        await self._jobs.synced()

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        if new is not None and expires_at(new) is not None:
            self.queue.add(new.key)

    async def reconcile(self, key: Key) -> Result | None:
        """Delete the job, or come back when its time is over."""
        cached = self._jobs.get(key)
        if cached is None:
            return None
        wait = self._wait(cached)
        if wait is None or wait > 0:
            return Result(requeue_after=wait) if wait is not None else None
        try:
            job = await self._client.get(JOBS, key.name, namespace=key.namespace)
            wait = self._wait(job)
            if wait is None or wait > 0:
                return Result(requeue_after=wait) if wait is not None else None
            await self._client.delete(JOBS, job.name, namespace=job.namespace, propagation="Foreground", uid=job.uid)
        except (NotFound, Conflict):
            # Gone, or another job has its name by now.
            return None
        return None

    def _wait(self, job: Job) -> float | None:
        expiry = expires_at(job)
        return max(0.0, expiry - self._clock()) if expiry is not None else None
