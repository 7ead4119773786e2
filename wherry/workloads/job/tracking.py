"""Counting ended pods exactly once, whatever dies in between (KEP-2307). Pure.

Each pod carries a finalizer. Its end goes through four steps, each repeatable: its uid is written into the status as
uncounted; the finalizer is taken off; the counter grows and the uid leaves, in one write; the pod may vanish. An index
needs no uid: that it succeeded is a fact that can be written twice.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from wherry.kube.objects import Condition, Pod
from wherry.kube.objects.batch import JobStatus, UncountedTerminatedPods
from wherry.workloads.job import conditions as c
from wherry.workloads.job.compile import Situation
from wherry.workloads.job.pods import failed, index_of, tracked
from wherry.workloads.job.policies import judge

MOST_UNCOUNTED = 500
"""Uids that one status may hold: 20 KB. The other pods follow in the next round."""


@dataclass(frozen=True, slots=True)
class Counting:
    """A status to write before the finalizers of ``free`` are taken off; ``partly`` when more pods wait."""

    status: JobStatus
    free: tuple[Pod, ...] = ()
    partly: bool = False


def count(situation: Situation, status: JobStatus, verdict: Condition | None) -> Counting:
    """Enter ended pods, and all pods of a job that ends, into a status.

    ``verdict`` is the interim condition of a job that is to end: pods still running then count as failed, unless the
    job is a success.
    """
    job = situation.job
    status = settle(status, {pod.uid for pod in situation.pods if tracked(pod)})
    if job.indexed:
        status = msgspec.structs.replace(
            status,
            succeeded=len(situation.succeeded_indexes),
            completed_indexes=str(situation.succeeded_indexes),
            failed_indexes=str(situation.failed_indexes) if job.per_index else None,
        )
    if verdict is not None:
        status = msgspec.structs.replace(status, conditions=c.with_condition(status.conditions, verdict))
    uncounted = status.uncounted_terminated_pods or UncountedTerminatedPods()
    succeeded, lost = [*uncounted.succeeded], [*uncounted.failed]
    free: list[Pod] = []
    partly = False
    for pod in sorted(situation.pods, key=lambda pod: index_of(pod) or 0):
        if not tracked(pod) or not _may_go(situation, pod, verdict):
            continue
        if len(free) >= MOST_UNCOUNTED:
            partly = True
            break
        free.append(pod)
        if pod.uid in succeeded or pod.uid in lost or not situation.valid(pod):
            continue
        if pod.status.phase == "Succeeded":
            if not job.indexed:
                succeeded.append(pod.uid)
        elif _counts_as_failed(situation, pod, verdict):
            lost.append(pod.uid)
    uncounted = UncountedTerminatedPods(succeeded=tuple(succeeded), failed=tuple(lost))
    return Counting(msgspec.structs.replace(status, uncounted_terminated_pods=uncounted), tuple(free), partly)


def settle(status: JobStatus, still_tracked: Collection[str]) -> JobStatus:
    """A status whose counters hold the uncounted pods that have lost their finalizer."""
    uncounted = status.uncounted_terminated_pods or UncountedTerminatedPods()
    succeeded = tuple(uid for uid in uncounted.succeeded if uid in still_tracked)
    lost = tuple(uid for uid in uncounted.failed if uid in still_tracked)
    return msgspec.structs.replace(
        status,
        succeeded=status.succeeded + len(uncounted.succeeded) - len(succeeded),
        failed=status.failed + len(uncounted.failed) - len(lost),
        uncounted_terminated_pods=UncountedTerminatedPods(succeeded=succeeded, failed=lost),
    )


def finish(status: JobStatus, verdict: Condition, now: float) -> JobStatus | None:
    """The status of a finished job; None while pods of it are uncounted or still being stopped."""
    uncounted = status.uncounted_terminated_pods or UncountedTerminatedPods()
    if uncounted.succeeded or uncounted.failed or status.terminating or status.active:
        return None
    last = c.final(verdict, now)
    return msgspec.structs.replace(
        status,
        conditions=c.with_condition(status.conditions, last),
        completion_time=last.last_transition_time if last.type == "Complete" else status.completion_time,
    )


def _may_go(situation: Situation, pod: Pod, verdict: Condition | None) -> bool:
    """Whether a pod's finalizer may be taken off once the status knows the pod."""
    if situation.job.deleting or verdict is not None or pod.status.phase == "Succeeded":
        return True
    if not failed(situation.job, pod):
        return False
    index = index_of(pod)
    waiting = situation.to_replace.get(index) if index is not None else None
    return waiting is None or waiting.uid != pod.uid


def _counts_as_failed(situation: Situation, pod: Pod, verdict: Condition | None) -> bool:
    cut_off = verdict is not None and verdict.type == "FailureTarget"
    if not cut_off and not failed(situation.job, pod):
        return False
    return judge(situation.job.spec.pod_failure_policy, pod).counts
