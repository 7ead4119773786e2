"""What a stateful set does next: tables, and laws for pods in any state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.make import START, meta, of, owner, pod_dict, stateful_set
from wherry.kube.objects import PersistentVolumeClaim, Pod
from wherry.workloads import history
from wherry.workloads.kinds import ControllerRevision, StatefulSet
from wherry.workloads.statefulset import identity, volumes
from wherry.workloads.statefulset.compile import Do, Situation, Step, pod_revision

NOW = START + 1000
CLAIMED = {"volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"x": "y"}}, "spec": {"a": 1}}]}


def revision(name: str, number: int = 1) -> ControllerRevision:
    return of(
        ControllerRevision,
        {"metadata": meta(name, "default"), "revision": number, "data": history.snapshot({"spec": {"image": name}})},
    )


OLD, NEW = revision("web-old"), revision("web-new", 2)


def member(ordinal: int, state: str = "ready", *, rev: str = "web-new", **more: Any) -> Pod:
    """A pod in a state: ready, fresh (ready a moment ago), waiting, pending, failed, succeeded; ``-`` is deleting."""
    deleting, kind = state.endswith("-"), state.rstrip("-")
    phases = {"pending": "Pending", "failed": "Failed", "succeeded": "Succeeded"}
    name = f"web-{ordinal}"
    labels = {"app": "web", "controller-revision-hash": rev, **identity.labels(name, ordinal)}
    more.setdefault("volumes", [])
    if kind == "fresh":
        more["ready_at"] = "2023-11-14T22:29:59Z"
    plain = pod_dict(
        name, labels=labels, owned_by="web", owner_kind="StatefulSet", phase=phases.get(kind, "Running"),
        ready=kind in ("ready", "fresh"), deleting=deleting, on="a", **more,
    )  # fmt: skip
    return of(Pod, plain)


def claim(ordinal: int, *owners: dict[str, Any], **more: Any) -> PersistentVolumeClaim:
    metadata = meta(f"data-web-{ordinal}", "default", ownerReferences=[*owners], **more)
    return of(PersistentVolumeClaim, {"metadata": metadata})


def pod_owner(ordinal: int, uid: str = "") -> dict[str, Any]:
    name = f"web-{ordinal}"
    return {**owner(name, "Pod"), "apiVersion": "v1", "uid": uid or f"uid-{name}"}


def situation(wanted: StatefulSet, *pods: Pod, claims: tuple[PersistentVolumeClaim, ...] = ()) -> Situation:
    return Situation(wanted, OLD, NEW, pods, {each.name: each for each in claims}, NOW)


def steps(wanted: StatefulSet, *pods: Pod, claims: tuple[PersistentVolumeClaim, ...] = ()) -> list[str]:
    return [
        f"{step.do.value} {step.ordinal}" for phase in situation(wanted, *pods, claims=claims).plan() for step in phase
    ]


def states(text: str, rev: str = "web-new") -> list[Pod]:
    """Pods 0, 1, … in the states of a text; ``.`` is none, ``old:`` before a state makes it one of the old revision."""
    made = []
    for ordinal, word in enumerate(text.split()):
        if word != ".":
            state = word.removeprefix("old:")
            made.append(member(ordinal, state, rev="web-old" if state != word else rev))
    return made


@pytest.mark.parametrize(
    ("there", "spec", "wanted"),
    [
        ("", {}, ["create 0"]),
        ("ready", {}, ["create 1"]),
        ("waiting", {}, []),
        ("pending", {}, []),
        ("fresh", {"minReadySeconds": 10}, []),
        ("ready ready-", {}, []),
        (". ready ready", {}, ["create 0"]),
        ("failed", {}, ["delete 0"]),
        ("succeeded", {}, ["delete 0"]),
        ("failed-", {}, []),
        ("ready ready ready", {}, []),
        # Scaling down: the highest goes first, and only while all others serve.
        ("ready ready ready ready ready", {}, ["delete 4"]),
        ("ready ready ready ready ready-", {}, []),
        ("ready waiting ready ready", {}, []),
        ("ready ready ready ready waiting", {}, ["delete 4"]),
        ("ready ready ready waiting ready", {}, ["delete 4"]),
        ("ready ready ready waiting waiting", {}, []),
        ("ready ready ready fresh ready", {"minReadySeconds": 10}, ["delete 4"]),
        # Rolling: from the top, one at a time.
        ("old:ready old:ready old:ready", {}, ["delete 2"]),
        ("old:ready old:ready ready", {}, ["delete 1"]),
        ("old:ready old:ready ready-", {}, []),
        ("old:ready old:ready waiting", {}, []),
        ("old:ready old:ready fresh", {"minReadySeconds": 10}, []),
        ("old:ready old:ready old:ready old:ready", {}, ["delete 3"]),
        # A broken roll-out is not left by itself: the pod has to be deleted by hand.
        ("old:ready old:ready old:waiting", {}, []),
    ],
)  # fmt: skip
def test_in_order(there: str, spec: dict[str, Any], wanted: list[str]) -> None:
    assert steps(stateful_set(**spec), *states(there)) == wanted


@pytest.mark.parametrize(
    ("there", "spec", "wanted"),
    [
        ("", {}, ["create 0", "create 1", "create 2"]),
        ("waiting . failed", {}, ["create 1", "delete 2"]),
        ("ready ready ready waiting ready", {}, ["delete 4", "delete 3"]),
        (". ready ready ready-", {}, ["create 0"]),
        ("old:ready old:ready old:ready", {}, ["delete 2"]),
        ("old:ready old:waiting old:ready", {}, ["delete 1"]),
        ("old:ready old:waiting old:ready-", {}, ["delete 1"]),
        ("old:ready old:ready waiting", {}, []),
    ],
)  # fmt: skip
def test_in_parallel(there: str, spec: dict[str, Any], wanted: list[str]) -> None:
    assert steps(stateful_set(podManagementPolicy="Parallel", **spec), *states(there)) == wanted


def rolling(**limits: Any) -> dict[str, Any]:
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, **limits}}}


@pytest.mark.parametrize(
    ("there", "spec", "wanted"),
    [
        ("old:ready old:ready old:ready old:ready", rolling(partition=2), ["delete 3"]),
        ("old:ready old:ready ready ready", rolling(partition=2), []),
        ("old:ready old:ready old:ready old:ready", rolling(partition=9), []),
        ("old:ready old:ready old:ready old:ready", rolling(maxUnavailable=2), ["delete 3", "delete 2"]),
        ("old:ready old:ready old:ready old:ready", rolling(maxUnavailable="60%"), ["delete 3", "delete 2"]),
        ("old:ready old:ready old:ready old:ready", rolling(maxUnavailable="10%"), ["delete 3"]),
        ("old:ready old:ready old:ready old:ready", {"updateStrategy": {"type": "OnDelete"}}, []),
        ("old:ready . . .", {"updateStrategy": {"type": "OnDelete"}}, ["create 1"]),
    ],
)
def test_update_strategies(there: str, spec: dict[str, Any], wanted: list[str]) -> None:
    assert steps(stateful_set(replicas=4, **spec), *states(there)) == wanted


@pytest.mark.parametrize(
    ("there", "limits", "wanted"),
    [
        ("old:waiting old:waiting old:ready old:ready", {"maxUnavailable": 2}, ["delete 1", "delete 0"]),
        ("old:waiting old:ready old:ready old:ready", {"maxUnavailable": 2}, ["delete 0", "delete 3"]),
        ("old:ready old:waiting old:ready old:ready", {"partition": 2}, []),
        ("old:ready old:ready old:waiting old:ready", {"partition": 2}, ["delete 2"]),
        ("old:ready old:ready old:waiting old:waiting-", {"maxUnavailable": 3}, ["delete 2", "delete 1"]),
    ],
)
def test_parallel_updates_begin_with_pods_that_serve_nobody(
    there: str, limits: dict[str, Any], wanted: list[str]
) -> None:
    spec = {"podManagementPolicy": "Parallel", **rolling(**limits)}
    assert steps(stateful_set(replicas=4, **spec), *states(there)) == wanted


def test_ordinals_may_start_anywhere() -> None:
    moved = stateful_set(ordinals={"start": 5}, replicas=2)
    assert steps(moved) == ["create 5"]
    assert steps(moved, member(5), member(6), member(0), member(1)) == ["delete 1"]
    assert steps(moved, member(5, rev="web-old"), member(6, rev="web-old")) == ["delete 6"]
    assert pod_revision(stateful_set(ordinals={"start": 5}, **rolling(partition=1)), OLD, NEW, 5) is OLD
    assert pod_revision(stateful_set(ordinals={"start": 5}, **rolling(partition=1)), OLD, NEW, 6) is NEW


def test_a_pod_below_the_partition_comes_back_as_it_was() -> None:
    kept = stateful_set(**rolling(partition=2))
    assert [pod_revision(kept, OLD, NEW, each).name for each in range(3)] == ["web-old", "web-old", "web-new"]
    assert pod_revision(stateful_set(updateStrategy={"type": "OnDelete"}), OLD, NEW, 0) is NEW


@pytest.mark.parametrize("name", ["web-01", "web-", "web-x", "web", "other-1", "web-1-2", "web--1", "web-99999999999"])
def test_other_names_are_no_members(name: str) -> None:
    assert identity.ordinal_of(stateful_set(), of(Pod, pod_dict(name))) is None


STATES = st.sampled_from(
    ["ready", "fresh", "waiting", "pending", "failed", "succeeded", "ready-", "waiting-", "failed-"]
)
PODS = st.dictionaries(st.integers(0, 6), st.tuples(STATES, st.sampled_from(["web-old", "web-new"])))


@given(
    there=PODS, replicas=st.integers(0, 5), start=st.integers(0, 2), most=st.integers(1, 3), partition=st.integers(0, 4)
)
def test_order_is_kept_whatever_the_pods_do(
    there: dict[int, tuple[str, str]], replicas: int, start: int, most: int, partition: int
) -> None:
    pods = {ordinal: member(ordinal, state, rev=rev) for ordinal, (state, rev) in there.items()}
    limits = rolling(maxUnavailable=most, partition=partition)
    wanted = stateful_set(replicas=replicas, ordinals={"start": start}, minReadySeconds=10, **limits)
    taken = [step for phase in situation(wanted, *pods.values()).plan() for step in phase]
    inside = range(start, start + replicas)
    serving = {ordinal for ordinal, (state, _) in there.items() if state == "ready"}
    _check_each(taken, pods)
    created = [step.ordinal for step in taken if step.do is Do.CREATE]
    deleted = [step.ordinal for step in taken if step.do is Do.DELETE]
    assert not (created and deleted)
    assert len(created) <= 1
    for ordinal in created:
        assert set(range(start, ordinal)) <= serving
    replaced = [each for each in deleted if there[each][0] in ("failed", "succeeded")]
    scaled = [each for each in deleted if each not in inside]
    rolled = [each for each in deleted if each in inside and each not in replaced]
    assert sum(map(bool, (scaled, rolled, [each for each in replaced if each in inside]))) <= 1
    assert len(scaled) <= 1
    if scaled:
        assert set(inside) <= serving
        assert scaled[0] == max(each for each in there if each not in inside)
    if rolled:
        assert set(inside) <= serving
        assert set(there) <= set(inside)
        assert len(rolled) <= most
        assert all(there[each][1] == "web-old" and each >= start + partition for each in rolled)


@given(there=PODS, replicas=st.integers(0, 5), most=st.integers(1, 3))
def test_parallel_sets_never_break_what_serves_beyond_their_limit(
    there: dict[int, tuple[str, str]], replicas: int, most: int
) -> None:
    pods = {ordinal: member(ordinal, state, rev=rev) for ordinal, (state, rev) in there.items()}
    wanted = stateful_set(replicas=replicas, podManagementPolicy="Parallel", **rolling(maxUnavailable=most))
    taken = [step for phase in situation(wanted, *pods.values()).plan() for step in phase]
    _check_each(taken, pods)
    serving = {each for each, (state, _) in there.items() if state in ("ready", "fresh") and each < replicas}
    lost = [step.ordinal for step in taken if step.do is Do.DELETE and step.ordinal in serving]
    missing = replicas - len(serving)
    assert len(lost) <= max(0, most - missing)
    assert {step.ordinal for step in taken if step.do is Do.CREATE} == set(range(replicas)) - set(there)


def _check_each(taken: list[Step], pods: dict[int, Pod]) -> None:
    """No pod is touched twice, none is made over one that is still there in any form, none is deleted twice."""
    assert len({step.ordinal for step in taken}) == len(taken)
    for step in taken:
        assert (step.do is Do.CREATE) == (step.ordinal not in pods)
        assert step.do is not Do.DELETE or not pods[step.ordinal].deleting


def test_status() -> None:
    pods = states("ready old:ready waiting old:ready-")
    assert situation(stateful_set(replicas=4), *pods).status(None) == {
        "replicas": 4, "readyReplicas": 3, "availableReplicas": 3, "currentReplicas": 1, "updatedReplicas": 2,
        "currentRevision": "web-old", "updateRevision": "web-new", "collisionCount": 0, "observedGeneration": 1,
    }  # fmt: skip
    assert situation(stateful_set(replicas=4), *pods).status(2, {"uid-web-1"})["currentReplicas"] is None
    done = situation(stateful_set(), *states("ready ready ready")).status(None)
    assert (done["currentRevision"], done["currentReplicas"], done["updatedReplicas"]) == ("web-new", 3, 3)
    empty = situation(stateful_set(replicas=0)).status(None)
    assert (empty["replicas"], empty["availableReplicas"], empty["readyReplicas"]) == (0, 0, None)


def test_the_pod_has_its_name_and_claims() -> None:
    wanted = stateful_set(**CLAIMED)
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"volumes": [{"name": "data"}, {"name": "tmp"}]}}
    made = identity.pod_for(wanted, template, NEW, 2)
    assert made["metadata"]["name"] == "web-2"
    assert made["metadata"]["generateName"] == "web-"
    assert made["metadata"]["labels"]["controller-revision-hash"] == "web-new"
    assert made["spec"] == {
        "hostname": "web-2", "subdomain": "web",
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-2"}}, {"name": "tmp"}],
    }  # fmt: skip
    assert template["spec"] == {"volumes": [{"name": "data"}, {"name": "tmp"}]}
    made = volumes.new_claim(wanted.spec.volume_claim_templates[0], wanted, 2)
    assert made["metadata"] == {"name": "data-web-2", "namespace": "default", "labels": {"x": "y", "app": "web"}}
    assert volumes.is_claim_of(wanted, "data-web-7")
    assert not volumes.is_claim_of(wanted, "data-webs-7")


def retaining(deleted: str, scaled: str) -> StatefulSet:
    return stateful_set(persistentVolumeClaimRetentionPolicy={"whenDeleted": deleted, "whenScaled": scaled}, **CLAIMED)


BY_SET = owner("web", "StatefulSet")
OTHER = {**owner("thing", "Thing", controller=False)}


@pytest.mark.parametrize(
    ("policy", "wanted", "there", "right"),
    [
        (("Retain", "Retain"), True, [], None),
        (("Retain", "Retain"), True, [BY_SET, OTHER], ["uid-thing"]),
        (("Delete", "Retain"), True, [], ["uid-web"]),
        (("Delete", "Retain"), False, [BY_SET], None),
        (("Delete", "Delete"), True, [BY_SET], None),
        (("Delete", "Delete"), False, [BY_SET, OTHER], ["uid-thing", "uid-web-1"]),
        (("Retain", "Delete"), True, [], None),
        (("Retain", "Delete"), False, [], ["uid-web-1"]),
        (("Retain", "Delete"), True, [pod_owner(1)], []),
        # What belonged to another set or pod of the same name stays its own; another controller is not disturbed.
        (("Delete", "Delete"), True, [{**BY_SET, "uid": "before"}], None),
        (("Delete", "Delete"), True, [pod_owner(1, "before")], None),
        (("Delete", "Delete"), True, [owner("thing", "Thing")], None),
        (("Delete", "Retain"), True, [{**BY_SET, "controller": False}], ["uid-web"]),
    ],
)
def test_owners_of_claims(
    policy: tuple[str, str], wanted: bool, there: list[dict[str, Any]], right: list[str] | None
) -> None:
    found = volumes.owners(claim(1, *there), retaining(*policy), "web-1", "uid-web-1", wanted=wanted)
    assert (None if found is None else [each.uid for each in found]) == right


def test_claims_are_made_and_handed_over() -> None:
    plain = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}}]}
    kept = stateful_set(replicas=1, **CLAIMED)
    assert steps(kept, member(0, "pending", **plain)) == ["provide 0"]
    assert steps(kept, member(0, "pending", **plain), claims=(claim(0),)) == []
    assert steps(kept, member(0), claims=(claim(0),)) == ["correct 0"]
    going = retaining("Retain", "Delete")
    assert steps(going, claims=(claim(0, pod_owner(0)),)) == []
    mounted = [
        member(each, volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": f"data-web-{each}"}}])
        for each in range(4)
    ]
    claims = tuple(claim(each) for each in range(4))
    assert steps(going, *mounted, claims=claims) == ["hand over 3", "delete 3"]
