from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.jobs import NOW, SELF, job, pod
from tests.workloads.make import START
from wherry.workloads.job.backoff import Failures
from wherry.workloads.job.compile import Situation
from wherry.workloads.job.indexes import Indexes
from wherry.workloads.job.pods import FAILURES, IGNORED_FAILURES, INDEX, pod_for


def names(situation: Situation) -> tuple[int, list[str]]:
    """How many pods a plan makes, and which it deletes."""
    plan = situation.plan()
    return len(plan.create), [each.name for each in plan.delete]


def indexes(situation: Situation) -> list[int]:
    """The indexes of the pods a plan makes."""
    return [int(each["metadata"]["annotations"][INDEX]) for each in situation.plan().create]


# -- indexes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "numbers", "written"),
    [
        ("", set(), ""),
        ("1,3-5,7", {1, 3, 4, 5, 7}, "1,3-5,7"),
        ("0,1", {0, 1}, "0,1"),
        ("0-2,3", {0, 1, 2, 3}, "0-3"),
        ("2-30", set(range(2, 10)), "2-9"),
        ("12,nonsense,4-,-3,5-3,8", {8}, "8"),
    ],
)
def test_indexes_are_read_and_written(text: str, numbers: set[int], written: str) -> None:
    found = Indexes.parse(text, 10)
    assert {number for number in range(12) if number in found} == numbers
    assert (len(found), str(found)) == (len(numbers), written)
    assert [*found.missing(10)] == [number for number in range(10) if number not in numbers]


NUMBERS = st.sets(st.integers(0, 40))


@given(NUMBERS, NUMBERS)
def test_sets_of_indexes(one: set[int], other: set[int]) -> None:
    assert Indexes.parse(str(Indexes.of(one)), 50) == Indexes.of(one)
    assert Indexes.of(one) | Indexes.of(other) == Indexes.of(one | other)
    assert Indexes.of(one) & Indexes.of(other) == Indexes.of(one & other)


# -- pods ---------------------------------------------------------------------------------------------------------


def test_the_pod_of_an_index() -> None:
    container = {"name": "main", "image": "x", "env": [{"name": "A", "value": "1"}]}
    settled = {"name": "init", "image": "x", "env": [{"name": "JOB_COMPLETION_INDEX", "value": "mine"}]}
    one = job(completionMode="Indexed", completions=3, pod={"containers": [container], "initContainers": [settled]})
    made = pod_for(one, 2)
    meta, spec = made["metadata"], made["spec"]
    assert (meta["generateName"], spec["hostname"]) == ("j-2-", "j-2")
    assert (meta["labels"][INDEX], meta["annotations"][INDEX]) == ("2", "2")
    assert meta["finalizers"] == ["batch.kubernetes.io/job-tracking"]
    assert meta["ownerReferences"][0]["kind"] == "Job"
    field = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    assert spec["containers"][0]["env"] == [
        {"name": "A", "value": "1"}, {"name": "JOB_COMPLETION_INDEX", "valueFrom": field}
    ]  # fmt: skip
    assert spec["initContainers"] == [settled]
    assert "env" in container
    assert len(container["env"]) == 1
    assert len(pod_for(job("x" * 63, completionMode="Indexed"), 12345)["metadata"]["generateName"]) == 58


def test_a_replacement_remembers_failures_of_its_index() -> None:
    policy = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}
    one = job(completionMode="Indexed", completions=3, backoffLimitPerIndex=3, podFailurePolicy=policy)
    lost = pod("a", index=1, phase="Failed", annotations={FAILURES: "1"})
    evicted = pod("b", index=1, phase="Failed", annotations={FAILURES: "1"}, conditions=["DisruptionTarget"])
    assert pod_for(one, 1)["metadata"]["annotations"][FAILURES] == "0"
    assert pod_for(one, 1, lost)["metadata"]["annotations"][FAILURES] == "2"
    found = pod_for(one, 1, evicted)["metadata"]["annotations"]
    assert (found[FAILURES], found[IGNORED_FAILURES]) == ("1", "1")


