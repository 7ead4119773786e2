from __future__ import annotations

from collections import Counter

from tests.workloads.make import START, meta, of
from wherry.kube.objects import Namespace
from wherry.kube.times import format_time
from wherry.workloads.discovery import read_list
from wherry.workloads.namespaces import Findings, conditions


def rows(found: Findings, namespace: Namespace | None = None, now: float = START) -> dict[str, tuple[str, str, str]]:
    target = namespace or of(Namespace, {"metadata": meta("team")})
    return {each.type: (each.status, each.reason, each.message) for each in conditions(target, found, now)}


def test_conditions_of_an_empty_namespace() -> None:
    assert rows(Findings()) == {
        "NamespaceDeletionDiscoveryFailure": (
            "False", "ResourcesDiscovered", "All resources successfully discovered"),
        "NamespaceDeletionGroupVersionParsingFailure": (
            "False", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
        "NamespaceDeletionContentFailure": (
            "False", "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        "NamespaceContentRemaining": ("False", "ContentRemoved", "All content successfully removed"),
        "NamespaceFinalizersRemaining": (
            "False", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
    }  # fmt: skip


def test_conditions_say_what_blocks() -> None:
    found = Findings(
        undiscovered={"metrics.k8s.io/v1": "no answer"},
        errors=["widgets.x: refused"],
        remaining=Counter({"pods.": 2, "widgets.x": 1}),
        finalizers=Counter({"x/hold": 1}),
    )
    assert not found.empty
    said = rows(found)
    assert said["NamespaceContentRemaining"] == (
        "True", "SomeResourcesRemain",
        "Some resources are remaining: pods. has 2 resource instances, widgets.x has 1 resource instances",
    )  # fmt: skip
    assert said["NamespaceFinalizersRemaining"] == (
        "True", "SomeFinalizersRemain",
        "Some content in the namespace has finalizers remaining: x/hold in 1 resource instances",
    )  # fmt: skip
    assert said["NamespaceDeletionDiscoveryFailure"][2] == (
        "Discovery failed for some groups, 1 failing: metrics.k8s.io/v1: no answer"
    )
    assert said["NamespaceDeletionContentFailure"][1] == "ContentDeletionFailed"


def test_unchanged_conditions_keep_their_times_and_foreign_ones_stay() -> None:
    stamp = format_time(START - 60)
    remains = {"type": "NamespaceContentRemaining", "status": "True", "lastTransitionTime": stamp}
    there = {"metadata": meta("team"), "status": {"conditions": [{"type": "Mine", "status": "True"}, remains]}}
    namespace = of(Namespace, there)
    found = conditions(namespace, Findings(remaining=Counter({"pods.": 1})), START)
    times = {each.type: each.last_transition_time for each in found}
    assert times["NamespaceContentRemaining"] == stamp
    assert times["NamespaceFinalizersRemaining"] == format_time(START)
    assert "Mine" in times


def test_discovery_leaves_subresources_out() -> None:
    body = {
        "groupVersion": "apps/v1",
        "resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": ["list", "delete"]},
            {"name": "deployments/scale", "kind": "Scale", "namespaced": True, "group": "autoscaling", "version": "v1"},
        ],
    }
    (found,) = read_list(body)
    assert (found.kind.api_version, found.kind.plural, found.verbs) == ("apps/v1", "deployments", {"list", "delete"})
    assert read_list({"groupVersion": "v1", "resources": None}) == []
