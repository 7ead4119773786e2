"""The pure scheduler: tables for each rule, and properties over random clusters."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.make import node, pod
from wherry.kube.objects import Node, Pod
from wherry.workloads.scheduler.compile import NO_NODES, Placed, Unschedulable, schedule
from wherry.workloads.scheduler.filters import Filter, reject
from wherry.workloads.scheduler.model import Cluster, pod_info
from wherry.workloads.scheduler.requests import pod_requests

CLAIMS = "no new claims to deallocate, preemption: "
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"


def cluster(*nodes: Node, pods: tuple[Pod, ...] = (), namespaces: dict[str, dict[str, str]] | None = None) -> Cluster:
    made = Cluster()
    for each in nodes:
        made.set_node(each)
    for each in pods:
        made.place(pod_info(each), each.spec.node_name)
    made.namespaces.update(namespaces or {"default": {}})
    return made


def where(wanted: Pod, state: Cluster) -> str:
    """The node, or the message."""
    outcome = schedule(pod_info(wanted), state)
    return outcome.node if isinstance(outcome, Placed) else outcome.message


def place_all(state: Cluster, *pods: Pod) -> list[str]:
    """Schedule one after the other, each counted before the next."""
    placed = []
    for each in pods:
        outcome = schedule(pod_info(each), state)
        assert isinstance(outcome, Placed), outcome
        state.place(pod_info(each), outcome.node)
        placed.append(outcome.node)
    return placed


# -- filters and messages -----------------------------------------------------------------------------------------

TAINTED = [{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]


@pytest.mark.parametrize(
    ("wanted", "nodes", "message"),
    [
        (pod("p"), (), NO_NODES),
        (
            pod("p", cpu="2"),
            (node("a", taints=TAINTED), node("b", cpu="1")),
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). "
            f""
            f"{CLAIMS}0/2 nodes are available: 2 {NOT_HELPFUL}.",
        ),
        (
            pod("p", cpu="5", memory="9Gi"),
            (node("a"),),
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. "
            f""
            f"{CLAIMS}0/1 nodes are available: 1 {NOT_HELPFUL}.",
        ),
        (
            pod("p", nodeSelector={"disk": "ssd"}),
            (node("a"), node("b", unschedulable=True)),
            "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
            f"1 node(s) were unschedulable. "
            f"{CLAIMS}0/2 nodes are available: 2 {NOT_HELPFUL}.",
        ),
        (
            pod("p", preemptionPolicy="Never", nodeSelector={"disk": "ssd"}),
            (node("a"),),
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
            ""
            f"{CLAIMS}not eligible due to preemptionPolicy=Never.",
        ),
    ],
)
def test_message(wanted: Pod, nodes: tuple[Node, ...], message: str) -> None:
    assert where(wanted, cluster(*nodes)) == message


def test_room_that_other_pods_take_is_no_victims() -> None:
    state = cluster(node("a", cpu="1"), pods=(pod("old", on="a", cpu="800m"),))
    assert where(pod("p", cpu="300m"), state) == (
        f"0/1 nodes are available: 1 Insufficient cpu. {CLAIMS}0/1 nodes are available: 1 {NO_VICTIMS}."
    )
    assert where(pod("p", cpu="200m"), state) == "a"


def test_number_of_pods_is_a_resource() -> None:
    state = cluster(node("a", pods="1"), pods=(pod("old", on="a"),))
    assert "1 Too many pods" in where(pod("p"), state)


def test_extended_resources_count() -> None:
    gpu = pod("p")
    wanted = pod("p", containers=[{"name": "m", "resources": {"requests": {"example.com/gpu": "2"}}}])
    assert "1 Insufficient example.com/gpu" in where(wanted, cluster(node("a", **{"example.com/gpu": "1"})))
    assert where(wanted, cluster(node("a", **{"example.com/gpu": "2"}))) == "a"
    assert where(gpu, cluster(node("a"))) == "a"


@pytest.mark.parametrize(
    ("taken", "asked", "free"),
    [
        (80, 80, False),
        (80, 81, True),
        (("", "UDP", 80), 80, True),
        (("10.0.0.1", "TCP", 80), ("10.0.0.2", "TCP", 80), True),
        (("10.0.0.1", "TCP", 80), ("10.0.0.1", "TCP", 80), False),
        (80, ("10.0.0.1", "TCP", 80), False),
        (("10.0.0.1", "TCP", 80), 80, False),
    ],
)
def test_host_ports(taken: Any, asked: Any, free: bool) -> None:
    state = cluster(node("a"), pods=(pod("old", on="a", host_ports=(taken,)),))
    answer = where(pod("p", host_ports=(asked,)), state)
    assert answer == ("a" if free else (
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. "
        f"" f"{CLAIMS}0/1 nodes are available: 1 {NO_VICTIMS}."
    ))  # fmt: skip


def test_a_pinned_pod_names_the_other_nodes_as_kubernetes_does() -> None:
    rule = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": rule}}
    state = cluster(node("a"), node("b"), node("c"), pods=(pod("old", on="a", host_ports=(80,)),))
    assert where(pod("p", affinity=affinity, host_ports=(80,)), state) == (
        "0/3 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, "
        "2 node(s) didn't satisfy plugin(s) [NodeAffinity]. "
        f"{CLAIMS}0/3 nodes are available: "
        f"1 {NO_VICTIMS}, 2 {NOT_HELPFUL}."
    )
    assert where(pod("p", affinity=affinity, host_ports=(81,)), state) == "a"


def test_tolerated_taints_admit() -> None:
    state = cluster(node("a", taints=TAINTED))
    assert where(pod("p", tolerations=[{"key": "dedicated", "operator": "Exists"}]), state) == "a"
    cordoned = cluster(node("a", unschedulable=True))
    key = "node.kubernetes.io/unschedulable"
    assert where(pod("p", tolerations=[{"key": key, "operator": "Exists"}]), cordoned) == "a"


# -- requests -----------------------------------------------------------------------------------------------------


def container(name: str, cpu: str, *, sidecar: bool = False) -> dict[str, Any]:
    more = {"restartPolicy": "Always"} if sidecar else {}
    return {"name": name, "resources": {"requests": {"cpu": cpu}}, **more}


@pytest.mark.parametrize(
    ("inits", "containers", "milli"),
    [
        ([], [container("a", "100m"), container("b", "0.2")], 300),
        ([container("i", "500m")], [container("a", "100m")], 500),
        ([container("s", "50m", sidecar=True)], [container("a", "100m")], 150),
        ([container("s", "50m", sidecar=True), container("i", "500m")], [container("a", "100m")], 550),
        ([container("i", "500m"), container("s", "50m", sidecar=True)], [container("a", "100m")], 500),
        (
            [container("s", "300m", sidecar=True), container("i", "1m"), container("t", "300m", sidecar=True)],
            [container("a", "1m")],
            601,
        ),
    ],
)
def test_what_a_pod_asks_for(inits: list[Any], containers: list[Any], milli: int) -> None:
    spec = pod("p", initContainers=inits, containers=containers, overhead={"cpu": "10m"}).spec
    assert pod_requests(spec) == {"cpu": milli + 10}


# -- scores -------------------------------------------------------------------------------------------------------


def test_pods_of_one_owner_spread() -> None:
    state = cluster(node("a"), node("b"), node("c"))
    placed = place_all(state, *(pod(f"p{number}", owned_by="web") for number in range(9)))
    assert Counter(placed) == {"a": 3, "b": 3, "c": 3}


def test_owners_spread_over_zones_too() -> None:
    zone = "topology.kubernetes.io/zone"
    state = cluster(node("a", labels={zone: "1"}), node("b", labels={zone: "1"}), node("c", labels={zone: "2"}))
    assert place_all(state, pod("p0", owned_by="w"), pod("p1", owned_by="w")) == ["a", "c"]


def test_the_emptier_node_is_preferred() -> None:
    assert where(pod("p"), cluster(node("a"), node("b"), pods=(pod("old", on="a", cpu="1"),))) == "b"


def test_preferences() -> None:
    avoided = [{"key": "k", "effect": "PreferNoSchedule"}]
    assert where(pod("p"), cluster(node("a", taints=avoided), node("b"))) == "b"
    rule = [{"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]
    wish = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": rule}}
    assert where(pod("p", affinity=wish), cluster(node("a"), node("b", labels={"disk": "ssd"}))) == "b"


def test_ties_are_decided_by_name() -> None:
    assert where(pod("p"), cluster(node("b"), node("a"), node("c"))) == "a"


# -- pods near and away from others -------------------------------------------------------------------------------

HOST = "kubernetes.io/hostname"


def near(kind: str, labels: dict[str, str], *, key: str = HOST, **more: Any) -> dict[str, Any]:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": labels}, **more}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_required_pod_affinity() -> None:
    state = cluster(node("a"), node("b"), pods=(pod("db", on="b", labels={"app": "db"}),))
    assert where(pod("p", affinity=near("podAffinity", {"app": "db"})), state) == "b"
    assert "2 node(s) didn't match pod affinity rules" in where(
        pod("p", affinity=near("podAffinity", {"app": "x"})), state
    )


def test_the_first_pod_that_wants_its_own_kind_may_start() -> None:
    wanted = pod("p", labels={"app": "x"}, affinity=near("podAffinity", {"app": "x"}))
    assert where(wanted, cluster(node("a"))) == "a"


def test_affinity_looks_into_the_namespaces_it_names() -> None:
    spaces = {"default": {}, "data": {"team": "blue"}}
    there = pod("db", on="b", namespace="data", labels={"app": "db"})
    state = cluster(node("a"), node("b"), pods=(there,), namespaces=spaces)
    assert "didn't match pod affinity" in where(pod("p", affinity=near("podAffinity", {"app": "db"})), state)
    for where_to in ({"namespaces": ["data"]}, {"namespaceSelector": {"matchLabels": {"team": "blue"}}},
                     {"namespaceSelector": {}}):  # fmt: skip
        assert where(pod("p", affinity=near("podAffinity", {"app": "db"}, **where_to)), state) == "b"


def test_anti_affinity_works_both_ways() -> None:
    away = near("podAntiAffinity", {"app": "web"})
    first = pod("one", on="a", labels={"app": "web"}, affinity=away)
    state = cluster(node("a"), node("b"), pods=(first,))
    assert where(pod("two", labels={"app": "web"}, affinity=away), state) == "b"
    only = cluster(node("a"), pods=(first,))
    assert "1 node(s) didn't match pod anti-affinity rules" in where(pod("p", affinity=away), only)
    assert "1 node(s) didn't satisfy existing pods anti-affinity rules" in where(pod("p", labels={"app": "web"}), only)


def test_match_label_keys_narrow_to_the_pods_own_value() -> None:
    away = near("podAntiAffinity", {"app": "web"}, matchLabelKeys=["rev"])
    state = cluster(node("a"), pods=(pod("old", on="a", labels={"app": "web", "rev": "1"}),))
    assert where(pod("p", labels={"app": "web", "rev": "2"}, affinity=away), state) == "a"
    assert "anti-affinity" in where(pod("p", labels={"app": "web", "rev": "1"}, affinity=away), state)


def test_preferred_affinity_attracts_both_ways() -> None:
    term = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": "db"}}}
    wish = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "podAffinityTerm": term}]}}  # fmt: skip
    there = pod("db", on="b", cpu="1", labels={"app": "db"})
    assert where(pod("p", affinity=wish), cluster(node("a"), node("b"), pods=(there,))) == "b"
    fond = pod("fond", on="b", cpu="1", affinity=wish)
    assert where(pod("p", labels={"app": "db"}), cluster(node("a"), node("b"), pods=(fond,))) == "b"


def constraint(**more: Any) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
        **more,
    }


def test_topology_spread() -> None:
    nodes = (node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"}))
    there = pod("old", on="a", labels={"app": "web"})
    wanted = pod("p", labels={"app": "web"}, topologySpreadConstraints=[constraint()])
    assert where(wanted, cluster(*nodes, pods=(there,))) == "b"
    full = cluster(nodes[0], node("b", labels={"zone": "2"}, cpu="0"), pods=(there,))
    limited = pod("p", cpu="1m", labels={"app": "web"}, topologySpreadConstraints=[constraint()])
    assert where(limited, full).startswith(
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints."
    )


def test_topology_spread_details() -> None:
    one = node("a", labels={"zone": "1"})
    web = {"labels": {"app": "web"}}
    need_two = pod("p", **web, topologySpreadConstraints=[constraint(minDomains=2)])
    assert "topology spread" in where(need_two, cluster(one, pods=(pod("old", on="a", **web),)))
    leaving = pod("old", on="a", deleting=True, **web)
    assert where(need_two, cluster(one, pods=(leaving,))) == "a"
    assert "(missing required label)" in where(need_two, cluster(node("x")))
    lenient = pod("p", **web, topologySpreadConstraints=[constraint(whenUnsatisfiable="ScheduleAnyway")])
    two = node("b", labels={"zone": "2"})
    assert where(lenient, cluster(one, two, pods=(pod("old", on="a", **web),))) == "b"
    assert where(lenient, cluster(node("x"))) == "x"


def test_excluded_nodes_do_not_count_as_domains() -> None:
    nodes = (node("a", labels={"zone": "1", "pool": "x"}), node("b", labels={"zone": "2"}))
    web = {"labels": {"app": "web"}, "nodeSelector": {"pool": "x"}}
    there = pod("old", on="a", labels={"app": "web"})
    honoured = pod("p", **web, topologySpreadConstraints=[constraint()])
    assert where(honoured, cluster(*nodes, pods=(there,))) == "a"
    ignored = pod("p", **web, topologySpreadConstraints=[constraint(nodeAffinityPolicy="Ignore")])
    assert "topology spread" in where(ignored, cluster(*nodes, pods=(there,)))


# -- properties ---------------------------------------------------------------------------------------------------

pods = st.builds(
    lambda number, cpu, port, label: pod(
        f"p{number}", cpu=f"{cpu}m", host_ports=(port,) if port else (), labels={"app": label}
    ),
    st.integers(0, 10**6), st.integers(0, 900), st.sampled_from([0, 0, 0, 80, 443]), st.sampled_from("ab"),
)  # fmt: skip


@given(st.lists(pods, max_size=12, unique_by=lambda each: each.name), st.lists(st.integers(0, 3), max_size=4))
def test_nothing_is_placed_where_it_does_not_fit(wanted: list[Pod], sizes: list[int]) -> None:
    state = cluster(*(node(f"n{at}", cpu=str(size), pods="4") for at, size in enumerate(sizes)))
    for each in wanted:
        info = pod_info(each)
        outcome = schedule(info, state)
        fitting = [there.name for there in state.nodes() if reject(info, there) is None]
        if isinstance(outcome, Placed):
            assert outcome.node in fitting
            state.place(info, outcome.node)
        else:
            assert not fitting
    for there in state.nodes():
        assert there.used.get("cpu", 0) <= there.allocatable["cpu"]
        assert len(there.pods) <= 4
        assert all(count == 1 for count in there.ports.values())


@given(st.lists(pods, max_size=12, unique_by=lambda each: each.name), st.data())
def test_counting_out_undoes_counting_in(wanted: list[Pod], data: st.DataObject) -> None:
    state = cluster(node("a"), node("b"))
    for each in wanted:
        state.place(pod_info(each), data.draw(st.sampled_from("ab")))
    for each in data.draw(st.permutations(wanted)):
        state.place(pod_info(each), data.draw(st.sampled_from("ab")))
        state.remove(each.uid)
    for there in state.nodes():
        assert not any(there.used.values())
        assert (there.ports, there.owners, there.pods) == ({}, {}, {})


def test_what_waiting_pods_are_told_to_wait_for() -> None:
    outcome = schedule(pod_info(pod("p", cpu="9")), cluster(node("a"), node("b", taints=TAINTED)))
    assert isinstance(outcome, Unschedulable)
    assert outcome.filters == {Filter.FIT, Filter.TAINTS}


def test_pods_may_arrive_before_their_node() -> None:
    state = cluster(pods=(pod("early", on="late", cpu="3"),))
    assert where(pod("p", cpu="2"), state) == NO_NODES
    state.set_node(node("late"))
    assert "Insufficient cpu" in where(pod("p", cpu="2"), state)
    state.remove_node("late")
    state.remove("uid-early")
    state.set_node(node("late"))
    assert where(pod("p", cpu="2"), state) == "late"


def test_a_burst_is_spread_without_a_watch() -> None:
    state = cluster(node("a", cpu="64", pods="500"), node("b", cpu="64", pods="500"))
    burst = [pod_info(pod(f"p{number}", owned_by="web", cpu="10m")) for number in range(300)]
    for info in burst:
        outcome = schedule(info, state)
        assert isinstance(outcome, Placed)
        state.place(info, outcome.node)
    assert Counter(state.node_of(info.uid) for info in burst) == {"a": 150, "b": 150}


def test_pods_of_one_service_are_spread_although_nobody_owns_them() -> None:
    web = {"app": "web"}
    state = cluster(node("a"), node("b"), pods=(pod("old", on="b", labels=web), pod("x", on="a"), pod("y", on="a")))
    assert where(pod("p", labels=web), state) == "b"
    state.services["default"] = {"web": web}
    assert where(pod("p", labels=web), state) == "a"


def test_a_node_is_filled_evenly() -> None:
    state = cluster(
        node("a", cpu="10", memory="10Gi"), node("b", cpu="10", memory="10Gi"),
        pods=(pod("a1", on="a", cpu="4", memory="1Gi"), pod("b1", on="b", cpu="1", memory="4Gi")),
    )  # fmt: skip
    assert where(pod("p", cpu="3", memory="1Gi"), state) == "b"
    assert where(pod("p", cpu="1", memory="3Gi"), state) == "a"


def test_requests_of_the_whole_pod_take_the_place_of_its_containers() -> None:
    wanted = pod("p", cpu="1", memory="1Gi", resources={"requests": {"cpu": "3"}}, overhead={"cpu": "500m"})
    assert pod_requests(wanted.spec) == {"cpu": 3500, "memory": 1 << 30}
