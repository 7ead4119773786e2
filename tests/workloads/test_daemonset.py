from __future__ import annotations

from typing import Any

import msgspec

from tests.workloads.make import START, daemon_set, meta, node, of, pod_dict
from tests.workloads.world import world
from wherry.kube import kinds
from wherry.kube.objects import Node, Pod
from wherry.workloads import history, templates
from wherry.workloads.daemonset import compile
from wherry.workloads.kinds import DAEMON_SETS, ControllerRevision, DaemonSet

NOW = START + 1000
NODES = (node("a"), node("b"), node("c"))
OLD = daemon_set(image="agent:0")
NEW = daemon_set()


def digest(daemon_set: DaemonSet) -> str:
    return templates.template_hash(daemon_set.spec.template)


def daemon(on: str, name: str = "", *, of: DaemonSet = NEW, ready: bool = True, bound: bool = True, **more: Any) -> Pod:
    labels = {"app": "agent", compile.HASH_LABEL: digest(of)}
    plain = pod_dict(
        name or f"agent-{on}", labels=labels, owned_by="agent", owner_kind="DaemonSet", ready=ready, **more
    )
    plain["spec"] |= compile.pod_for(of, on, digest(of))["spec"]
    if bound:
        plain["spec"]["nodeName"] = on
    return msgspec.convert(plain, Pod)


def plan(daemon_set: DaemonSet, nodes: tuple[Node, ...], *pods: Pod) -> tuple[list[str], list[str]]:
    situation = compile.Situation(daemon_set, nodes, pods, digest(daemon_set), NOW)
    made = situation.plan()
    if made == compile.Plan():
        made = situation.roll()
    return list(made.create), [each.name for each in (*made.delete, *made.failed, *made.succeeded)]


def rolling(surge: int | str, unavailable: int | str, **more: Any) -> DaemonSet:
    limits = {"maxSurge": surge, "maxUnavailable": unavailable}
    return daemon_set(strategy={"type": "RollingUpdate", "rollingUpdate": limits}, **more)


def test_every_node_that_qualifies_gets_one() -> None:
    taint = [{"key": "dedicated", "effect": "NoSchedule"}]
    nodes = (node("a", labels={"disk": "ssd"}), node("b"), node("c", labels={"disk": "ssd"}, taints=taint))
    assert plan(NEW, nodes) == (["a", "b"], [])
    assert plan(daemon_set(nodeSelector={"disk": "ssd"}), nodes) == (["a"], [])
    assert plan(daemon_set(tolerations=[{"operator": "Exists"}]), nodes) == (["a", "b", "c"], [])
    assert plan(NEW, nodes, daemon("a")) == (["b"], [])


def test_trouble_does_not_drive_daemons_away_but_no_execute_does() -> None:
    def tainted(key: str, effect: str) -> tuple[Node, ...]:
        return (node("a", taints=[{"key": key, "effect": effect}]),)

    for key, effect in (("unschedulable", "NoSchedule"), ("not-ready", "NoExecute"), ("disk-pressure", "NoSchedule")):
        assert plan(NEW, tainted(f"node.kubernetes.io/{key}", effect)) == (["a"], [])
    assert plan(NEW, tainted("dedicated", "NoSchedule"), daemon("a")) == ([], [])
    assert plan(NEW, tainted("dedicated", "NoExecute"), daemon("a")) == ([], ["agent-a"])
    network = tainted("node.kubernetes.io/network-unavailable", "NoSchedule")
    assert plan(NEW, network) == ([], [])
    assert plan(daemon_set(hostNetwork=True), network) == (["a"], [])


