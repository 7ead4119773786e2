from __future__ import annotations

from typing import Any

import pytest

from tests.workloads.make import STAMP, START, node, of, pod
from wherry.kube.objects import Node, Taint
from wherry.workloads.nodes import compile, zones

NOW = START + 500
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"


def test_a_silent_node_becomes_unknown() -> None:
    changed = compile.silent_conditions(node("a"), NOW)
    assert [(each.type, each.status, each.reason) for each in changed] == [
        ("Ready", "Unknown", "NodeStatusUnknown"),
        ("MemoryPressure", "Unknown", "NodeStatusNeverUpdated"),
        ("DiskPressure", "Unknown", "NodeStatusNeverUpdated"),
        ("PIDPressure", "Unknown", "NodeStatusNeverUpdated"),
    ]
    assert [each.message for each in changed[:2]] == [
        "Kubelet stopped posting node status.",
        "Kubelet never posted node status.",
    ]
    assert changed[0].last_heartbeat_time == STAMP
    assert [each.type for each in compile.silent_conditions(node("a", ready="Unknown"), NOW)] == [
        "MemoryPressure", "DiskPressure", "PIDPressure"
    ]  # fmt: skip


def with_conditions(**status: str) -> Node:
    rows = [{"type": type_, "status": value} for type_, value in status.items()]
    return of(Node, {"metadata": {"name": "a"}, "status": {"conditions": rows}})


