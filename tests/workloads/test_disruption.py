"""Disruption budgets: the arithmetic in tables, evictions against a real API server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.make import STAMP, START, meta, of, pod
from tests.workloads.world import World, world
from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.errors import ApiError
from wherry.kube.keys import Key
from wherry.kube.objects import PodDisruptionBudget
from wherry.workloads.disruption import compile
from wherry.workloads.disruption.compile import Expected


def budget(status: dict[str, Any] | None = None, **spec: Any) -> PodDisruptionBudget:
    selector = {"matchLabels": {"app": "web"}}
    plain = {"metadata": meta("b", "default", generation=1), "spec": {"selector": selector, **spec}}
    return of(PodDisruptionBudget, {**plain, "status": status or {}})


@pytest.mark.parametrize(
    ("spec", "pods", "scale", "expected"),
    [
        ({"minAvailable": 2}, 3, 0, Expected(3, 2)),
        ({"minAvailable": "50%"}, 3, 5, Expected(5, 3)),
        ({"minAvailable": "100%"}, 3, 3, Expected(3, 3)),
        ({"maxUnavailable": 1}, 2, 3, Expected(3, 2)),
        ({"maxUnavailable": "34%"}, 2, 3, Expected(3, 1)),
        ({"maxUnavailable": 5}, 2, 3, Expected(3, 0)),
        ({}, 3, 3, Expected(0, 0)),
    ],
)
def test_what_is_expected(spec: dict[str, Any], pods: int, scale: int, expected: Expected) -> None:
    assert compile.expected(budget(**spec), pods, scale) == expected


def test_pods_on_their_way_out_are_not_healthy() -> None:
    pods = [pod("a", ready=True), pod("b", ready=True, deleting=True), pod("c"), pod("d", ready=True)]
    assert compile.healthy(pods, {"d": STAMP}) == 1


def test_an_eviction_that_never_came_is_forgotten_after_two_minutes() -> None:
    told = budget({"disruptedPods": {"a": STAMP, "b": STAMP, "gone": STAMP}})
    pods = [pod("a"), pod("b", deleting=True)]
    early = compile.evicted(told, pods, START + 100)
    assert (early.pending, early.overdue, early.recheck) == ({"a": STAMP}, (), 20)
    late = compile.evicted(told, pods, START + 121)
    assert (late.pending, [each.name for each in late.overdue], late.recheck) == ({}, ["a"], None)
    wanted = compile.status(told, Expected(2, 1), 2, late.pending, START)
    assert wanted["disruptedPods"] == {"a": None, "b": None, "gone": None}


def test_a_failure_allows_nothing_and_says_why() -> None:
    wanted = compile.failed(budget(), "jobs.batch does not implement the scale subresource", START)
    [condition] = wanted["conditions"]
    assert wanted["disruptionsAllowed"] == 0
    assert (condition["status"], condition["reason"]) == ("False", "SyncFailed")


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_never_more_is_allowed_than_keeps_enough_healthy(pods: int, minimum: int, current: int) -> None:
    wanted = compile.status(budget(), Expected(pods, minimum), current, {}, START)
    allowed = wanted["disruptionsAllowed"]
    assert 0 <= allowed <= current
    assert allowed == 0 or current - allowed >= minimum
    assert wanted["conditions"][0]["reason"] == ("SufficientPods" if allowed else "InsufficientPods")


# -- against a server -------------------------------------------------------------------------------------------------


PATIENCE = 0.0
"""A client that is refused does not try again by itself."""


async def evict(there: World, name: str, **more: Any) -> Any:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, **more}
    async with Client(there.api.endpoint, retry_for=PATIENCE) as client:
        return await client.create_subresource(kinds.PODS, name, "eviction", body, namespace="default")


async def refused(there: World, name: str) -> tuple[int, str, list[str]]:
    with pytest.raises(ApiError) as caught:
        await evict(there, name)
    details = caught.value.status.get("details") or {}
    return caught.value.code, str(caught.value), [each["message"] for each in details.get("causes", ())]


async def add_budget(there: World, name: str, app: str, **spec: Any) -> None:
    selector = {"matchLabels": {"app": app}}
    await there.create(kinds.POD_DISRUPTION_BUDGETS, name, spec={"selector": selector, **spec})


async def test_evictions_take_what_the_budget_allows() -> None:
    async with world() as there:
        budgets = there.view(kinds.POD_DISRUPTION_BUDGETS)

        def status(name: str) -> Any:
            found = budgets.get(Key("default", name))
            return found.status if found is not None else None

        await there.add_node("n1")
        await there.add_deployment("web", 3)
        await add_budget(there, "web", "web", maxUnavailable=1)
        await add_budget(there, "half", "half", minAvailable="100%")
        await there.until(lambda: status("web") and status("web").disruptions_allowed == 1)
        [condition] = status("web").conditions
        assert (condition.status, condition.reason) == ("True", "SufficientPods")
        assert (status("web").expected_pods, status("web").desired_healthy, status("web").current_healthy) == (3, 2, 3)
        first, second, third = there.running("web")
        there.kubelets.discard("n1")
        await evict(there, first.name, deleteOptions={"dryRun": ["All"]})
        answer = await evict(there, first.name)
        assert (answer["status"], answer["code"]) == ("Success", 201)
        # While the first one is on its way out the second one is refused.
        code, text, causes = await refused(there, second.name)
        assert code == 429
        assert text == "Cannot evict pod as it would violate the pod's disruption budget."
        assert causes[0].startswith("The disruption budget web ")
        await there.until(lambda: there.pods.get(first.key).deleting)
        going = there.pods.get(first.key)
        told = going.status.condition("DisruptionTarget") if going else None
        assert told is not None
        assert told.reason == "EvictionByEvictionAPI"
        await there.until(lambda: status("web").current_healthy == 2)
        assert (await refused(there, second.name))[2] == [
            "The disruption budget web needs 2 healthy pods and has 2 currently"
        ]
        # The replacement is ready and the next one may go.
        there.wake("n1")
        await there.until(lambda: len(there.running("web")) == 3 and status("web").disruptions_allowed == 1)
        await there.until(lambda: status("web").disrupted_pods == {})
        await evict(there, second.name)
        # Two budgets over one pod cannot be honoured.
        await add_budget(there, "other", "web", minAvailable=0)
        code, text, _ = await refused(there, third.name)
        assert code == 500
        assert text.startswith("This pod has more than one PodDisruptionBudget")


async def test_pods_that_are_not_ready_go_by_the_policy() -> None:
    async with world() as there:
        budgets = there.view(kinds.POD_DISRUPTION_BUDGETS)
        await there.add_node("deaf")
        # Its kubelet does nothing: the pods there are Running by word and never ready.
        there.kubelets.discard("deaf")
        spec = {"nodeName": "deaf", "containers": [{"name": "main", "image": "app"}]}
        for name in ("strict", "free"):
            await there.create(kinds.PODS, name, metadata={"labels": {"app": name}}, spec=spec)
            await there.client.patch(
                kinds.PODS, name, {"status": {"phase": "Running"}}, namespace="default", subresource="status"
            )
        await add_budget(there, "strict", "strict", minAvailable=1)
        await add_budget(there, "free", "free", minAvailable=1, unhealthyPodEvictionPolicy="AlwaysAllow")
        await there.until(lambda: all(each.status.conditions for each in budgets.list()) and len(budgets.list()) == 2)
        assert (await refused(there, "strict"))[2] == [
            "The disruption budget strict needs 1 healthy pods and has 0 currently"
        ]
        await evict(there, "free")


async def test_owners_that_cannot_be_scaled_make_a_budget_fail() -> None:
    async with world() as there:
        budgets = there.view(kinds.POD_DISRUPTION_BUDGETS)
        template = {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {"containers": [{"name": "main", "image": "agent"}]},
        }
        selector = {"matchLabels": {"app": "agent"}}
        await there.add_node("n1")
        await there.create(kinds.DAEMON_SETS, "agent", spec={"selector": selector, "template": template})
        await there.until(lambda: there.running("agent"))
        await add_budget(there, "agent", "agent", maxUnavailable=1)
        await there.until(lambda: [each for each in budgets.list() if each.status.conditions])
        [found] = budgets.list()
        [condition] = found.status.conditions
        assert condition.reason == "SyncFailed"
        assert condition.message == "daemonsets.apps does not implement the scale subresource"
        await there.until(lambda: "CalculateExpectedPodCountFailed" in there.reasons("agent"))