def test_pods_that_must_go() -> None:
    assert plan(daemon_set(nodeSelector={"disk": "ssd"}), NODES[:1], daemon("a")) == ([], ["agent-a"])
    twins = (daemon("a", "first"), daemon("a", "second", created="2023-11-14T23:00:00Z"))
    assert plan(NEW, NODES[:1], *twins) == ([], ["second"])
    assert plan(NEW, NODES[:1], daemon("a", phase="Failed", ready=False)) == ([], ["agent-a"])
    assert plan(NEW, NODES[:1], daemon("a"), daemon("gone", bound=False, ready=False)) == ([], ["agent-gone"])
    assert plan(NEW, NODES[:1], daemon("a"), daemon("gone")) == ([], [])


def test_a_successor_waits_until_the_old_pod_has_ended() -> None:
    assert plan(NEW, NODES[:1], daemon("a", deleting=True)) == ([], [])
    assert plan(NEW, NODES[:1], daemon("a", deleting=True, phase="Succeeded", ready=False)) == (["a"], [])


def test_the_pod_is_pinned_to_its_node() -> None:
    wish = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]}}}  # fmt: skip
    made = compile.pod_for(daemon_set(affinity=wish), "a", "hash")
    required = made["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    fields = [{"key": "metadata.name", "operator": "In", "values": ["a"]}]
    assert required["nodeSelectorTerms"] == [
        {"matchExpressions": [{"key": "disk", "operator": "Exists"}], "matchFields": fields}
    ]
    assert {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"} in made["spec"][
        "tolerations"
    ]
    assert made["metadata"]["labels"] == {
        "app": "agent",
        compile.HASH_LABEL: "hash",
    }
    assert compile.node_of(daemon("b", bound=False)) == "b"


def test_rolling_update_keeps_within_max_unavailable() -> None:
    old = [daemon(each, of=OLD) for each in "abc"]
    assert plan(NEW, NODES, *old) == ([], ["agent-a"])
    assert plan(rolling(0, "67%"), NODES, *old) == ([], ["agent-a", "agent-b", "agent-c"])
    assert plan(rolling(0, 2), NODES, *old) == ([], ["agent-a", "agent-b"])
    assert plan(NEW, NODES, daemon("a", ready=False), *old[1:]) == ([], [])
    assert plan(NEW, NODES, daemon("a"), *old[1:]) == ([], ["agent-b"])
    sick = daemon("c", of=OLD, ready=False)
    assert plan(NEW, NODES, *old[:2], sick) == ([], ["agent-c"])
    on_delete = daemon_set(strategy={"type": "OnDelete"})
    assert plan(on_delete, NODES, *old) == ([], [])


def test_rolling_update_with_surge() -> None:
    old = [daemon(each, of=OLD) for each in "abc"]
    surge = rolling(1, 0)
    assert plan(surge, NODES, *old) == (["a"], [])
    assert plan(surge, NODES, *old, daemon("a", "new-a", ready=False)) == ([], [])
    assert plan(surge, NODES, *old, daemon("a", "new-a")) == ([], ["agent-a"])


def test_status() -> None:
    nodes = (*NODES, node("d", labels={"skip": "x"}, taints=[{"key": "x", "effect": "NoSchedule"}]))
    pods = [daemon("a"), daemon("b", of=OLD), daemon("c", ready=False), daemon("d")]
    assert compile.Situation(NEW, nodes, pods, digest(NEW), NOW).status() == {
        "currentNumberScheduled": 3, "numberMisscheduled": 1, "desiredNumberScheduled": 3, "numberReady": 2,
        "updatedNumberScheduled": 2, "numberAvailable": 2, "numberUnavailable": 1, "observedGeneration": 2,
    }  # fmt: skip


def test_a_pod_that_waits_out_its_failures_holds_up_no_other_node() -> None:
    broken = daemon("a", of=OLD, ready=False, phase="Failed")
    situation = compile.Situation(rolling(0, 2), NODES, [broken, *(daemon(each, of=OLD) for each in "bc")], "x", NOW)
    assert [each.name for each in situation.plan().failed] == ["agent-a"]
    assert [each.name for each in situation.roll().delete] == ["agent-a", "agent-b"]


def test_pods_that_ended_well_are_replaced_without_a_pause() -> None:
    situation = compile.Situation(NEW, NODES[:1], [daemon("a", ready=False, phase="Succeeded")], digest(NEW), NOW)
    made = situation.plan()
    assert ([each.name for each in made.succeeded], made.failed) == (["agent-a"], ())


def test_old_pods_leave_nodes_that_no_longer_qualify() -> None:
    taint = [{"key": "dedicated", "effect": "NoSchedule"}]
    nodes = (node("a", taints=taint), node("b"))
    old = [daemon(each, of=OLD) for each in "ab"]
    assert plan(NEW, nodes, *old) == ([], ["agent-a"])
    surge = rolling(1, 0)
    assert plan(surge, nodes, *old) == (["b"], ["agent-a"])
    assert plan(surge, nodes, old[0], daemon("b", of=OLD, ready=False)) == (["b"], [])
    assert plan(surge, nodes, daemon("a", of=OLD, ready=False), daemon("b")) == ([], ["agent-a"])


def test_surging_gives_up_an_old_pod_that_serves_nobody() -> None:
    sick, new = daemon("a", of=OLD, ready=False), daemon("a", "new-a", ready=False)
    assert plan(rolling(1, 0), NODES[:1], sick, new) == ([], ["agent-a"])
    assert plan(rolling(1, 0), NODES[:1], daemon("a", of=OLD, deleting=True)) == (["a"], [])


def revision(daemon_set: DaemonSet, number: int) -> ControllerRevision:
    metadata = {**meta(f"agent-{number}", "default"), "labels": {compile.HASH_LABEL: digest(daemon_set)}}
    data = history.snapshot(daemon_set.spec.template)
    return of(ControllerRevision, {"metadata": metadata, "data": data, "revision": number})


def test_a_revision_is_a_patch_back_to_the_template() -> None:
    old = revision(OLD, 4)
    assert history.present(NEW.spec.template, [old]) == history.Present(None, 5)
    assert old.data["spec"]["template"] == {"$patch": "replace", **OLD.spec.template}
    assert history.template_of(old) == OLD.spec.template
    assert history.same(old, OLD.spec.template)
    assert not history.same(old, NEW.spec.template)
    assert history.name_of("x" * 300, "abc") == "x" * 223 + "-abc"


def test_going_back_renumbers() -> None:
    first, second = revision(OLD, 1), revision(NEW, 2)
    assert history.present(OLD.spec.template, [second, first]) == history.Present(first, 3)
    assert history.present(NEW.spec.template, [second, first]) == history.Present(second, 2)


def test_old_revisions_go_but_not_those_in_use() -> None:
    old = [revision(daemon_set(image=f"x:{at}"), at) for at in range(1, 14)]
    assert [each.revision for each in history.surplus(old, 10, live={"agent-1"})] == [2, 3, 4]
    assert history.surplus(old, 13, live=()) == ()
    assert len(history.surplus(old, 0, live={"agent-7"})) == 12
    assert history.surplus(old, None, live=()) == ()


async def test_pods_that_ended_are_replaced_and_told_of() -> None:
    async with world() as w:
        await w.add_node("a")
        labels = {"app": "agent"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
        await w.create(DAEMON_SETS, "agent", spec={"selector": {"matchLabels": labels}, "template": template})
        await w.until(lambda: len(w.running("agent")) == 1)
        for phase, reason in (("Succeeded", "SucceededDaemonPod"), ("Failed", "FailedDaemonPod")):
            [before] = w.running("agent")
            assert before.labels[compile.GENERATION_LABEL] == "1"
            ended = {"status": {"phase": phase, "conditions": [{"type": "Ready", "status": "False"}]}}
            await w.client.patch(
                kinds.PODS, before.name, ended, namespace="default", subresource="status", type="strategic"
            )
            await w.until(lambda old=before: w.running("agent") and w.running("agent")[0].uid != old.uid)
            await w.until(lambda wanted=reason: wanted in w.reasons("agent"))