@pytest.mark.parametrize(
    ("machine", "taints"),
    [
        (node("a"), []),
        (node("a", ready="False"), [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        (node("a", ready="Unknown"), [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        (node("a", ready=None), [(NOT_READY, "NoSchedule")]),
        (node("a", unschedulable=True), [("node.kubernetes.io/unschedulable", "NoSchedule")]),
        (with_conditions(Ready="True", DiskPressure="True", PIDPressure="False"),
         [("node.kubernetes.io/disk-pressure", "NoSchedule")]),
    ],
)  # fmt: skip
def test_taints_follow_conditions(machine: Node, taints: list[tuple[str, str]]) -> None:
    wanted = compile.wanted_taints(machine, compile.ready_status(machine), NOW)
    assert [(each.key, each.effect) for each in wanted] == taints
    assert all(bool(each.time_added) == (each.effect == "NoExecute") for each in wanted)


def test_foreign_taints_and_times_are_kept() -> None:
    there: list[dict[str, Any]] = [
        {"key": "mine", "effect": "NoExecute"},
        {"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": STAMP},
    ]
    silent = compile.wanted_taints(node("a", taints=there, ready="Unknown"), "Unknown", NOW)
    assert [(each.key, each.effect, each.time_added) for each in silent] == [
        ("mine", "NoExecute", None),
        (UNREACHABLE, "NoExecute", STAMP),
        (UNREACHABLE, "NoSchedule", None),
    ]
    back = compile.wanted_taints(node("a", taints=there), "True", NOW)
    assert [each.key for each in back] == ["mine"]


def test_nobody_is_evicted_when_all_nodes_are_silent() -> None:
    spared = compile.wanted_taints(node("a", ready="Unknown"), "Unknown", NOW, evict=False)
    assert [each.effect for each in spared] == ["NoSchedule"]
    evicting = node("a", ready="Unknown", taints=[{"key": UNREACHABLE, "effect": "NoExecute"}])
    assert [each.effect for each in compile.wanted_taints(evicting, "Unknown", NOW, evict=False)] == ["NoSchedule"]


def tolerating(*seconds: int | None, key: str = UNREACHABLE) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"key": key, "operator": "Exists", "effect": "NoExecute"} for _ in seconds]
    for row, limit in zip(rows, seconds, strict=True):
        if limit is not None:
            row["tolerationSeconds"] = limit
    return rows


@pytest.mark.parametrize(
    ("tolerations", "came", "expected"),
    [
        ([], START, compile.Evict()),
        (tolerating(None), START, compile.Stay()),
        (tolerating(30), START, compile.Stay(10.0)),
        (tolerating(20), START, compile.Evict()),
        (tolerating(300, 25), START, compile.Stay(5.0)),
        (tolerating(None, 25), START, compile.Stay(5.0)),
        (tolerating(10), NOW - 5, compile.Stay(5.0)),
        (tolerating(-1), NOW, compile.Evict()),
        (tolerating(None, key="other"), START, compile.Evict()),
    ],
)
def test_how_long_a_pod_may_stay(
    tolerations: list[dict[str, Any]], came: float, expected: compile.Stay | compile.Evict
) -> None:
    taint = Taint(key=UNREACHABLE, effect="NoExecute", time_added="2023-11-14T22:21:20Z")
    schedule_only = Taint(key="x", effect="NoSchedule")
    assert compile.verdict(pod("p", tolerations=tolerations), (schedule_only, taint), came, NOW) == expected


def test_heartbeats_are_changes_by_our_own_clock() -> None:
    heard = compile.Heartbeats()
    heard.saw("a", lease="t1", now=10)
    heard.saw("a", lease="t1", now=20)
    assert heard.last("a", 30) == 10
    heard.saw("a", status="s1", now=30)
    heard.saw("a", lease="t1", now=40)
    assert heard.last("a", 50) == 30
    heard.saw("a", lease="t2", now=60)
    assert heard.last("a", 70) == 60
    heard.excuse_all(80)
    assert heard.last("a", 90) == 80
    assert heard.last("new", 90) == 90
    heard.forget("a")
    assert heard.last("a", 100) == 100


def test_a_node_whose_clock_is_hours_off_is_alive_while_it_says_anything_new() -> None:
    heard = compile.Heartbeats()
    heard.saw("ahead", lease="2026-11-22T23:00:00.000000Z", now=10)
    heard.saw("behind", lease="2026-11-22T11:00:00.000000Z", now=10)
    heard.saw("behind", lease="2026-11-22T11:00:10.000000Z", now=20)
    assert (heard.last("ahead", 30), heard.last("behind", 30)) == (10, 20)
    # Its clock is set back by half a day: still a sign of life.
    heard.saw("ahead", lease="2026-11-22T10:59:00.000000Z", now=31)
    assert heard.last("ahead", 40) == 31


def in_zone(zone: str, states: str) -> list[Node]:
    """One node per letter: ``r`` is ready, ``n`` says that it is not, ``u`` is silent."""
    words = {"r": "True", "n": "False", "u": "Unknown"}
    labels = {"topology.kubernetes.io/zone": zone}
    return [node(f"{zone}{at}", ready=words[state], labels=labels) for at, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "state", "rate"),
    [
        ("rrrr", "Normal", 0.1),
        ("nurr", "Normal", 0.1),
        ("nu", "FullDisruption", 0.1),
        ("rnnu", "PartialDisruption", 0.0),
        ("r" + "u" * 50, "PartialDisruption", 0.01),
    ],
)
def test_how_fast_nodes_of_a_zone_are_cleared(states: str, state: str, rate: float) -> None:
    (zone,) = zones.survey(in_zone("z", states)).values()
    assert (zone.state.value, zone.rate(zones.DEFAULT_RATES)) == (state, rate)


def test_nothing_is_cleared_where_no_zone_works() -> None:
    assert zones.nothing_works(zones.survey([*in_zone("a", "un"), *in_zone("b", "u")]))
    assert not zones.nothing_works(zones.survey([*in_zone("a", "un"), *in_zone("b", "ur")]))


def test_nodes_of_a_zone_are_cleared_one_after_the_other() -> None:
    buckets = zones.Buckets()
    zone = ("", "a")
    assert buckets.left(zone, 100.0) == 0
    buckets.spend(zone, 0.1, 100.0)
    assert (buckets.left(zone, 104.0), buckets.left(("", "b"), 104.0), buckets.left(zone, 111.0)) == (6.0, 0, 0)
