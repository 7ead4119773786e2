"""Keeping the snapshots of an owner's templates on the server, as :mod:`wherry.workloads.history` wants them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from wherry.kube.client import Client
from wherry.kube.errors import AlreadyExists, NotFound
from wherry.kube.kinds import Kind
from wherry.workloads import history, templates
from wherry.workloads.kinds import (
    CONTROLLER_REVISIONS,
    ControllerRevision,
    DaemonSet,
    StatefulSet,
    controller_reference,
)


class RevisionKeeper:
    """Writes the revisions of owners of one kind; ``label`` is where a revision carries the hash of its template."""

    def __init__(self, client: Client, kind: Kind[Any], label: str) -> None:
        self._client = client
        self._kind = kind
        self._label = label

    async def present(
        self, owner: DaemonSet | StatefulSet, revisions: Sequence[ControllerRevision]
    ) -> tuple[ControllerRevision, int | None]:
        """The revision of the owner's present template and the count of name collisions; made or renumbered if needed.

        A template whose hash another template has already raises the count, which makes its hash another one.
        ApiError when the server refuses.
        """
        count = owner.status.collision_count
        found = history.present(owner.spec.template, revisions)
        if found.revision is None:
            return await self._create(owner, found.number, count)
        if found.revision.revision != found.number:
            return await self._renumber(found.revision, found.number), count
        return found.revision, count

    async def delete(self, revisions: Iterable[ControllerRevision]) -> None:
        """Delete revisions; ApiError when the server refuses."""
        for each in revisions:
            try:
                await self._client.delete(CONTROLLER_REVISIONS, each.name, namespace=each.namespace, uid=each.uid)
            except NotFound:
                continue

    async def _renumber(self, revision: ControllerRevision, number: int) -> ControllerRevision:
        meta = {"uid": revision.uid, "resourceVersion": revision.metadata.resource_version}
        patch = {"metadata": meta, "revision": number}
        return await self._client.patch(CONTROLLER_REVISIONS, revision.name, patch, namespace=revision.namespace)

    async def _create(
        self, owner: DaemonSet | StatefulSet, number: int, count: int | None
    ) -> tuple[ControllerRevision, int | None]:
        while True:
            wanted = self._new(owner, number, templates.template_hash(owner.spec.template, count))
            try:
                made = await self._client.create(
                    CONTROLLER_REVISIONS, cast("ControllerRevision", wanted), namespace=owner.namespace
                )
            except AlreadyExists:
                name = wanted["metadata"]["name"]
                made = await self._client.get(CONTROLLER_REVISIONS, name, namespace=owner.namespace)
                if not history.same(made, owner.spec.template):
                    count = (count or 0) + 1
                    continue
            return made, count

    def _new(self, owner: DaemonSet | StatefulSet, number: int, digest: str) -> dict[str, Any]:
        template = owner.spec.template
        return {
            "metadata": {
                "name": history.name_of(owner.name, digest),
                "namespace": owner.namespace,
                "labels": {**templates.labels(template), self._label: digest},
                "annotations": owner.metadata.annotations,
                "ownerReferences": [templates.plain(controller_reference(self._kind, owner))],
            },
            "data": history.snapshot(template),
            "revision": number,
        }
