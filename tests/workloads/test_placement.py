from __future__ import annotations

from typing import Any

import pytest

from tests.workloads.make import node, of, pod
from wherry.kube.objects import Taint, Toleration
from wherry.workloads import placement

TAINT = Taint(key="dedicated", value="gpu", effect="NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "covered"),
    [
        ({"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}, True),
        ({"key": "dedicated", "value": "gpu"}, True),
        ({"key": "dedicated", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "dedicated", "value": "cpu"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"value": "gpu"}, False),
    ],
)
def test_toleration(toleration: dict[str, Any], covered: bool) -> None:
    assert placement.tolerates(of(Toleration, toleration), TAINT) is covered


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("terms", "matches"),
    [
        ([{"matchExpressions": [expression("disk", "In", "ssd", "nvme")]}], True),
        ([{"matchExpressions": [expression("disk", "NotIn", "ssd")]}], False),
        ([{"matchExpressions": [expression("gpu", "NotIn", "a")]}], True),
        ([{"matchExpressions": [expression("disk", "Exists"), expression("gpu", "DoesNotExist")]}], True),
        ([{"matchExpressions": [expression("cores", "Gt", "7")]}], True),
        ([{"matchExpressions": [expression("cores", "Lt", "8")]}], False),
        ([{"matchExpressions": [expression("disk", "Gt", "1")]}], False),
        ([{"matchExpressions": [expression("disk", "In", "hdd")]}, {"matchFields": [
            expression("metadata.name", "In", "a")]}], True),
        ([{"matchFields": [expression("metadata.name", "NotIn", "a")]}], False),
        ([{}], False),
        ([], False),
    ],
)  # fmt: skip
def test_required_node_affinity(terms: list[dict[str, Any]], matches: bool) -> None:
    wanted = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    spec = pod("p", affinity=wanted).spec
    assert placement.affinity_matches(spec, node("a", labels={"disk": "ssd", "cores": "8"})) is matches


def test_node_selector_needs_every_label() -> None:
    machine = node("a", labels={"disk": "ssd"})
    assert placement.affinity_matches(pod("p", nodeSelector={"disk": "ssd"}).spec, machine)
    assert not placement.affinity_matches(pod("p", nodeSelector={"disk": "ssd", "x": "y"}).spec, machine)


def test_pinned_nodes() -> None:
    def pinned(*terms: dict[str, Any]) -> frozenset[str] | None:
        rule = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
        return placement.pinned_nodes(pod("p", affinity={"nodeAffinity": rule}).spec)

    by_name = {"matchFields": [expression("metadata.name", "In", "a")]}
    assert pinned(by_name) == {"a"}
    assert pinned(by_name, {"matchFields": [expression("metadata.name", "In", "b")]}) == {"a", "b"}
    assert pinned(by_name, {"matchExpressions": [expression("disk", "Exists")]}) is None
    assert placement.pinned_nodes(pod("p").spec) is None
