"""Whether a node's names, labels and taints admit a pod: the part of placement that ignores what runs there.

The scheduler, the daemon set controller and taint eviction share these rules, so that a daemon pod is made exactly
where the scheduler will put it. Rules: https://kubernetes.io/docs/concepts/scheduling-eviction/ (assign-pod-node,
taint-and-toleration).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from wherry.kube.objects import (
    Node,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodSpec,
    Taint,
    Toleration,
)

NO_SCHEDULE = "NoSchedule"
PREFER_NO_SCHEDULE = "PreferNoSchedule"
NO_EXECUTE = "NoExecute"

TAINT_NOT_READY = "node.kubernetes.io/not-ready"
TAINT_UNREACHABLE = "node.kubernetes.io/unreachable"
TAINT_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
TAINT_MEMORY_PRESSURE = "node.kubernetes.io/memory-pressure"
TAINT_DISK_PRESSURE = "node.kubernetes.io/disk-pressure"
TAINT_PID_PRESSURE = "node.kubernetes.io/pid-pressure"
TAINT_NETWORK_UNAVAILABLE = "node.kubernetes.io/network-unavailable"
TAINT_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"

_INTEGER = re.compile(r"[+-]?\d+")


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration covers one taint; an empty key with ``Exists`` covers all, an empty effect any effect."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    match toleration.operator:
        case "Exists":
            return True
        case "" | "Equal":
            return bool(toleration.key) and toleration.value == taint.value
    return False


def untolerated_taint(
    taints: Iterable[Taint], tolerations: tuple[Toleration, ...], effects: tuple[str, ...] = (NO_SCHEDULE, NO_EXECUTE)
) -> Taint | None:
    """The first taint with one of the effects that nothing tolerates."""
    for taint in taints:
        if taint.effect in effects and not any(tolerates(toleration, taint) for toleration in tolerations):
            return taint
    return None


def requirement_matches(requirement: NodeSelectorRequirement, values: Mapping[str, str]) -> bool:
    """Whether one node selector expression holds over labels (or fields)."""
    value = values.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            if value is None or len(requirement.values) != 1:
                return False
            if not (_INTEGER.fullmatch(value) and _INTEGER.fullmatch(requirement.values[0])):
                return False
            bound = int(requirement.values[0])
            return int(value) > bound if requirement.operator == "Gt" else int(value) < bound
    return False


def term_matches(term: NodeSelectorTerm, node: Node) -> bool:
    """Whether a term holds; one without expressions matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.name}
    return all(requirement_matches(requirement, node.labels) for requirement in term.match_expressions) and all(
        requirement_matches(requirement, fields) for requirement in term.match_fields
    )


def selector_matches(selector: NodeSelector, node: Node) -> bool:
    """Whether one of the terms holds."""
    return any(term_matches(term, node) for term in selector.node_selector_terms)


def required_affinity(spec: PodSpec) -> NodeSelector | None:
    """The required node affinity of a pod, if any."""
    affinity = spec.affinity.node_affinity if spec.affinity else None
    return affinity.required if affinity else None


def affinity_matches(spec: PodSpec, node: Node) -> bool:
    """Whether ``nodeSelector`` and the required node affinity admit the node."""
    if any(node.labels.get(key) != value for key, value in spec.node_selector.items()):
        return False
    required = required_affinity(spec)
    return required is None or selector_matches(required, node)


def pinned_nodes(spec: PodSpec) -> frozenset[str] | None:
    """Names of the only nodes that the affinity can match because every term fixes ``metadata.name``; None if open."""
    required = required_affinity(spec)
    if required is None or not required.node_selector_terms:
        return None
    names: set[str] = set()
    for term in required.node_selector_terms:
        fixed = [
            set(field.values) for field in term.match_fields if field.key == "metadata.name" and field.operator == "In"
        ]
        if not fixed:
            return None
        names |= set.intersection(*fixed)
    return frozenset(names)