# -- how many pods ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "phases", "expected"),
    [
        ({}, "", (1, [])),
        ({"completions": 5, "parallelism": 2}, "", (2, [])),
        ({"completions": 5, "parallelism": 2}, "R", (1, [])),
        ({"completions": 5, "parallelism": 2}, "RSSSS", (0, [])),
        ({"completions": 5, "parallelism": 3}, "SSSS", (1, [])),
        ({"completions": 5, "parallelism": 1}, "RR", (0, ["p0"])),
        ({"completions": 5, "parallelism": 0}, "R", (0, ["p0"])),
        ({"completions": 2, "parallelism": 2}, "RRS", (0, ["p0"])),
        # A work queue: as many as may run at once, until one succeeds.
        ({"completions": None, "parallelism": 3}, "R", (2, [])),
        ({"completions": None, "parallelism": 3}, "RRS", (0, [])),
        ({"completions": 5, "parallelism": 2, "suspend": True}, "RRS", (0, ["p0", "p1"])),
        # Pods on their way out are replaced, or waited for.
        ({"completions": 5, "parallelism": 2}, "RD", (1, [])),
        ({"completions": 5, "parallelism": 2, "podReplacementPolicy": "Failed"}, "RD", (0, [])),
    ],
)
def test_how_many_pods(spec: dict[str, Any], phases: str, expected: tuple[int, list[str]]) -> None:
    pods = [pod(f"p{at}", state=state) for at, state in enumerate(phases)]
    situation = Situation(job(**spec), pods, NOW)
    made, gone = names(situation)
    assert (made, sorted(gone)) == expected


@given(
    st.integers(0, 6), st.one_of(st.none(), st.integers(0, 6)), st.lists(st.sampled_from("RSFD"), max_size=8),
    st.booleans(),
)  # fmt: skip
def test_never_more_active_pods_than_asked_for(
    parallelism: int, completions: int | None, states: list[str], waits: bool
) -> None:
    policy = "Failed" if waits else "TerminatingOrFailed"
    pods = [pod(f"p{at}", state=state) for at, state in enumerate(states)]
    situation = Situation(
        job(parallelism=parallelism, completions=completions, podReplacementPolicy=policy), pods, NOW + 10_000
    )
    made, gone = names(situation)
    assert not (made and gone)
    active = len(situation.active) + made - len(gone)
    if completions is not None:
        assert active == min(parallelism, max(0, completions - states.count("S"))) or (waits and "D" in states)
        assert active <= min(parallelism, max(0, completions - states.count("S")))
    elif "S" not in states:
        assert active <= parallelism


def test_failed_pods_are_replaced_after_a_pause() -> None:
    def wait(phases: str, known: Failures, after: float) -> float | None:
        pods = [pod(f"p{at}", state=state) for at, state in enumerate(phases)]
        return Situation(job(completions=5, parallelism=5), pods, START + after, known).plan().wait

    assert wait("F", Failures(), 4) == 6
    assert wait("F", Failures(), 10) is None
    assert wait("FF", Failures(), 4) == 16
    assert wait("F", Failures(3, START - 50), 4) == 76
    assert wait("", Failures(99, START), 0) == 600
    # A success later than the failures ends the row.
    assert wait("FS", Failures(3, START - 50), 4) is None


def test_indexes_get_one_pod_each() -> None:
    spec = {"completionMode": "Indexed", "completions": 6, "parallelism": 4}
    status = {"completedIndexes": "0,1", "succeeded": 2}
    pods = [pod("a", state="R", index=3), pod("b", state="S", index=5)]
    assert indexes(Situation(job(status=status, **spec), pods, NOW)) == [2, 4]
    # Doubles and indexes out of range go first; the pod that runs stays.
    pods = [
        pod("young", state="P", index=1), pod("old", state="R", index=1), pod("odd", state="R"),
        pod("far", state="R", index=6), pod("fine", state="R", index=0),
    ]  # fmt: skip
    assert sorted(names(Situation(job(**spec), pods, NOW))[1]) == ["far", "odd", "young"]
    # Completions and parallelism of an elastic job move together.
    shrunk = job(**{**spec, "completions": 1, "parallelism": 1}, status=status)
    assert (shrunk.spec.completions, str(Situation(shrunk, [], NOW).succeeded_indexes)) == (1, "0")


def test_an_index_waits_for_its_own_failures_only() -> None:
    spec = {"completionMode": "Indexed", "completions": 3, "parallelism": 3, "backoffLimitPerIndex": 2,
            "backoffLimit": 2**31 - 1}  # fmt: skip
    lost = pod("lost", state="F", index=1, annotations={FAILURES: "1"})
    situation = Situation(job(**spec), [lost], START + 4)
    assert indexes(situation) == [0, 2]
    assert situation.plan().wait == 16
    assert situation.to_replace == {1: lost}
    later = Situation(job(**spec), [lost], START + 20)
    assert indexes(later) == [0, 1, 2]
    hopeless = pod("lost", state="F", index=1, annotations={FAILURES: "2"})
    ended = Situation(job(**spec), [hopeless], START + 100)
    assert (indexes(ended), str(ended.failed_indexes), ended.to_replace) == ([0, 2], "1", {})
    assert ended.verdict is None


# -- the end ------------------------------------------------------------------------------------------------------

