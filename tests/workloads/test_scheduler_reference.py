"""The filters against an evaluator that follows the definitions word by word, over random clusters and pods."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads.make import node, pod
from wherry.kube.objects import Node, Pod
from wherry.workloads.scheduler import filters
from wherry.workloads.scheduler.affinity import PodAffinity
from wherry.workloads.scheduler.model import Cluster, pod_info
from wherry.workloads.scheduler.spread import Spread

ZONE, HOST = "zone", "kubernetes.io/hostname"
KEYS = st.sampled_from([ZONE, HOST])
APPS = st.sampled_from(["a", "b"])

taints = st.lists(
    st.fixed_dictionaries({
        "key": st.sampled_from(["t", "u"]),
        "value": st.sampled_from(["1", "2"]),
        "effect": st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"]),
    }),
    max_size=2,
)  # fmt: skip
tolerations = st.lists(
    st.fixed_dictionaries({
        "key": st.sampled_from(["t", "u", ""]),
        "operator": st.sampled_from(["Equal", "Exists"]),
        "value": st.sampled_from(["1", "2"]),
        "effect": st.sampled_from(["NoSchedule", "NoExecute", ""]),
    }).map(lambda each: {**each, "operator": "Exists", "value": ""} if not each["key"] else each),
    max_size=2,
)  # fmt: skip
rules = st.fixed_dictionaries({
    "key": st.sampled_from([ZONE, "size"]),
    "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]),
    "values": st.sampled_from(["x", "y", "3", "5"]).map(lambda value: [value]),
})  # fmt: skip
terms = st.lists(
    st.builds(
        lambda key, app: {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}, KEYS, APPS
    ),
    max_size=2,
)  # fmt: skip
spreads = st.lists(
    st.fixed_dictionaries({
        "topologyKey": KEYS,
        "maxSkew": st.integers(1, 2),
        "whenUnsatisfiable": st.just("DoNotSchedule"),
        "labelSelector": APPS.map(lambda app: {"matchLabels": {"app": app}}),
        "nodeTaintsPolicy": st.sampled_from(["Honor", "Ignore"]),
        "nodeAffinityPolicy": st.sampled_from(["Honor", "Ignore"]),
    }, optional={"minDomains": st.integers(1, 3)}),
    max_size=2, unique_by=lambda each: each["topologyKey"],
)  # fmt: skip
labels = st.fixed_dictionaries(
    {}, optional={ZONE: st.sampled_from(["x", "y"]), "size": st.sampled_from(["3", "4", "z"])}
)


@st.composite
def nodes(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(1, 4))
    return [node(f"n{number}", labels=draw(labels), taints=draw(taints)) for number in range(count)]


@st.composite
def wanted(draw: st.DrawFn, name: str, **more: Any) -> Pod:
    affinity: dict[str, Any] = {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    if draw(st.booleans()):
        found = draw(st.lists(rules, min_size=1, max_size=2))
        affinity["nodeAffinity"] = {required: {"nodeSelectorTerms": [{"matchExpressions": [each]} for each in found]}}
    affinity["podAffinity"] = {required: draw(terms) if draw(st.booleans()) else []}
    affinity["podAntiAffinity"] = {required: draw(terms) if draw(st.booleans()) else []}
    return pod(
        name,
        labels={"app": draw(APPS)},
        affinity=affinity,
        tolerations=draw(tolerations),
        topologySpreadConstraints=draw(spreads),
        **more,
    )


# -- the definitions --------------------------------------------------------------------------------------------------


def tolerated(each: Pod, there: Node) -> bool:
    def covers(toleration: Any, taint: Any) -> bool:
        if toleration.effect not in ("", taint.effect):
            return False
        if toleration.key == "":
            return bool(toleration.operator == "Exists")
        return bool(
            toleration.key == taint.key and (toleration.operator == "Exists" or toleration.value == taint.value)
        )

    hard = [taint for taint in there.spec.taints if taint.effect != "PreferNoSchedule"]
    return all(any(covers(toleration, taint) for toleration in each.spec.tolerations) for taint in hard)


def attracted(each: Pod, there: Node) -> bool:
    affinity = each.spec.affinity
    assert affinity is not None
    if affinity.node_affinity is None or affinity.node_affinity.required is None:
        return True

    def holds(rule: Any) -> bool:
        value = there.labels.get(rule.key)
        if rule.operator in ("Gt", "Lt"):
            if value is None or not value.isdecimal() or not rule.values[0].isdecimal():
                return False
            difference = int(value) - int(rule.values[0])
            return difference > 0 if rule.operator == "Gt" else difference < 0
        return {
            "In": value in rule.values,
            "NotIn": value not in rule.values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[rule.operator]  # fmt: skip

    return any(holds(term.match_expressions[0]) for term in affinity.node_affinity.required.node_selector_terms)


def about(term: Any, other: Pod) -> bool:
    return bool(other.labels["app"] == term.label_selector.match_labels["app"])


def together(key: str, one: Node, two: Node) -> bool:
    return key in one.labels and one.labels.get(key) == two.labels.get(key)


def required(each: Pod, which: str) -> Any:
    found = getattr(each.spec.affinity, which) if each.spec.affinity else None
    return found.required if found else ()


def neighbourly(each: Pod, there: Node, placed: list[tuple[Pod, Node]]) -> bool:
    near = required(each, "pod_affinity")
    friends = [where for other, where in placed if all(about(term, other) for term in near)]
    for term in near:
        if term.topology_key not in there.labels:
            return False
        # Nobody to be near to anywhere, and the pod would be its own friend.
        known = any(one.topology_key in where.labels for where in friends for one in near)
        first = not known and all(about(one, each) for one in near)
        if not first and not any(together(term.topology_key, there, where) for where in friends):
            return False
    for other, where in placed:
        if any(
            about(term, other) and together(term.topology_key, there, where)
            for term in required(each, "pod_anti_affinity")
        ):
            return False
        if any(
            about(term, each) and together(term.topology_key, there, where)
            for term in required(other, "pod_anti_affinity")
        ):
            return False
    return True


def even(each: Pod, there: Node, everywhere: list[Node], placed: list[tuple[Pod, Node]]) -> bool:
    constraints = each.spec.topology_spread_constraints
    for constraint in constraints:
        key = constraint.topology_key
        if key not in there.labels:
            return False
        counted = [
            one
            for one in everywhere
            if all(other.topology_key in one.labels for other in constraints)
            and (constraint.node_affinity_policy == "Ignore" or attracted(each, one))
            and (constraint.node_taints_policy == "Ignore" or tolerated(each, one))
        ]
        domains: Counter[str] = Counter({one.labels[key]: 0 for one in counted})
        for other, where in placed:
            if where in counted and about(constraint, other):
                domains[where.labels[key]] += 1
        least = min(domains.values(), default=0) if len(domains) >= (constraint.min_domains or 1) else 0
        if domains[there.labels[key]] + about(constraint, each) - least > constraint.max_skew:
            return False
    return True


@settings(max_examples=150)
@given(st.data())
def test_filters_do_as_defined(data: st.DataObject) -> None:
    there = data.draw(nodes())
    state = Cluster()
    state.namespaces["default"] = {}
    for each in there:
        state.set_node(each)
    placed: list[tuple[Pod, Node]] = []
    for number in range(data.draw(st.integers(0, 4))):
        where = data.draw(st.sampled_from(there))
        other = data.draw(wanted(f"other{number}", on=where.name))
        placed.append((other, where))
        state.place(pod_info(other), where.name)
    candidate = data.draw(wanted("candidate"))
    info = pod_info(candidate)
    near, spread = PodAffinity(info, state), Spread(info, state.nodes())
    for one in there:
        on = state.node(one.name)
        assert on is not None
        rejection = filters.reject(info, on) or spread.reject(on) or near.reject(on)
        expected = (
            tolerated(candidate, one)
            and attracted(candidate, one)
            and even(candidate, one, there, placed)
            and neighbourly(candidate, one, placed)
        )
        assert (rejection is None) == expected, (one.name, rejection)
