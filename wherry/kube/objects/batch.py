"""Jobs: policies and status (batch/v1).

The spec of a job is read where its template is needed, in :mod:`wherry.workloads.batch`.
"""

from __future__ import annotations

from wherry.kube.objects.base import Condition, Model, ObjectReference


class OnExitCodes(Model):
    """A requirement on the exit codes of ended containers; ``operator`` is In or NotIn."""

    operator: str = "In"
    values: tuple[int, ...] = ()
    container_name: str | None = None


class OnPodCondition(Model):
    """A pattern for a condition of a pod."""

    type: str
    status: str = "True"


class PodFailurePolicyRule(Model):
    """What to do with failed pods that match: FailJob, FailIndex, Ignore or Count."""

    action: str = "Count"
    on_exit_codes: OnExitCodes | None = None
    on_pod_conditions: tuple[OnPodCondition, ...] | None = ()


class PodFailurePolicy(Model):
    """Rules of which the first that matches a failed pod decides."""

    rules: tuple[PodFailurePolicyRule, ...] | None = ()


class SuccessPolicyRule(Model):
    """Which indexes, or how many of them, make an indexed job a success."""

    succeeded_indexes: str | None = None
    succeeded_count: int | None = None


class SuccessPolicy(Model):
    """Rules of which one is enough."""

    rules: tuple[SuccessPolicyRule, ...] | None = ()


class UncountedTerminatedPods(Model):
    """Uids of ended pods that the counters do not hold yet (KEP-2307)."""

    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class JobStatus(Model):
    """What was observed of a job; indexes are written as ``1,3-5,7``."""

    conditions: tuple[Condition, ...] = ()
    start_time: str | None = None
    completion_time: str | None = None
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    terminating: int | None = None
    completed_indexes: str = ""
    failed_indexes: str | None = None
    uncounted_terminated_pods: UncountedTerminatedPods | None = None
    ready: int | None = None


class CronJobStatus(Model):
    """What was observed of a cron job."""

    active: tuple[ObjectReference, ...] = ()
    last_schedule_time: str | None = None
    last_successful_time: str | None = None
