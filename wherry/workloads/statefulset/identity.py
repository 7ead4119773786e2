"""The name, labels and template of each pod of a stateful set. Pure.

Rules: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#pod-identity
"""

from __future__ import annotations

import re
from typing import Any

from wherry.kube.objects import Pod
from wherry.workloads import templates
from wherry.workloads.kinds import STATEFUL_SETS, ControllerRevision, StatefulSet, Template, controller_reference
from wherry.workloads.statefulset import volumes

REVISION_LABEL = "controller-revision-hash"
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"

_ORDINAL = re.compile(r"(?:0|[1-9][0-9]{0,9})")


def pod_name(stateful_set: StatefulSet, ordinal: int) -> str:
    """The name of the pod with an ordinal."""
    return f"{stateful_set.name}-{ordinal}"


def ordinal_of(stateful_set: StatefulSet, pod: Pod) -> int | None:
    """The ordinal in a pod's name; None when it has no name that the set would give."""
    parent, _, number = pod.name.rpartition("-")
    if parent != stateful_set.name or not _ORDINAL.fullmatch(number):
        return None
    return int(number)


def ordinals(stateful_set: StatefulSet) -> range:
    """The ordinals of the pods that the set wants."""
    start = stateful_set.spec.ordinals.start if stateful_set.spec.ordinals else 0
    return range(start, start + stateful_set.spec.replicas)


def revision_of(pod: Pod) -> str:
    """The name of the revision a pod was made of."""
    return pod.labels.get(REVISION_LABEL, "")


def labels(name: str, ordinal: int) -> dict[str, str]:
    """The labels by which a pod is found by its name and by its index."""
    return {POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal)}


def correction(stateful_set: StatefulSet, pod: Pod, ordinal: int) -> dict[str, Any]:
    """The strategic merge patch that gives an adopted pod its labels and volumes; empty when all is right.

    The server refuses to change the volumes of a pod that exists: such a pod says so in an event until it is deleted.
    """
    patch: dict[str, Any] = {}
    if pod.labels.get(POD_NAME_LABEL) != pod.name:
        patch["metadata"] = {"labels": labels(pod.name, ordinal)}
    mounted = {each.name: each.persistent_volume_claim for each in pod.spec.volumes}
    wanted = volumes.pod_volumes(stateful_set, ordinal)
    lacking = [
        each
        for each in wanted
        if (claim := mounted.get(each["name"])) is None
        or claim.claim_name != each["persistentVolumeClaim"]["claimName"]
    ]
    if lacking:
        patch["spec"] = {"volumes": lacking}
    return patch


def pod_for(
    stateful_set: StatefulSet, template: Template, revision: ControllerRevision, ordinal: int
) -> dict[str, Any]:
    """The pod with an ordinal, made of the template of a revision."""
    name = pod_name(stateful_set, ordinal)
    made = templates.pod_of(
        templates.with_labels(template, {**labels(name, ordinal), REVISION_LABEL: revision.name}),
        owner=controller_reference(STATEFUL_SETS, stateful_set),
        namespace=stateful_set.namespace,
        prefix=templates.name_prefix(stateful_set.name),
        name=name,
    )
    spec = made["spec"]
    spec["hostname"] = name
    spec["subdomain"] = stateful_set.spec.service_name
    claimed = volumes.pod_volumes(stateful_set, ordinal)
    taken = {each["name"] for each in claimed}
    spec["volumes"] = [*claimed, *(each for each in spec.get("volumes") or () if each["name"] not in taken)]
    return made
