"""Numbered snapshots of a daemon set's template, for ``kubectl rollout history`` and ``undo``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wherry.kube.objects import Pod
from wherry.workloads import templates
from wherry.workloads.daemonset.compile import HASH_LABEL, template_hash
from wherry.workloads.kinds import DAEMON_SETS, ControllerRevision, DaemonSet, controller_reference


@dataclass(frozen=True, slots=True)
class Plan:
    """A snapshot to create (plain data), one to give a new number, and old ones to delete."""

    create: dict[str, Any] | None = None
    renumber: tuple[ControllerRevision, int] | None = None
    delete: tuple[ControllerRevision, ...] = ()


def snapshot(daemon_set: DaemonSet) -> dict[str, Any]:
    """The patch that brings a daemon set back to its present template."""
    return {"spec": {"template": {**templates.normal(daemon_set.spec.template), "$patch": "replace"}}}


def same(revision: ControllerRevision, daemon_set: DaemonSet) -> bool:
    """Whether a snapshot is of the present template."""
    return bool(templates.normal(revision.data) == templates.normal(snapshot(daemon_set)))


def plan(daemon_set: DaemonSet, revisions: Sequence[ControllerRevision], pods: Sequence[Pod]) -> Plan:
    """Keep a snapshot of the present template with the highest number, and not more old ones than asked for.

    Snapshots that pods still run are kept whatever their number.
    """
    digest = template_hash(daemon_set)
    current = next((each for each in revisions if each.labels.get(HASH_LABEL) == digest), None)
    highest = max((each.revision for each in revisions), default=0)
    create: dict[str, Any] | None = None
    renumber: tuple[ControllerRevision, int] | None = None
    if current is None:
        create = _new(daemon_set, digest, highest + 1)
    elif current.revision < highest:
        renumber = current, highest + 1
    used = {pod.labels.get(HASH_LABEL) for pod in pods} | {digest}
    old = [each for each in revisions if each.labels.get(HASH_LABEL) not in used and not each.deleting]
    old.sort(key=lambda each: (each.revision, each.name))
    limit = daemon_set.spec.revision_history_limit
    surplus = len(old) - limit if limit is not None else 0
    return Plan(create, renumber, tuple(old[: max(0, surplus)]))


def _new(daemon_set: DaemonSet, digest: str, number: int) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"{daemon_set.name}-{digest}",
            "namespace": daemon_set.namespace,
            "labels": {**templates.labels(daemon_set.spec.template), HASH_LABEL: digest},
            "annotations": daemon_set.metadata.annotations,
            "ownerReferences": [templates.plain(controller_reference(DAEMON_SETS, daemon_set))],
        },
        "data": snapshot(daemon_set),
        "revision": number,
    }
