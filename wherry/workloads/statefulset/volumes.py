"""The volume claims of a stateful set's pods and who owns them. Pure.

A claim has no owner while it is to be retained. With ``whenDeleted: Delete`` the set owns it, and with
``whenScaled: Delete`` the pod does as soon as it is scaled away, so that the garbage collector deletes the claim after
its owner. Rules: KEP-1847 and
https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention
"""

from __future__ import annotations

import copy
from typing import Any

from wherry.kube import kinds
from wherry.kube.objects import KubeObject, OwnerReference, PersistentVolumeClaim
from wherry.workloads import templates
from wherry.workloads.kinds import STATEFUL_SETS, StatefulSet, controller_reference

_DELETE = "Delete"


def claim_name(template: dict[str, Any], stateful_set: StatefulSet, ordinal: int) -> str:
    """The name of the claim that a template makes for one pod."""
    return f"{template['metadata']['name']}-{stateful_set.name}-{ordinal}"


def claim_names(stateful_set: StatefulSet, ordinal: int) -> list[str]:
    """The names of all claims of one pod."""
    return [claim_name(each, stateful_set, ordinal) for each in stateful_set.spec.volume_claim_templates]


def is_claim_of(stateful_set: StatefulSet, name: str) -> bool:
    """Whether a claim of this name belongs to some pod that the set has, had or will have."""
    prefix, _, number = name.rpartition("-")
    wanted = {f"{each['metadata']['name']}-{stateful_set.name}" for each in stateful_set.spec.volume_claim_templates}
    return number.isdecimal() and prefix in wanted


def pod_volumes(stateful_set: StatefulSet, ordinal: int) -> list[dict[str, Any]]:
    """The volumes of a pod that are its claims."""
    return [
        {
            "name": each["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": claim_name(each, stateful_set, ordinal)},
        }
        for each in stateful_set.spec.volume_claim_templates
    ]


def new_claim(template: dict[str, Any], stateful_set: StatefulSet, ordinal: int) -> dict[str, Any]:
    """The claim for one pod that the set wants, as plain data."""
    meta = template["metadata"]
    metadata: dict[str, Any] = {
        "name": claim_name(template, stateful_set, ordinal),
        "namespace": stateful_set.namespace,
        "labels": {**(meta.get("labels") or {}), **stateful_set.spec.selector.match_labels},
    }
    if notes := meta.get("annotations"):
        metadata["annotations"] = dict(notes)
    if stateful_set.spec.persistent_volume_claim_retention_policy.when_deleted == _DELETE:
        metadata["ownerReferences"] = [templates.plain(_by_set(stateful_set))]
    return {"metadata": metadata, "spec": copy.deepcopy(template.get("spec") or {})}


def is_stale(claim: PersistentVolumeClaim, stateful_set: StatefulSet, pod: str) -> bool:
    """Whether a claim still belongs to an earlier pod of that name and goes with it; a new pod waits for that."""
    policy = stateful_set.spec.persistent_volume_claim_retention_policy
    return policy.when_scaled == _DELETE and _another(claim, kinds.PODS.api_version, "Pod", pod, uid="")


def conflicting(claim: PersistentVolumeClaim, stateful_set: StatefulSet, pod: str, pod_uid: str) -> bool:
    """Whether something else manages a claim that the set should care for."""
    policy = stateful_set.spec.persistent_volume_claim_retention_policy
    if _DELETE not in (policy.when_deleted, policy.when_scaled):
        return False
    for reference in claim.metadata.owner_references:
        if _names(reference, STATEFUL_SETS.api_version, "StatefulSet", stateful_set.name):
            if reference.uid != stateful_set.uid:
                return True
        elif _names(reference, kinds.PODS.api_version, "Pod", pod):
            if reference.uid != pod_uid:
                return True
        elif reference.controller:
            return True
    return False


def owners(
    claim: PersistentVolumeClaim, stateful_set: StatefulSet, pod: str, pod_uid: str, *, wanted: bool
) -> tuple[OwnerReference, ...] | None:
    """The owners a claim should have, None when it has them; ``wanted`` tells whether the set wants this pod at all.

    What an earlier set or pod of the same name left is not touched. ``pod_uid`` is empty before the pod exists.
    """
    if _another(claim, STATEFUL_SETS.api_version, "StatefulSet", stateful_set.name, uid=stateful_set.uid):
        return None
    if _another(claim, kinds.PODS.api_version, "Pod", pod, uid=pod_uid):
        return None
    present = claim.metadata.owner_references
    mine = {stateful_set.uid, pod_uid} - {""}
    others = tuple(each for each in present if each.uid not in mine)
    policy = stateful_set.spec.persistent_volume_claim_retention_policy
    right = others
    if not conflicting(claim, stateful_set, pod, pod_uid):
        if policy.when_scaled == _DELETE and not wanted:
            right = (*others, _by_pod(pod, pod_uid))
        elif policy.when_deleted == _DELETE:
            right = (*others, _by_set(stateful_set))
    return None if _key(right) == _key(present) else right


def _key(references: tuple[OwnerReference, ...]) -> list[tuple[str, bool]]:
    return sorted((each.uid, each.controller) for each in references)


def _by_set(stateful_set: StatefulSet) -> OwnerReference:
    return controller_reference(STATEFUL_SETS, stateful_set)


def _by_pod(name: str, uid: str) -> OwnerReference:
    return OwnerReference(
        api_version=kinds.PODS.api_version, kind="Pod", name=name, uid=uid, controller=True, block_owner_deletion=True
    )


def _names(reference: OwnerReference, api_version: str, kind: str, name: str) -> bool:
    return (reference.api_version, reference.kind, reference.name) == (api_version, kind, name)


def _another(claim: KubeObject, api_version: str, kind: str, name: str, *, uid: str) -> bool:
    """Whether an object of the same name but not this uid is an owner."""
    return any(_names(each, api_version, kind, name) and each.uid != uid for each in claim.metadata.owner_references)
