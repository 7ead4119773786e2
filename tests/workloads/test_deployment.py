from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.make import STAMP, START, deployment, pod, replica_set
from wherry.kube.times import format_time
from wherry.workloads.deployment import compile, revisions, rolling
from wherry.workloads.kinds import Deployment, ReplicaSet

NOW = START + 100
RECREATE = {"type": "Recreate"}


def roll(surge: int | str, unavailable: int | str) -> dict[str, Any]:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def sizes(plan: compile.Plan) -> dict[str, int]:
    return {each.replica_set.name: each.replicas for each in plan.changes if each.replicas is not None}


def condition(plan: compile.Plan, type_: str) -> tuple[str, str, str]:
    found = next(each for each in plan.status["conditions"] if each["type"] == type_)
    return found["status"], found["reason"], found["message"]


def sized(name: str, replicas: int, *, wanted: int = 3, **more: Any) -> ReplicaSet:
    notes = {"deployment.kubernetes.io/desired-replicas": str(wanted), "deployment.kubernetes.io/max-replicas": "4"}
    return replica_set(name, replicas=replicas, annotations=notes, **more)


@pytest.mark.parametrize(
    ("value", "total", "up", "result"),
    [("25%", 10, True, 3), ("25%", 10, False, 2), (2, 10, True, 2), ("100%", 3, False, 3), (None, 9, True, 0),
     ("0%", 9, True, 0), ("nonsense", 9, True, 0)],
)  # fmt: skip
def test_counts_and_percentages(value: int | str | None, total: int, up: bool, result: int) -> None:
    assert rolling.resolve(value, total, up=up) == result


def test_limits_never_both_come_to_nothing() -> None:
    assert rolling.limits(deployment(replicas=1, strategy=roll("0%", "10%"))) == (0, 1)
    assert rolling.limits(deployment(replicas=4)) == (1, 1)
    assert rolling.limits(deployment(replicas=2, strategy=roll(0, 5))) == (0, 2)
    assert rolling.limits(deployment(strategy=RECREATE)) == (0, 0)


