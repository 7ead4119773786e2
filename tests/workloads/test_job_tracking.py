"""No pod is counted twice and none is lost, wherever the controller is cut off."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.jobs import NOW, SELF, job, pod
from wherry.kube.objects import Pod
from wherry.kube.objects.batch import JobStatus, UncountedTerminatedPods
from wherry.workloads.batch import Job
from wherry.workloads.job import conditions as c
from wherry.workloads.job import tracking
from wherry.workloads.job.compile import Situation
from wherry.workloads.job.pods import FAILURES, tracked

FAILED = c.condition("FailureTarget", c.BACKOFF_EXCEEDED, NOW)
MET = c.condition("SuccessCriteriaMet", c.COMPLETED, NOW)


def counted(one: Job, pods: list[Pod], verdict: Any = None) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """Uids entered as succeeded and as failed, and names of pods to let go."""
    found = tracking.count(Situation(one, pods, NOW), one.status, verdict)
    uncounted = found.status.uncounted_terminated_pods
    assert uncounted is not None
    return uncounted.succeeded, uncounted.failed, [each.name for each in found.free]


def test_ended_pods_are_entered_before_they_are_let_go() -> None:
    pods = [pod("a", state="S"), pod("b", state="F"), pod("c", state="R"), pod("d", state="D")]
    assert counted(job(completions=9), pods) == (("uid-a",), ("uid-b", "uid-d"), ["a", "b", "d"])
    assert counted(job(completions=9, podReplacementPolicy="Failed"), pods) == (("uid-a",), ("uid-b",), ["a", "b"])


def test_what_still_runs_when_a_job_fails_counts_as_failed() -> None:
    pods = [pod("a", state="S"), pod("c", state="R")]
    assert counted(job(completions=9), pods, FAILED) == (("uid-a",), ("uid-c",), ["a", "c"])
    assert counted(job(completions=9), pods, MET) == (("uid-a",), (), ["a", "c"])


def test_ignored_failures_are_let_go_without_being_counted() -> None:
    policy = {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}}]}
    assert counted(job(podFailurePolicy=policy), [pod("b", state="F")]) == ((), (), ["b"])


def test_the_last_failed_pod_of_an_index_stays_until_it_is_replaced() -> None:
    one = job(completionMode="Indexed", completions=3, backoffLimitPerIndex=5)
    lost, new = pod("lost", state="F", index=1), pod("new", state="R", index=1, annotations={FAILURES: "1"})
    assert counted(one, [lost]) == ((), (), [])
    assert counted(one, [lost, new]) == ((), ("uid-lost",), ["lost"])
    assert counted(one, [lost], FAILED) == ((), ("uid-lost",), ["lost"])


def test_indexes_are_written_as_ranges() -> None:
    one = job(completionMode="Indexed", completions=6, status={"completedIndexes": "0", "succeeded": 1})
    pods = [pod("x", state="S", index=2), pod("y", state="S", index=1), pod("z", state="S", index=9)]
    found = tracking.count(Situation(one, pods, NOW), one.status, None)
    assert (found.status.completed_indexes, found.status.succeeded) == ("0-2", 3)
    assert found.status.failed_indexes is None
    assert found.status.uncounted_terminated_pods == UncountedTerminatedPods()


def test_one_status_holds_only_so_many_uids() -> None:
    one = job(completions=2000)
    pods = [pod(f"p{at}", state="S") for at in range(tracking.MOST_UNCOUNTED + 7)]
    found = tracking.count(Situation(one, pods, NOW), one.status, None)
    assert (len(found.free), found.partly) == (tracking.MOST_UNCOUNTED, True)


@pytest.mark.parametrize(
    ("verdict", "type_", "status", "finished"),
    [
        (MET, "Complete", {}, True),
        (FAILED, "Failed", {}, True),
        (MET, "Complete", {"terminating": 1}, False),
        (FAILED, "Failed", {"active": 1}, False),
        (MET, "Complete", {"uncountedTerminatedPods": {"succeeded": ["x"]}}, False),
    ],
)
def test_a_job_ends_when_nothing_is_left(verdict: Any, type_: str, status: dict[str, Any], finished: bool) -> None:
    ended = tracking.finish(job(status={**SELF, **status}).status, verdict, NOW)
    assert (ended is not None) == finished
    if ended is not None:
        [last] = ended.conditions
        assert (last.type, last.reason, last.message) == (type_, verdict.reason, verdict.message)
        assert ended.completion_time == (last.last_transition_time if type_ == "Complete" else None)


class Server:
    """A job and its pods as a server holds them, and a controller that may die after any write."""

    def __init__(self, ends: str, *, indexed: bool) -> None:
        mode = {"completionMode": "Indexed"} if indexed else {}
        self.job = job(completions=len(ends) + 1, parallelism=0, backoffLimit=99, **mode)
        self.pods = {
            each.uid: each
            for each in (pod(f"p{at}", state=end, index=at if indexed else None) for at, end in enumerate(ends))
        }

    def write(self, status: JobStatus) -> None:
        self.job = msgspec.structs.replace(self.job, status=status)

    def let_go(self, one: Pod, *, vanish: bool) -> None:
        if vanish:
            del self.pods[one.uid]
        else:
            metadata = msgspec.structs.replace(one.metadata, finalizers=())
            self.pods[one.uid] = msgspec.structs.replace(one, metadata=metadata)

    def round(self, steps: int, vanish: bool) -> int:
        """One reconcile that dies after so many writes; how many it had left."""
        situation = Situation(self.job, [*self.pods.values()], NOW)
        counting = tracking.count(situation, self.job.status, None)
        if steps < 1:
            return 0
        self.write(counting.status)
        steps -= 1
        for one in counting.free:
            if steps < 1:
                return 0
            self.let_go(one, vanish=vanish)
            steps -= 1
        if steps < 1:
            return 0
        self.write(tracking.settle(counting.status, {uid for uid, one in self.pods.items() if tracked(one)}))
        return steps


@given(st.text("SF", max_size=6), st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=8), st.booleans())
def test_pods_are_counted_once_wherever_the_controller_dies(
    ends: str, lives: list[tuple[int, bool]], indexed: bool
) -> None:
    server = Server(ends, indexed=indexed)
    for steps, vanish in lives:
        server.round(steps, vanish)
        status = server.job.status
        assert status.succeeded <= ends.count("S")
        assert status.failed <= ends.count("F")
    server.round(99, vanish=True)
    server.round(99, vanish=True)
    status = server.job.status
    assert (status.succeeded, status.failed) == (ends.count("S"), ends.count("F"))
    assert status.uncounted_terminated_pods == UncountedTerminatedPods()
