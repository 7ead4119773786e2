"""Pods that carry the tracking finalizer and that no unfinished job will count any more: they are let go.

A deleted job leaves such pods behind, whether the garbage collector deletes them or a user orphaned them.
"""

from __future__ import annotations

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller
from wherry.kube.errors import NotFound
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Pod
from wherry.workloads.batch import JOBS, Job
from wherry.workloads.claims import CONTROLLER_INDEX, controller_values
from wherry.workloads.job.finalizers import take_off
from wherry.workloads.job.pods import tracked


class JobOrphans(Controller):
    """Works on keys of pods."""

    name = "job-orphans"

    def __init__(self, client: Client, informers: Informers) -> None:
        super().__init__()
        self._client = client
        self._jobs = informers.informer(JOBS)
        self._pods = informers.informer(kinds.PODS)
        self._pods.add_index(CONTROLLER_INDEX, controller_values)
        self._jobs.add_handler(self._job_changed)
        self._pods.add_handler(self._pod_changed)

    async def prepare(self) -> None:
        """Wait for jobs and pods, then look at pods whose job went before."""
        await self._jobs.synced()
        await self._pods.synced()
        for pod in self._pods.list():
            self._pod_changed(None, pod)

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        if old is not None and (new is None or new.finished):
            for pod in self._pods.by_index(CONTROLLER_INDEX, old.uid):
                self._pod_changed(None, pod)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None and tracked(new) and self._jobs.has_synced and not self._counted_by(new):
            self.queue.add(new.key)

    def _counted_by(self, pod: Pod) -> bool:
        """Whether a controller will take the finalizer off, as far as the cache tells."""
        owner = pod.metadata.controller
        if owner is None:
            return False
        if (owner.api_version, owner.kind) != (JOBS.api_version, JOBS.kind):
            return True
        job = self._jobs.get(Key(pod.namespace, owner.name))
        return job is not None and job.uid == owner.uid and (job.foreign or not job.finished)

    async def reconcile(self, key: Key) -> None:
        """Take the finalizer off, once the server confirms that the job has gone or finished."""
        pod = self._pods.get(key)
        if pod is None or not tracked(pod) or self._counted_by(pod):
            return
        owner = pod.metadata.controller
        if owner is not None:
            try:
                job = await self._client.get(JOBS, owner.name, namespace=pod.namespace)
            except NotFound:
                job = None
            if job is not None and job.uid == owner.uid and not job.finished:
                return
        await take_off(self._client, pod)
