from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.make import STAMP, START, pod, replica_set
from tests.workloads.world import world
from wherry.kube.keys import Key
from wherry.kube.objects import KubeObject, Pod
from wherry.kube.selectors import from_labels
from wherry.workloads import podstate, templates
from wherry.workloads.claims import claim
from wherry.workloads.expectations import PATIENCE, Expectations
from wherry.workloads.kinds import REPLICA_SETS, REPLICATION_CONTROLLERS, controller_reference
from wherry.workloads.replicaset import compile

NOW = START + 1000


def test_only_active_pods_count() -> None:
    there = [
        pod("a", ready=True), pod("b", phase="Failed"), pod("c", phase="Succeeded"), pod("d", deleting=True, ready=True)
    ]  # fmt: skip
    assert compile.plan(replica_set("w", replicas=3), there, there, NOW) == compile.Plan(create=2)
    assert compile.plan(replica_set("w", replicas=1), there, there, NOW) == compile.Plan()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"on": "n1"}),
        ({"on": "n1", "phase": "Pending"}, {"on": "n1", "phase": "Running"}),
        ({"on": "n1", "phase": "Running"}, {"on": "n1", "ready": True}),
        ({"on": "n1", "ready": True, "annotations": {podstate.DELETION_COST: "-1"}}, {"on": "n1", "ready": True}),
        ({"on": "crowded", "ready": True}, {"on": "n1", "ready": True}),
        ({"on": "n1", "ready": True, "ready_at": "2023-11-14T22:29:00Z"}, {"on": "n1", "ready": True}),
        ({"on": "n1", "ready": True, "restarts": 3}, {"on": "n1", "ready": True}),
        ({"on": "n1", "ready": True, "created": "2023-11-14T22:29:00Z"}, {"on": "n1", "ready": True}),
    ],
)
def test_which_pod_goes_first(first: dict[str, Any], second: dict[str, Any]) -> None:
    neighbours = [pod("x", on="crowded", ready=True), pod("y", on="crowded", ready=True)]
    # The names would decide the other way round.
    there = [pod("a-stays", **second), pod("z-goes", **first)]
    plan = compile.plan(replica_set("w", replicas=1), there, there + neighbours, NOW)
    assert [each.name for each in plan.delete] == ["z-goes"]


@given(st.integers(0, 8), st.lists(st.sampled_from(["ready", "pending", "failed", "leaving"]), max_size=12))
def test_the_plan_reaches_the_number_asked_for(replicas: int, states: list[str]) -> None:
    there = [
        pod(f"p{at}", on="n", ready=state == "ready", deleting=state == "leaving",
            phase="Failed" if state == "failed" else "")
        for at, state in enumerate(states)
    ]  # fmt: skip
    plan = compile.plan(replica_set("w", replicas=replicas), there, there, NOW)
    active = [each for each in there if podstate.is_active(each)]
    assert len(active) + plan.create - len(plan.delete) == replicas
    assert all(each in active for each in plan.delete)
    assert not (plan.create and plan.delete)


def test_status() -> None:
    there = [
        pod("a", ready=True, labels={"app": "web"}),
        pod("b", ready=True, ready_at="2023-11-14T22:29:55Z"),
        pod("c"),
        pod("d", deleting=True, ready=True),
    ]
    wanted = compile.status(replica_set("w", min_ready=10, generation=4), there, NOW)
    assert wanted == {
        "replicas": 3, "fullyLabeledReplicas": 1, "readyReplicas": 2, "availableReplicas": 1, "observedGeneration": 4,
        "terminatingReplicas": 1,
        "conditions": None,
    }  # fmt: skip
    assert podstate.next_available(there, 10, NOW) == 5
    empty = compile.status(replica_set("w"), [], NOW, failure=("FailedCreate", "quota"))
    assert (empty["replicas"], empty["readyReplicas"]) == (0, None)
    assert empty["conditions"][0] | {"lastTransitionTime": ""} == {
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota",
        "lastTransitionTime": "",
    }  # fmt: skip


def test_says_already_takes_absent_null_and_zero_alike() -> None:
    status = replica_set("w", status={"replicas": 2, "observedGeneration": 1}).status
    assert podstate.says_already(status, {"replicas": 2, "readyReplicas": None, "availableReplicas": 0})
    assert not podstate.says_already(status, {"replicas": 2, "readyReplicas": 1})
    assert not podstate.says_already(status, {"replicas": None})


# -- claims -------------------------------------------------------------------------------------------------------


def test_claims() -> None:
    web = from_labels({"app": "web"})
    labels = {"app": "web"}
    there = [
        pod("mine", owned_by="w", labels=labels),
        pod("lost", owned_by="w", labels={"app": "other"}),
        pod("orphan", labels=labels),
        pod("leaving-orphan", labels=labels, deleting=True),
        pod("stranger", labels={}),
        pod("theirs", owned_by="someone", labels=labels),
    ]

    def names(pods: tuple[Pod, ...]) -> list[str]:
        return [each.name for each in pods]

    claimed = claim(replica_set("w"), web, there)
    assert (names(claimed.owned), names(claimed.adopt), names(claimed.release)) == (["mine"], ["orphan"], ["lost"])
    leaving = claim(replica_set("w", deletionTimestamp=STAMP), web, there)
    assert (names(leaving.owned), leaving.adopt, leaving.release) == (["mine", "lost"], (), ())