def test_a_new_deployment_makes_its_replica_set() -> None:
    web = deployment(annotations={"note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"})
    plan = compile.plan(web, [], {}, NOW)
    assert plan.create is not None
    meta, spec = plan.create["metadata"], plan.create["spec"]
    digest = meta["labels"]["pod-template-hash"]
    assert meta["name"] == f"web-{digest}"
    assert spec["selector"] == {"matchLabels": {"app": "web", "pod-template-hash": digest}}
    assert spec["template"]["metadata"]["labels"] == {"app": "web", "pod-template-hash": digest}
    assert spec["replicas"] == 3
    assert meta["annotations"] == {
        "note": "x",
        "deployment.kubernetes.io/revision": "1",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    assert plan.revision == 1
    assert condition(plan, "Progressing") == (
        "True",
        "NewReplicaSetCreated",
        f'Created new replica set "{meta["name"]}"',
    )
    assert condition(plan, "Available")[1] == "MinimumReplicasUnavailable"
    assert web.spec.template["metadata"]["labels"] == {"app": "web"}


def test_a_rollout_starts_with_what_surge_allows() -> None:
    plan = compile.plan(deployment(image="app:2"), [sized("old", 3, revision=1)], {}, NOW)
    assert plan.create is not None
    assert plan.create["spec"]["replicas"] == 1
    assert plan.create["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


def test_old_pods_go_as_new_ones_become_available() -> None:
    old = sized("old", 3, revision=1)
    waiting = compile.plan(
        deployment(image="app:2"), [old, sized("new", 1, image="app:2", available=0, revision=2)], {}, NOW
    )
    assert sizes(waiting) == {}
    ready = compile.plan(deployment(image="app:2"), [old, sized("new", 1, image="app:2", revision=2)], {}, NOW)
    assert sizes(ready) == {"old": 2}


def test_pods_that_serve_nobody_go_first() -> None:
    sick = sized("sick", 2, available=0, image="app:0", created="2023-11-14T22:13:25Z")
    fine = sized("fine", 2, image="app:1")
    new = sized("new", 2, image="app:2", available=0)
    assert rolling.scale_down_old(deployment(replicas=4, image="app:2"), new, [fine, sick]) == {"sick": 1}


def test_rolling_back_renumbers_the_old_replica_set() -> None:
    first = sized("first", 0, revision=1, image="app:1")
    second = sized("second", 3, revision=2, image="app:2")
    plan = compile.plan(deployment(image="app:1"), [first, second], {}, NOW)
    patches = {each.replica_set.name: each.patch for each in plan.changes}
    assert patches["first"]["metadata"]["annotations"] == {
        "deployment.kubernetes.io/revision": "3",
        "deployment.kubernetes.io/revision-history": "1",
    }
    assert (sizes(plan), plan.revision, plan.create) == ({"first": 1}, 3, None)


def test_recreate_waits_for_the_last_old_pod() -> None:
    web = deployment(image="app:2", strategy=RECREATE)
    old = sized("old", 3)
    assert sizes(compile.plan(web, [old], {}, NOW)) == {"old": 0}
    down = sized("old", 0)
    leaving = {down.uid: [pod("p", ready=True, deleting=True)]}
    held = compile.plan(web, [down], leaving, NOW)
    assert (held.create, sizes(held)) == (None, {})
    ended = {down.uid: [pod("p", phase="Succeeded")]}
    plan = compile.plan(web, [down], ended, NOW)
    assert plan.create is not None
    assert plan.create["spec"]["replicas"] == 3


def test_scaling_in_the_middle_of_a_rollout_is_shared() -> None:
    old, new = sized("old", 3, image="app:1"), sized("new", 1, image="app:2")
    plan = compile.plan(deployment(replicas=9, image="app:2"), [old, new], {}, NOW)
    assert sizes(plan) == {"old": 9, "new": 3}
    notes = {each.replica_set.name: each.patch["metadata"]["annotations"] for each in plan.changes}
    assert notes["old"]["deployment.kubernetes.io/max-replicas"] == "12"
    down = compile.plan(deployment(replicas=0, image="app:2"), [old, new], {}, NOW)
    assert sizes(down) == {"old": 0, "new": 0}


def test_scaling_to_and_from_nothing() -> None:
    assert sizes(compile.plan(deployment(replicas=0), [sized("web-1", 3)], {}, NOW)) == {"web-1": 0}
    assert sizes(compile.plan(deployment(replicas=5), [sized("web-1", 0)], {}, NOW)) == {"web-1": 5}


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    plan = compile.plan(deployment(replicas=5, image="app:2", paused=True), [sized("old", 3)], {}, NOW)
    assert (plan.create, sizes(plan)) == (None, {"old": 5})
    assert condition(plan, "Progressing") == ("Unknown", "DeploymentPaused", "Deployment is paused")
    status = {"conditions": [{"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused", "message": ""}]}
    resumed = compile.plan(deployment(status=status), [sized("web-1", 3, available=1)], {}, NOW)
    assert condition(resumed, "Progressing")[1] in ("DeploymentResumed", "ReplicaSetUpdated")


def finished(**more: Any) -> tuple[Deployment, ReplicaSet]:
    return deployment(**more), sized("new", 3, revision=9)


def test_a_complete_rollout() -> None:
    plan = compile.plan(finished()[0], [finished()[1]], {}, NOW)
    assert condition(plan, "Progressing") == (
        "True", "NewReplicaSetAvailable", 'ReplicaSet "new" has successfully progressed.'
    )  # fmt: skip
    assert condition(plan, "Available") == (
        "True", "MinimumReplicasAvailable", "Deployment has minimum availability."
    )  # fmt: skip
    assert {key: value for key, value in plan.status.items() if key != "conditions"} == {
        "observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
        "unavailableReplicas": None, "terminatingReplicas": None, "collisionCount": None,
    }  # fmt: skip
    assert plan.again_in is None


def test_only_the_latest_old_replica_sets_are_kept() -> None:
    web, new = finished(revisionHistoryLimit=2)
    old = [sized(f"r{at}", 0, image=f"x:{at}", revision=at) for at in (3, 1, 4, 2)]
    assert [each.name for each in compile.plan(web, [new, *old], {}, NOW).delete] == ["r1", "r2"]
    busy = [sized("r0", 1, image="x:0", revision=0)]
    assert compile.plan(deployment(revisionHistoryLimit=0), [new, *busy], {}, NOW).delete == ()


def progressing(at: float, reason: str = "ReplicaSetUpdated") -> dict[str, Any]:
    since = {"lastUpdateTime": format_time(at), "lastTransitionTime": STAMP}
    waits = {"type": "Progressing", "status": "True", "reason": reason, "message": "", **since}
    return {"replicas": 3, "updatedReplicas": 3, "conditions": [waits]}


def test_the_deadline() -> None:
    stuck = sized("new", 3, available=0)
    web = deployment(progressDeadlineSeconds=60, status=progressing(NOW - 61))
    plan = compile.plan(web, [stuck], {}, NOW)
    assert condition(plan, "Progressing") == (
        "False", "ProgressDeadlineExceeded", 'ReplicaSet "new" has timed out progressing.'
    )  # fmt: skip
    early = compile.plan(deployment(progressDeadlineSeconds=60, status=progressing(NOW - 20)), [stuck], {}, NOW)
    assert early.again_in == 41
    never = compile.plan(deployment(progressDeadlineSeconds=None, status=progressing(NOW - 61)), [stuck], {}, NOW)
    assert [each["type"] for each in never.status["conditions"]] == ["Available"]


def test_progress_moves_the_clock_but_not_the_transition() -> None:
    web = deployment(status=progressing(NOW - 50))
    plan = compile.plan(web, [sized("new", 3, available=1)], {}, NOW)
    found = next(each for each in plan.status["conditions"] if each["type"] == "Progressing")
    assert (found["reason"], found["lastUpdateTime"], found["lastTransitionTime"]) == (
        "ReplicaSetUpdated", format_time(NOW), STAMP
    )  # fmt: skip


def test_failures_of_replica_sets_show() -> None:
    trouble = [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]
    sick = sized("new", 3, status={"replicas": 0, "conditions": trouble})
    assert condition(compile.plan(deployment(), [sick], {}, NOW), "ReplicaFailure") == ("True", "FailedCreate", "quota")


def test_a_second_look_changes_nothing() -> None:
    web, new = finished()
    plan = compile.plan(web, [new], {}, NOW)
    written = {key: value for key, value in plan.status.items() if value is not None}
    again = deployment(status=written, annotations={revisions.REVISION: "9"})
    repeat = compile.plan(again, [new], {}, NOW + 50)
    assert repeat == compile.Plan(status=plan.status)


@given(st.integers(1, 8), st.integers(0, 4), st.integers(0, 4), st.lists(st.booleans(), max_size=12))
def test_rollouts_finish_within_their_limits(replicas: int, surge: int, unavailable: int, luck: list[bool]) -> None:
    """Step until done; pods become available by chance. Never too many pods, never too few available ones."""
    web = deployment(replicas=replicas, image="app:2", strategy=roll(surge, unavailable))
    max_surge, max_unavailable = rolling.limits(web)
    sets = {"old": sized("old", replicas, image="app:1", wanted=replicas)}
    for lucky in [*luck, *[True] * 40]:
        plan = compile.plan(web, [*sets.values()], {}, NOW)
        if plan.create is not None:
            size = plan.create["spec"]["replicas"]
            sets["new"] = sized("new", size, image="app:2", available=0, wanted=replicas)
        for change in plan.changes:
            if change.replicas is not None:
                there = change.replica_set
                kept = min(there.status.available_replicas, change.replicas)
                image = there.spec.template["spec"]["containers"][0]["image"]
                sets[there.name] = sized(there.name, change.replicas, image=image, available=kept, wanted=replicas)
        assert rolling.total([*sets.values()]) <= replicas + max_surge
        assert rolling.available([*sets.values()]) >= replicas - max_unavailable
        if "new" in sets and lucky:
            sets["new"] = sized("new", sets["new"].spec.replicas, image="app:2", wanted=replicas)
        if sets["old"].spec.replicas == 0 and sets["new"].spec.replicas == replicas:
            break
    assert {name: each.spec.replicas for name, each in sets.items()} == {"old": 0, "new": replicas}


@given(st.lists(st.integers(1, 20), min_size=2, max_size=4), st.integers(1, 30), st.integers(0, 3))
def test_proportional_scaling_adds_up(parts: list[int], wanted: int, surge: int) -> None:
    sets = [sized(f"s{at}", size, image=f"x:{at}") for at, size in enumerate(parts)]
    shared = rolling.proportional(deployment(replicas=wanted, strategy=roll(surge, 1)), sets)
    assert all(size >= 0 for size in shared.values())
    assert sum(shared.values()) == wanted + surge


@pytest.mark.parametrize(("counts", "expected"), [((1, 2), 3), ((0, 0), 0), ((1, None), None)])
def test_ending_pods_are_counted_once_all_replica_sets_were(
    counts: tuple[int | None, int | None], expected: int | None
) -> None:
    sets = [
        replica_set(f"web-{at}", image=f"app:{at}", status={"replicas": 3, "terminatingReplicas": count})
        for at, count in enumerate(counts)
    ]
    assert compile.plan(deployment(), sets, {}, START).status["terminatingReplicas"] == expected
