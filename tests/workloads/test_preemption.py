"""Making room: who leaves which node, in tables, against a reference, and against a real API server."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.make import meta, node, of, pod
from tests.workloads.world import world
from wherry.kube import kinds
from wherry.kube.keys import Key
from wherry.kube.kinds import Kind
from wherry.kube.objects import Pod, PodDisruptionBudget
from wherry.workloads.scheduler.compile import Placed, Unschedulable, schedule
from wherry.workloads.scheduler.filters import reject
from wherry.workloads.scheduler.model import Cluster, pod_info
from wherry.workloads.scheduler.preemption import Budget, budget_of

PRIORITY_CLASSES = Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, dict[str, Any])


def cluster(*pods: Pod, nodes: str = "ab", cpu: str = "4") -> Cluster:
    made = Cluster()
    for name in nodes:
        made.set_node(node(name, cpu=cpu))
    for each in pods:
        made.place(pod_info(each), each.spec.node_name)
    made.namespaces["default"] = {}
    return made


def victims(wanted: Pod, state: Cluster, *budgets: Budget) -> tuple[str, list[str]] | str:
    """The node and who leaves it, or the message."""
    outcome = schedule(pod_info(wanted), state, budgets)
    assert isinstance(outcome, Unschedulable)
    if outcome.room is None:
        return outcome.message
    return outcome.room.node, [each.key.name for each in outcome.room.victims]


def guard(app: str, allowed: int) -> Budget:
    spec = {"selector": {"matchLabels": {"app": app}}, "minAvailable": 1}
    plain = {"metadata": meta(app, "default"), "spec": spec, "status": {"disruptionsAllowed": allowed}}
    made = budget_of(of(PodDisruptionBudget, plain))
    assert made is not None
    return made


URGENT: dict[str, Any] = {"priority": 100, "cpu": "2"}


def test_the_least_important_pods_leave_and_no_more_than_needed() -> None:
    state = cluster(
        pod("a1", on="a", cpu="2", priority=50), pod("a2", on="a", cpu="1", priority=10),
        pod("a3", on="a", cpu="1", priority=10), pod("b1", on="b", cpu="4", priority=50),
    )  # fmt: skip
    assert victims(pod("p", **URGENT), state) == ("a", ["a2", "a3"])
    message = schedule(pod_info(pod("p", **URGENT)), state)
    assert isinstance(message, Unschedulable)
    assert message.message == "0/2 nodes are available: 2 Insufficient cpu."


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        # The lower of the highest priorities.
        ([("a", 20, "3"), ("b", 10, "3")], "b"),
        # The lower sum: one pod rather than two.
        ([("a", 10, "2"), ("a", 10, "2"), ("b", 10, "3")], "b"),
        # The first of equals.
        ([("a", 10, "3"), ("b", 10, "3")], "a"),
    ],
)
def test_the_cheapest_node_is_cleared(pods: list[tuple[str, int, str]], expected: str) -> None:
    there = [pod(f"v{i}", on=on, priority=priority, cpu=cpu) for i, (on, priority, cpu) in enumerate(pods)]
    found = victims(pod("p", cpu="3", priority=100), cluster(*there))
    assert found[0] == expected


def test_the_younger_of_equal_pods_leaves() -> None:
    old, new = (pod(name, on="a", cpu="2", priority=1) for name in ("old", "new"))
    state = cluster(nodes="a")
    for each, started in ((new, 200.0), (old, 100.0)):
        info = pod_info(each)
        object.__setattr__(info, "started", started)
        state.place(info, "a")
    assert victims(pod("p", **URGENT), state) == ("a", ["new"])


def test_budgets_are_kept_where_another_node_or_pod_will_do() -> None:
    web = {"app": "web"}
    state = cluster(
        pod("a1", on="a", cpu="4", priority=1, labels=web), pod("b1", on="b", cpu="4", priority=50),
    )  # fmt: skip
    assert victims(pod("p", **URGENT), state, guard("web", 0)) == ("b", ["b1"])
    assert victims(pod("p", **URGENT), state, guard("web", 1)) == ("a", ["a1"])
    both = cluster(
        pod("kept", on="a", cpu="2", priority=1, labels=web), pod("other", on="a", cpu="2", priority=9), nodes="a"
    )
    assert victims(pod("p", **URGENT), both, guard("web", 0)) == ("a", ["other"])


def test_nobody_leaves_in_vain() -> None:
    state = cluster(pod("a1", on="a", cpu="1", priority=1), pod("a2", on="a", cpu="3", priority=200), nodes="a")
    said = victims(pod("p", **URGENT), state)
    assert said == (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
        "0/1 nodes are available: 1 Insufficient cpu."
    )
    said = victims(pod("p", preemptionPolicy="Never", **URGENT), cluster(pod("a1", on="a", cpu="4"), nodes="a"))
    assert isinstance(said, str)
    assert said.endswith("preemption: not eligible due to preemptionPolicy=Never.")


def test_a_pod_may_wait_whatever_its_class_says() -> None:
    patient = pod("p", annotations={"wherry.dev/preemption": "Never"}, **URGENT)
    said = victims(patient, cluster(pod("a1", on="a", cpu="4"), nodes="a"))
    assert isinstance(said, str)
    assert said.endswith("preemption: not eligible due to preemptionPolicy=Never.")


def test_a_pod_waits_for_those_that_leave_for_it() -> None:
    going = pod("v", on="a", cpu="4", priority=1, deleting=True)
    info = pod_info(going)
    object.__setattr__(info, "preempted", True)
    state = cluster(nodes="a")
    state.place(info, "a")
    wanted = pod_info(pod("p", **URGENT))
    object.__setattr__(wanted, "nominated", "a")
    outcome = schedule(wanted, state)
    assert isinstance(outcome, Unschedulable)
    assert (outcome.room, outcome.keeps) == (None, True)
    assert outcome.message.endswith("preemption: not eligible due to a terminating pod on the nominated node.")


def test_room_that_is_kept_is_not_taken_by_less_important_pods() -> None:
    state = cluster(nodes="a")
    state.nominate(pod_info(pod("first", cpu="3", priority=50)), "a")
    assert isinstance(schedule(pod_info(pod("late", cpu="2")), state), Unschedulable)
    assert schedule(pod_info(pod("urgent", cpu="2", priority=100)), state) == Placed("a")
    state.nominated.clear()
    assert schedule(pod_info(pod("late", cpu="2")), state) == Placed("a")


SIZES = st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(1, 4))


@given(st.lists(SIZES, max_size=7), st.integers(1, 4), st.integers(1, 4))
def test_victims_are_enough_and_all_needed(running: list[tuple[str, int, int]], cpu: int, priority: int) -> None:
    """Compared with trying every set of less important pods: room is found exactly where one exists."""
    state = cluster(cpu="6")
    for number, (on, level, size) in enumerate(running):
        info = pod_info(pod(f"v{number}", on=on, cpu=str(size), priority=level))
        if (there := state.node(on)) is not None and reject(info, there) is None:
            state.place(info, on)
    wanted = pod_info(pod("p", cpu=str(cpu), priority=priority))

    def room(name: str, gone: tuple[Any, ...]) -> bool:
        info = state.what_if(name, without=gone).node(name)
        return info is not None and reject(wanted, info) is None

    def solvable(name: str) -> bool:
        info = state.node(name)
        lower = [each for each in info.pods.values() if each.priority < priority] if info else []
        return any(room(name, gone) for size in range(1, len(lower) + 1) for gone in combinations(lower, size))

    outcome = schedule(wanted, state)
    if isinstance(outcome, Placed):
        assert room(outcome.node, ())
        return
    assert (outcome.room is not None) == (solvable("a") or solvable("b"))
    if outcome.room is not None:
        node_name, found = outcome.room.node, outcome.room.victims
        assert all(each.priority < priority for each in found)
        assert room(node_name, found)
        for each in found:
            assert not room(node_name, tuple(other for other in found if other is not each))


async def test_an_urgent_pod_takes_the_place_of_a_lesser_one() -> None:
    async with world() as there:
        await there.add_node("n1", cpu="2")
        await there.client.create(
            PRIORITY_CLASSES,
            {"metadata": {"name": "urgent"}, "value": 1000},
        )

        async def add(name: str, **spec: Any) -> None:
            container = {"name": "main", "image": "app", "resources": {"requests": {"cpu": "1500m"}}}
            await there.create(kinds.PODS, name, spec={"containers": [container], **spec})

        await add("lesser")
        await there.until(lambda: there.pods.get(Key("default", "lesser")).ready)
        there.kubelets.discard("n1")
        await add("urgent", priorityClassName="urgent")
        urgent, lesser = Key("default", "urgent"), Key("default", "lesser")
        await there.until(lambda: there.pods.get(lesser).deleting)
        told = there.pods.get(lesser).status.condition("DisruptionTarget")
        assert told is not None
        assert told.reason == "PreemptionByScheduler"
        assert told.message == "default-scheduler: preempting to accommodate a higher priority pod"
        await there.until(lambda: there.pods.get(urgent).status.nominated_node_name == "n1")
        await add("late")
        there.wake("n1")
        await there.until(lambda: there.pods.get(urgent).spec.node_name == "n1")
        assert there.pods.get(urgent).status.nominated_node_name == ""
        await there.until(lambda: "Preempted" in there.reasons("lesser"))
        await there.until(lambda: there.pods.get(Key("default", "late")).status.condition("PodScheduled"))
        assert there.pods.get(Key("default", "late")).spec.node_name == ""