# -- expectations -------------------------------------------------------------------------------------------------


class Cache:
    def __init__(self) -> None:
        self.now = 0.0
        self.objects: dict[Key, KubeObject] = {}
        self.expectations = Expectations(self.objects.get, lambda: self.now)

    def show(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None:
            self.objects[new.key] = new
        elif old is not None:
            del self.objects[old.key]
        self.expectations.observe(old, new)


def test_a_creation_counts_until_the_cache_shows_it() -> None:
    cache, made = Cache(), pod("a", owned_by="w")
    cache.expectations.begin("uid-w")
    assert not cache.expectations.met("uid-w")
    cache.expectations.created("uid-w", made)
    assert not cache.expectations.met("uid-w")
    cache.show(None, made)
    assert cache.expectations.met("uid-w")


def test_the_watch_may_be_faster_than_the_answer() -> None:
    cache, made = Cache(), pod("a", owned_by="w")
    cache.expectations.begin("uid-w")
    cache.show(None, made)
    cache.expectations.created("uid-w", made)
    assert cache.expectations.met("uid-w")
    cache.expectations.begin("uid-w")
    cache.show(made, None)
    cache.expectations.created("uid-w", made)
    assert cache.expectations.met("uid-w")


def test_failed_creations_leave_nothing_behind() -> None:
    cache = Cache()
    cache.expectations.begin("uid-w")
    cache.expectations.created("uid-w", None)
    assert cache.expectations.met("uid-w")


def test_an_owner_may_go_while_its_objects_are_made() -> None:
    cache = Cache()
    cache.expectations.begin("uid-w")
    cache.expectations.forget("uid-w")
    cache.expectations.created("uid-w", pod("a", owned_by="w"))
    assert cache.expectations.met("uid-w")


@pytest.mark.parametrize("shown", [pod("a", owned_by="w", deleting=True), None, pod("a", owned_by="w", uid="new")])
def test_a_deletion_counts_until_the_cache_shows_it(shown: Pod | None) -> None:
    cache, gone = Cache(), pod("a", owned_by="w")
    cache.show(None, gone)
    cache.expectations.deleted("uid-w", gone)
    assert not cache.expectations.met("uid-w")
    cache.show(gone, shown)
    assert cache.expectations.met("uid-w")


def test_what_never_shows_up_is_given_up() -> None:
    cache = Cache()
    cache.expectations.begin("uid-w")
    cache.expectations.created("uid-w", pod("a", owned_by="w"))
    cache.now = PATIENCE + 1
    assert cache.expectations.met("uid-w")


# -- templates ----------------------------------------------------------------------------------------------------


def test_hashes_tell_templates_apart_and_ignore_order() -> None:
    one = {"metadata": {"labels": {"a": "1", "b": "2"}, "creationTimestamp": None}, "spec": {"x": 1, "y": None}}
    same = {"spec": {"x": 1}, "metadata": {"labels": {"b": "2", "a": "1"}}}
    assert templates.template_hash(one) == templates.template_hash(same)
    assert templates.template_hash(one) != templates.template_hash(one, 1)
    # The digits of a number, each by its character code in the alphabet of names: ten letters are possible.
    assert set(templates.template_hash(one) + templates.template_hash(one, 1)) <= set("456789bcdf")
    assert templates.template_hash(one) != templates.template_hash({**same, "spec": {"x": 2}})
    assert templates.same_template(one, {**same, "metadata": {"labels": {"a": "1", "b": "3"}}}, without=("b",))


def test_a_pod_is_a_copy_of_the_template() -> None:
    template = {"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "c", "futureField": 1}]}}
    made = templates.pod_of(
        template, owner=controller_reference(REPLICA_SETS, replica_set("w")), namespace="default", prefix="w-"
    )
    assert made["spec"]["containers"][0]["futureField"] == 1
    made["spec"]["containers"].clear()
    assert template["spec"]["containers"]
    assert made["metadata"]["ownerReferences"] == [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "w", "uid": "uid-w", "controller": True,
         "blockOwnerDeletion": True}
    ]  # fmt: skip


async def test_replication_controllers_keep_their_number_too() -> None:
    async with world() as w:
        await w.add_node("a")
        labels = {"app": "old"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
        controllers = w.view(REPLICATION_CONTROLLERS)
        await w.create(REPLICATION_CONTROLLERS, "old", spec={"replicas": 2, "selector": labels, "template": template})
        await w.until(lambda: controllers.list() and controllers.list()[0].status.available_replicas == 2)
        owner = w.running("old")[0].metadata.controller
        assert owner is not None
        assert (owner.api_version, owner.kind, owner.name) == ("v1", "ReplicationController", "old")
        await w.client.patch(REPLICATION_CONTROLLERS, "old", {"spec": {"replicas": 1}}, namespace="default")
        await w.until(lambda: controllers.list()[0].status.replicas == 1 and len(w.pods.list()) == 1)
        await w.until(lambda: {"SuccessfulCreate", "SuccessfulDelete"} <= w.reasons("old"))
