"""The pods of a job: how one is made for an index, and what is asked about one. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from wherry.kube.objects import ContainerStatus, Pod
from wherry.kube.times import parse_time
from wherry.workloads import templates
from wherry.workloads.batch import JOBS, Job
from wherry.workloads.job.policies import judge
from wherry.workloads.kinds import controller_reference

FINALIZER = "batch.kubernetes.io/job-tracking"
"""Keeps an ended or deleted pod until the job's status has counted it (KEP-2307)."""

INDEX = "batch.kubernetes.io/job-completion-index"
"""Annotation and label: the pod's index."""

FAILURES = "batch.kubernetes.io/job-index-failure-count"
"""Annotation: failed pods of this index before this one (KEP-3850)."""

IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
"""Annotation: failed pods of this index before this one that a policy left out of account."""

_LONGEST_PREFIX = 58
"""Characters that the server lets a generated name keep before its own five."""


def index_of(pod: Pod) -> int | None:
    """The pod's completion index; None when it has none that makes sense."""
    text = pod.metadata.annotations.get(INDEX, "")
    return int(text) if text.isascii() and text.isdecimal() else None


def tracked(pod: Pod) -> bool:
    """Whether the pod waits to be counted."""
    return FINALIZER in pod.metadata.finalizers


def terminating(pod: Pod) -> bool:
    """Whether the pod is being stopped and has not ended yet."""
    return pod.deleting and not pod.finished


def failed(job: Job, pod: Pod) -> bool:
    """Whether the pod counts as failed; a deleted one does at once, unless its end is waited for."""
    if pod.status.phase == "Failed":
        return True
    return not job.waits_for_failed and pod.deleting and pod.status.phase != "Succeeded"


def failures_before(pod: Pod) -> tuple[int, int]:
    """Failed pods of the same index before this one: those that count, and those ignored."""
    texts = [pod.metadata.annotations.get(key, "") for key in (FAILURES, IGNORED_FAILURES)]
    counted, ignored = (int(text) if text.isascii() and text.isdecimal() else 0 for text in texts)
    return counted, ignored


def finished_at(pod: Pod) -> float:
    """When the pod ended, in seconds since 1970, as well as can be told.

    The latest end of its containers; else when it stopped being ready; else when it was deleted; else its creation.
    """
    sidecars = {each.name for each in pod.spec.init_containers if each.restart_policy == "Always"}
    ends = _ends(pod.status.container_statuses)
    ends_of_sidecars = _ends(each for each in pod.status.init_container_statuses if each.name in sidecars)
    if ends and ends_of_sidecars is not None:
        return max(ends + ends_of_sidecars)
    ready = pod.status.condition("Ready")
    if ready is not None and ready.status == "False" and ready.last_transition_time:
        return parse_time(ready.last_transition_time)
    meta = pod.metadata
    if meta.deletion_timestamp is not None:
        return parse_time(meta.deletion_timestamp) - (meta.deletion_grace_period_seconds or 0)
    return parse_time(meta.creation_timestamp) if meta.creation_timestamp else 0.0


def _ends(statuses: Iterable[ContainerStatus]) -> list[float] | None:
    """When each container ended; None when one has not."""
    ends = []
    for each in statuses:
        ended = each.state.terminated
        if ended is None or not ended.finished_at:
            return None
        ends.append(parse_time(ended.finished_at))
    return ends


def pod_for(job: Job, index: int | None = None, replaces: Pod | None = None) -> dict[str, Any]:
    """A pod of a job; for an indexed one with its index and the failed pod of that index that it replaces."""
    template = copy.deepcopy(job.spec.template)
    prefix = templates.name_prefix(job.name)
    if index is not None:
        prefix = _prefix(job.name, index)
        _give_index(template, job, index)
    if index is not None and job.per_index:
        template["metadata"]["annotations"].update(_failure_counts(job, replaces))
    meta = template["metadata"] = template.get("metadata") or {}
    meta["finalizers"] = [*(each for each in meta.get("finalizers") or () if each != FINALIZER), FINALIZER]
    owner = controller_reference(JOBS, job)
    return templates.pod_of(template, owner=owner, namespace=job.namespace, prefix=prefix)


def _prefix(name: str, index: int) -> str:
    suffix = f"-{index}-"
    return name[: _LONGEST_PREFIX - len(suffix)] + suffix


def _give_index(template: dict[str, Any], job: Job, index: int) -> None:
    meta = template["metadata"] = template.get("metadata") or {}
    for kind in ("annotations", "labels"):
        meta[kind] = {**(meta.get(kind) or {}), INDEX: str(index)}
    spec = template["spec"] = template.get("spec") or {}
    spec["hostname"] = f"{job.name}-{index}"
    variable = {
        "name": "JOB_COMPLETION_INDEX",
        "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}},
    }
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        env = container.get("env") or []
        if all(each.get("name") != variable["name"] for each in env):
            container["env"] = [*env, variable]


def _failure_counts(job: Job, replaces: Pod | None) -> dict[str, str]:
    counted = ignored = 0
    if replaces is not None:
        counted, ignored = failures_before(replaces)
        if judge(job.spec.pod_failure_policy, replaces).counts:
            counted += 1
        else:
            ignored += 1
    return {FAILURES: str(counted), **({IGNORED_FAILURES: str(ignored)} if ignored else {})}
