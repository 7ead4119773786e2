"""Which volume a claim gets: the smallest one that offers what it asks for. Pure.

Rules: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding
"""

from __future__ import annotations

from collections.abc import Iterable

from wherry.kube import selectors
from wherry.kube.objects import Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim
from wherry.kube.quantity import parse
from wherry.workloads.storage.names import BETA_CLASS


def class_of(obj: PersistentVolume | PersistentVolumeClaim) -> str:
    """The class of a claim or volume, by its annotation of old or by its spec."""
    return obj.metadata.annotations.get(BETA_CLASS) or obj.spec.storage_class_name or ""


def is_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether a volume is bound to a claim or set aside for it."""
    reference = volume.spec.claim_ref
    if reference is None or (reference.namespace, reference.name) != (claim.namespace, claim.name):
        return False
    return reference.uid in ("", claim.uid)


def mismatch(volume: PersistentVolume, claim: PersistentVolumeClaim) -> str:
    """Why a volume that a claim names cannot serve it; empty where it can."""
    asked = claim.spec.resources.requests.get("storage", 0)
    if parse(volume.spec.capacity.get("storage", 0)) < parse(asked):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if (volume.spec.volume_mode or "Filesystem") != (claim.spec.volume_mode or "Filesystem"):
        return "incompatible volumeMode"
    if not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
        return "incompatible accessMode"
    return ""


def best_match(
    claim: PersistentVolumeClaim, volumes: Iterable[PersistentVolume], *, waits: bool, node: Node | None
) -> PersistentVolume | None:
    """The volume for a claim that names none.

    One that is set aside for the claim comes first. A claim that ``waits`` for its first consumer gets no other; once
    ``node`` is chosen, the volume must be reachable from there.
    """
    selector = selectors.from_object(claim.spec.selector) if claim.spec.selector is not None else None
    found: list[PersistentVolume] = []
    for volume in volumes:
        if volume.deleting:
            continue
        if is_for(volume, claim):
            if mismatch(volume, claim) in ("", "storageClassName does not match"):
                return volume
            continue
        if waits or volume.spec.claim_ref is not None or volume.status.phase != "Available":
            continue
        if mismatch(volume, claim) or (selector is not None and not selector.matches(volume.labels)):
            continue
        if node is not None and not reachable(volume, node):
            continue
        found.append(volume)
    return min(found, key=lambda one: (parse(one.spec.capacity.get("storage", 0)), one.name), default=None)


def reachable(volume: PersistentVolume, node: Node) -> bool:
    """Whether a volume's node affinity admits a node; the terms are alternatives."""
    affinity = volume.spec.node_affinity
    if affinity is None or affinity.required is None:
        return True
    return any(_term(term, node) for term in affinity.required.node_selector_terms)


def _term(term: NodeSelectorTerm, node: Node) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    return all(_holds(one, node.labels.get(one.key)) for one in term.match_expressions) and all(
        _holds(one, node.name if one.key == "metadata.name" else None) for one in term.match_fields
    )


def _holds(requirement: NodeSelectorRequirement, value: str | None) -> bool:
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    if value is None or len(requirement.values) != 1:
        return False
    try:
        number, bound = int(value), int(requirement.values[0])
    except ValueError:
        return False
    return number > bound if requirement.operator == "Gt" else number < bound