FAIL_42 = {"rules": [
    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [7]}},
    {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [1, 2]}},
    {"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [3]}},
]}  # fmt: skip
PER_INDEX = {"completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 0, "backoffLimit": 99}


@pytest.mark.parametrize(
    ("spec", "pods", "expected"),
    [
        ({"backoffLimit": 1}, [pod("a", state="F")], None),
        ({"backoffLimit": 0}, [pod("a", state="F")],
         ("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")),
        # A deleted pod counts at once, unless its end is waited for.
        ({"backoffLimit": 0}, [pod("a", state="D")],
         ("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")),
        ({"backoffLimit": 0, "podReplacementPolicy": "Failed"}, [pod("a", state="D")], None),
        ({"backoffLimit": 3, "pod": {"restartPolicy": "OnFailure"}}, [pod("a", state="R", restarts=2)], None),
        ({"backoffLimit": 3, "pod": {"restartPolicy": "OnFailure"}},
         [pod("a", state="R", restarts=2), pod("b", state="R", restarts=1)],
         ("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")),
        ({"activeDeadlineSeconds": 90, "status": SELF}, [], None),
        ({"activeDeadlineSeconds": 60, "status": SELF}, [],
         ("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")),
        ({"activeDeadlineSeconds": 60, "status": SELF, "suspend": True}, [], None),
        ({"podFailurePolicy": FAIL_42}, [pod("a", state="F", code=42)],
         ("FailureTarget", "PodFailurePolicy",
          "Container main for pod default/a failed with exit code 42 matching FailJob rule at index 1")),
        ({"podFailurePolicy": {"rules": [{"action": "FailJob", "onPodConditions": [{"type": "ConfigIssue"}]}]}},
         [pod("a", state="F", conditions=["ConfigIssue"])],
         ("FailureTarget", "PodFailurePolicy",
          "Pod default/a has condition ConfigIssue matching FailJob rule at index 0")),
        ({"podFailurePolicy": FAIL_42, "backoffLimit": 0},
         [pod("a", state="F", code=42, conditions=["DisruptionTarget"])], None),
        ({"podFailurePolicy": FAIL_42, "backoffLimit": 0}, [pod("a", state="F", code=1)], None),
        ({"podFailurePolicy": FAIL_42, "backoffLimit": 0}, [pod("a", state="F", code=5)],
         ("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")),
        ({**PER_INDEX, "maxFailedIndexes": 0}, [pod("a", state="F", index=0)],
         ("FailureTarget", "MaxFailedIndexesExceeded",
          "Job has exceeded the specified maximal number of failed indexes")),
        (PER_INDEX, [pod("a", state="F", index=0)], None),
        (PER_INDEX, [pod("a", state="F", index=0), pod("b", state="S", index=1)],
         ("FailureTarget", "FailedIndexes", "Job has failed indexes")),
        ({**PER_INDEX, "backoffLimitPerIndex": 5, "podFailurePolicy": FAIL_42},
         [pod("a", state="F", index=0, code=7), pod("b", state="S", index=1)],
         ("FailureTarget", "FailedIndexes", "Job has failed indexes")),
        ({"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": [
            {"succeededIndexes": "1-3", "succeededCount": 2}, {"succeededIndexes": "0"}]}},
         [pod("a", state="S", index=1), pod("b", state="S", index=4)], None),
        ({"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": [
            {"succeededIndexes": "1-3", "succeededCount": 2}, {"succeededIndexes": "0"}]}},
         [pod("a", state="S", index=0)], ("SuccessCriteriaMet", "SuccessPolicy", "Matched rules at index 1")),
        ({"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": [{"succeededCount": 2}]}},
         [pod("a", state="S", index=0), pod("b", state="S", index=4)],
         ("SuccessCriteriaMet", "SuccessPolicy", "Matched rules at index 0")),
    ],
)  # fmt: skip
def test_what_ends_a_job(spec: dict[str, Any], pods: list[Any], expected: tuple[str, str, str] | None) -> None:
    found = Situation(job(**spec), pods, NOW).verdict
    assert (found and (found.type, found.reason, found.message)) == expected


def test_time_suspended_counts_for_no_deadline() -> None:
    suspended = {"conditions": [{"type": "Suspended", "status": "True"}], **SELF}
    resumed = Situation(job(activeDeadlineSeconds=60, status=suspended), [], NOW)
    assert (resumed.resumed, resumed.verdict, resumed.deadline_in) == (True, None, 60)
    waiting = Situation(job(activeDeadlineSeconds=60, suspend=True), [], NOW)
    assert (waiting.start_time, waiting.deadline_in) == (None, None)
