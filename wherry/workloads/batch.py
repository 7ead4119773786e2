"""Jobs and cron jobs as the controllers here read them; templates stay plain data, as in ``kinds.py``."""

from __future__ import annotations

from typing import Any

import msgspec

from wherry.kube import objects as o
from wherry.kube.kinds import Kind
from wherry.kube.objects.batch import CronJobStatus, JobStatus, PodFailurePolicy, SuccessPolicy
from wherry.workloads.kinds import Template

JOB_CONTROLLER = "kubernetes.io/job-controller"
"""The value of ``spec.managedBy`` that means the controller here; absent means the same."""


class JobSpec(o.Model):
    """What a job wants; times in seconds."""

    parallelism: int = 1
    completions: int | None = None
    active_deadline_seconds: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    backoff_limit: int = 6
    backoff_limit_per_index: int | None = None
    max_failed_indexes: int | None = None
    selector: o.LabelSelector | None = None
    template: Template = msgspec.field(default_factory=dict)
    ttl_seconds_after_finished: int | None = None
    completion_mode: str = "NonIndexed"
    suspend: bool = False
    pod_replacement_policy: str | None = None
    managed_by: str | None = None


class Job(o.KubeObject):
    """A job."""

    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()

    @property
    def indexed(self) -> bool:
        """Whether each of its pods has an index."""
        return self.spec.completion_mode == "Indexed"

    @property
    def per_index(self) -> bool:
        """Whether failures are counted for each index alone."""
        return self.spec.backoff_limit_per_index is not None

    @property
    def waits_for_failed(self) -> bool:
        """Whether a pod is replaced only once it has failed, not already while it terminates (KEP-3939)."""
        return self.spec.pod_replacement_policy == "Failed" or self.spec.pod_failure_policy is not None

    @property
    def foreign(self) -> bool:
        """Whether another controller manages it (KEP-4368)."""
        return self.spec.managed_by is not None and self.spec.managed_by != JOB_CONTROLLER

    @property
    def finished(self) -> o.Condition | None:
        """Its condition Complete or Failed, once it is true."""
        return next(
            (c for c in self.status.conditions if c.type in ("Complete", "Failed") and c.status == "True"), None
        )


class JobTemplate(o.Model):
    """The job that a cron job makes; its spec is plain data."""

    metadata: o.ObjectMeta = o.ObjectMeta()
    spec: dict[str, Any] = msgspec.field(default_factory=dict)


class CronJobSpec(o.Model):
    """What a cron job wants; ``concurrency_policy`` is Allow, Forbid or Replace."""

    schedule: str = ""
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = "Allow"
    suspend: bool = False
    job_template: JobTemplate = JobTemplate()
    successful_jobs_history_limit: int | None = 3
    failed_jobs_history_limit: int | None = 1


class CronJob(o.KubeObject):
    """A cron job."""

    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()


JOBS = Kind("batch", "v1", "Job", "jobs", True, Job)
CRON_JOBS = Kind("batch", "v1", "CronJob", "cronjobs", True, CronJob)
