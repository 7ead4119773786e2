"""Which replica set is which: the newest template, its number, the annotations that record both. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wherry.kube.objects import LabelSelector
from wherry.workloads import templates
from wherry.workloads.kinds import DEPLOYMENTS, Deployment, ReplicaSet, controller_reference

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"

_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
    }
)


def revision(annotations: dict[str, str]) -> int:
    """The revision that annotations record; 0 when they do not."""
    text = annotations.get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def by_age(sets: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """Oldest first."""
    return sorted(sets, key=lambda each: (each.metadata.creation_timestamp or "", each.name))


def newest(deployment: Deployment, sets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The replica set that has the deployment's template; the oldest of several."""
    wanted = templates.normal(deployment.spec.template, without=(HASH_LABEL,))
    for each in by_age(sets):
        if templates.normal(each.spec.template, without=(HASH_LABEL,)) == wanted:
            return each
    return None


def next_revision(old: Sequence[ReplicaSet]) -> int:
    """The number of the newest template, given the replica sets of all others."""
    return max((revision(each.metadata.annotations) for each in old), default=0) + 1


def size_annotations(deployment: Deployment, surge: int) -> dict[str, str]:
    """What a replica set notes of the deployment's size when it is scaled, so that a change of it can be shared."""
    return {
        DESIRED_REPLICAS: str(deployment.spec.replicas),
        MAX_REPLICAS: str(deployment.spec.replicas + surge),
    }


def inherited(deployment: Deployment) -> dict[str, str]:
    """The deployment's annotations that its newest replica set carries too."""
    return {key: value for key, value in deployment.metadata.annotations.items() if key not in _NOT_COPIED}


def annotations_of_newest(deployment: Deployment, new: ReplicaSet, number: int) -> dict[str, str]:
    """Annotations of the newest replica set that have to change, with their values."""
    have = new.metadata.annotations
    wanted = inherited(deployment)
    current = revision(have)
    if current < number:
        wanted[REVISION] = str(number)
        if current:
            earlier = have.get(REVISION_HISTORY, "")
            wanted[REVISION_HISTORY] = f"{earlier},{current}" if earlier else str(current)
    return {key: value for key, value in wanted.items() if have.get(key) != value}


def new_replica_set(deployment: Deployment, *, replicas: int, number: int, surge: int) -> dict[str, Any]:
    """The replica set for the deployment's template, as plain data."""
    digest = templates.template_hash(deployment.spec.template, deployment.status.collision_count)
    template = templates.with_labels(deployment.spec.template, {HASH_LABEL: digest})
    selector = deployment.spec.selector
    narrowed = LabelSelector(
        match_labels={**selector.match_labels, HASH_LABEL: digest}, match_expressions=selector.match_expressions
    )
    annotations = inherited(deployment) | size_annotations(deployment, surge) | {REVISION: str(number)}
    return {
        "metadata": {
            "name": f"{deployment.name}-{digest}",
            "namespace": deployment.namespace,
            "labels": templates.labels(template),
            "annotations": annotations,
            "ownerReferences": [templates.plain(controller_reference(DEPLOYMENTS, deployment))],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": deployment.spec.min_ready_seconds,
            "selector": templates.plain(narrowed),
            "template": template,
        },
    }
