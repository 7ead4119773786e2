"""A job and its pods in; which pods to make and delete, and whether the job is to end, out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from wherry.kube.objects import Condition, Pod
from wherry.kube.times import format_time, parse_time
from wherry.workloads import podstate
from wherry.workloads.batch import Job
from wherry.workloads.job import conditions as c
from wherry.workloads.job.backoff import NO_FAILURES, Failures, wait_for_index
from wherry.workloads.job.indexes import Indexes
from wherry.workloads.job.pods import failed, failures_before, finished_at, index_of, pod_for, terminating, tracked
from wherry.workloads.job.policies import judge, rule_met
from wherry.workloads.podcontrol import BURST


@dataclass(frozen=True, slots=True)
class Plan:
    """Pods to delete or pods to make, never both; ``wait`` is how many seconds to leave failed pods unreplaced."""

    delete: tuple[Pod, ...] = ()
    create: tuple[dict[str, Any], ...] = ()
    wait: float | None = None


@dataclass(frozen=True)
class Situation:
    """A job, its pods and the time (seconds since 1970); ``failures`` are those known before these pods ended."""

    job: Job
    pods: Sequence[Pod]
    now: float
    failures: Failures = NO_FAILURES

    # -- counts --------------------------------------------------------------------------------------------------

    @cached_property
    def active(self) -> list[Pod]:
        """Pods that neither ended nor are being deleted."""
        return [pod for pod in self.pods if podstate.is_active(pod)]

    @cached_property
    def terminating(self) -> int:
        """How many pods are being stopped."""
        return sum(terminating(pod) for pod in self.pods)

    @cached_property
    def new_succeeded(self) -> list[Pod]:
        """Succeeded pods that the status does not know."""
        return [pod for pod in self._uncounted("succeeded") if pod.status.phase == "Succeeded"]

    @cached_property
    def new_failed(self) -> list[Pod]:
        """Failed pods that the status does not know, also those that a policy ignores."""
        return [pod for pod in self._uncounted("failed") if failed(self.job, pod)]

    @cached_property
    def succeeded(self) -> int:
        """How many pods, or indexes, have succeeded."""
        if self.job.indexed:
            return len(self.succeeded_indexes)
        return self.job.status.succeeded + len(self._known("succeeded")) + len(self.new_succeeded)

    @cached_property
    def failed(self) -> int:
        """How many pods have failed in a way that counts."""
        policy = self.job.spec.pod_failure_policy
        new = sum(judge(policy, pod).counts for pod in self.new_failed)
        return self.job.status.failed + len(self._known("failed")) + new

    @cached_property
    def failures_now(self) -> Failures:
        """The failures that the pods which ended meanwhile add up to."""
        return self.failures.and_then(self.new_succeeded, self.new_failed)

    def _known(self, which: str) -> tuple[str, ...]:
        uncounted = self.job.status.uncounted_terminated_pods
        return getattr(uncounted, which) if uncounted is not None else ()

    def _uncounted(self, which: str) -> Iterable[Pod]:
        known = self._known(which)
        return (pod for pod in self.pods if tracked(pod) and pod.uid not in known and self.valid(pod))

    # -- indexes -------------------------------------------------------------------------------------------------

    @property
    def completions(self) -> int:
        """How many indexes an indexed job has."""
        return self.job.spec.completions or 0

    def valid(self, pod: Pod) -> bool:
        """Whether the pod has the index it needs, if it needs one."""
        index = index_of(pod)
        return not self.job.indexed or (index is not None and index < self.completions)

    @cached_property
    def succeeded_indexes(self) -> Indexes:
        """Indexes that have succeeded, as the status and the pods have it."""
        there = Indexes.parse(self.job.status.completed_indexes, self.completions)
        return there | self._indexes(pod for pod in self.pods if tracked(pod) and pod.status.phase == "Succeeded")

    @cached_property
    def failed_indexes(self) -> Indexes:
        """Indexes that have failed for good, where failures are counted for each alone."""
        there = Indexes.parse(self.job.status.failed_indexes or "", self.completions)
        return there | self._indexes(pod for pod in self.pods if tracked(pod) and self._ends_index(pod))

    def _indexes(self, pods: Iterable[Pod]) -> Indexes:
        return Indexes.of(index for pod in pods if self.valid(pod) and (index := index_of(pod)) is not None)

    def _ends_index(self, pod: Pod) -> bool:
        limit = self.job.spec.backoff_limit_per_index
        if limit is None or not failed(self.job, pod):
            return False
        verdict = judge(self.job.spec.pod_failure_policy, pod)
        return verdict.action == "FailIndex" or (verdict.counts and failures_before(pod)[0] >= limit)

    @cached_property
    def to_replace(self) -> dict[int, Pod]:
        """The last failed pod of each index that gets another one; kept until then, as it holds the failures."""
        latest: dict[int, Pod] = {}
        if not self.job.per_index:
            return latest
        settled = self.succeeded_indexes | self.failed_indexes | self._indexes(self.active)
        for pod in self.pods:
            index = index_of(pod)
            if index is None or index in settled or not (tracked(pod) and self.valid(pod) and failed(self.job, pod)):
                continue
            before = latest.get(index)
            if before is None or _order_of_failure(pod) >= _order_of_failure(before):
                latest[index] = pod
        return latest

    # -- the end -------------------------------------------------------------------------------------------------

    @cached_property
    def resumed(self) -> bool:
        """Whether the job was suspended and is not any more."""
        return not self.job.spec.suspend and c.find(self.job.status.conditions, "Suspended") is not None

    @cached_property
    def start_time(self) -> str | None:
        """When the job started; a resumed job starts anew, so that time spent suspended counts for no deadline."""
        known = self.job.status.start_time
        if self.job.spec.suspend or (known is not None and not self.resumed):
            return known
        return format_time(self.now)

    @cached_property
    def deadline_in(self) -> float | None:
        """Seconds until the job has been active for too long."""
        limit = self.job.spec.active_deadline_seconds
        if limit is None or self.start_time is None or self.job.spec.suspend:
            return None
        return parse_time(self.start_time) + limit - self.now

    @cached_property
    def verdict(self) -> Condition | None:
        """Why the job is to end whatever its active pods do: an interim condition, new or found in the status."""
        found = self.job.status.conditions
        known = c.find(found, "SuccessCriteriaMet") or c.find(found, "FailureTarget")
        if known is not None:
            return known
        why = self._failure()
        if why is not None:
            return c.condition("FailureTarget", why, self.now)
        rule = rule_met(self.job.spec.success_policy, self.completions, self.succeeded_indexes)
        if self.job.indexed and rule is not None:
            why = "SuccessPolicy", f"Matched rules at index {rule}"
            return c.condition("SuccessCriteriaMet", why, self.now)
        return None

    def _failure(self) -> tuple[str, str] | None:
        spec = self.job.spec
        for pod in self.pods:
            verdict = judge(spec.pod_failure_policy, pod) if failed(self.job, pod) else None
            if verdict is not None and verdict.action == "FailJob":
                return "PodFailurePolicy", verdict.message
        if self.failed > spec.backoff_limit or self._restarted_too_often():
            return c.BACKOFF_EXCEEDED
        if self.deadline_in is not None and self.deadline_in <= 0:
            return c.DEADLINE_EXCEEDED
        if self.job.indexed and self.job.per_index:
            count = len(self.failed_indexes)
            if spec.max_failed_indexes is not None and count > spec.max_failed_indexes:
                return c.TOO_MANY_FAILED_INDEXES
            if count and count + len(self.succeeded_indexes) >= self.completions:
                return c.FAILED_INDEXES
        return None

    def _restarted_too_often(self) -> bool:
        """Containers restarted in place count like failed pods, while their pods live."""
        spec = self.job.spec
        if (spec.template.get("spec") or {}).get("restartPolicy") != "OnFailure":
            return False
        living = [pod.status for pod in self.pods if pod.status.phase in ("Running", "Pending")]
        count = sum(
            each.restart_count
            for status in living
            for each in (*status.init_container_statuses, *status.container_statuses)
        )
        return count > 0 if spec.backoff_limit == 0 else count >= spec.backoff_limit

    def complete(self, active: int) -> bool:
        """Whether enough has succeeded and, of pods that stay, no more than ``active`` = 0 are left."""
        wanted = self.job.spec.completions
        enough = self.succeeded > 0 if wanted is None else self.succeeded >= wanted
        return enough and active == 0

    # -- pods ----------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """What brings the number of active pods to what the job asks for now."""
        spec = self.job.spec
        if spec.suspend:
            return Plan(delete=tuple(self.active))
        if spec.completions is not None:
            wanted = max(0, min(spec.completions - self.succeeded, spec.parallelism))
        else:
            # A work queue: one success says that the work is done, and the pods at work may finish it.
            wanted = len(self.active) if self.succeeded else spec.parallelism
        surplus = self._surplus(max(0, len(self.active) - wanted))
        if surplus:
            return Plan(delete=tuple(surplus[:BURST]))
        leaving = self.terminating if self.job.waits_for_failed else 0
        missing = min(wanted - leaving - len(self.active), BURST)
        if missing <= 0:
            return Plan()
        if not self.job.per_index and (wait := self.failures_now.wait(self.now)):
            return Plan(wait=wait)
        return self._creations(missing)

    def _creations(self, missing: int) -> Plan:
        if not self.job.indexed:
            return Plan(create=tuple(pod_for(self.job) for _ in range(missing)))
        taken = self.succeeded_indexes | self.failed_indexes | self._indexes(self.active)
        if self.job.waits_for_failed:
            taken |= self._indexes(pod for pod in self.pods if terminating(pod))
        pending = [index for _, index in zip(range(missing), taken.missing(self.completions), strict=False)]
        waits = {index: wait_for_index(self.to_replace.get(index), self.now) for index in pending}
        due = [index for index in pending if not waits[index]]
        create = tuple(pod_for(self.job, index, self.to_replace.get(index)) for index in due)
        return Plan(create=create, wait=min((wait for wait in waits.values() if wait), default=None))

    def _surplus(self, at_least: int) -> list[Pod]:
        """Active pods to delete: of an indexed job those without a proper index and doubles, then as many as needed."""
        order = podstate.deletion_order(self.now, {})
        ranked = sorted(self.active, key=order)
        if not self.job.indexed:
            return ranked[:at_least]
        kept: dict[int, Pod] = {}
        for pod in ranked:
            index = index_of(pod)
            if index is not None and index < self.completions:
                kept[index] = pod
        stay = {pod.uid for pod in kept.values()}
        wrong = [pod for pod in ranked if pod.uid not in stay]
        return wrong + [pod for pod in ranked if pod.uid in stay][: max(0, at_least - len(wrong))]


def _order_of_failure(pod: Pod) -> tuple[int, float]:
    return sum(failures_before(pod)), finished_at(pod)
