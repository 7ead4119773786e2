"""The end of a namespace: everything in it is deleted, then the finalizer that holds it.

Pods go first, so that nothing a pod still needs, such as its network policy or service account, is taken from under it
(KEP-5080). What keeps a namespace from going is said in its conditions.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, RetryAfter
from wherry.kube.errors import ApiError, Conflict, MethodNotAllowed, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Condition, KubeObject, Namespace
from wherry.kube.times import format_time
from wherry.workloads import podstate, templates
from wherry.workloads.discovery import Discovery, Resource, discover

FINALIZER = "kubernetes"

_SOON, _LATER = 1.0, 5.0
"""Seconds to the next look: after something was deleted, and while only finalizers or ending pods hold things."""


@dataclass(slots=True)
class Findings:
    """What one pass over a namespace found."""

    undiscovered: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    remaining: Counter[str] = field(default_factory=Counter)
    finalizers: Counter[str] = field(default_factory=Counter)

    @property
    def empty(self) -> bool:
        """Whether nothing is left and nothing could have been missed."""
        return not (self.undiscovered or self.errors or self.remaining)

    def count(self, resource: Resource, objects: Iterable[KubeObject]) -> None:
        """Add objects that are still there."""
        for obj in objects:
            self.remaining[f"{resource.kind.plural}.{resource.kind.group}"] += 1
            self.finalizers.update(obj.metadata.finalizers)


def conditions(namespace: Namespace, found: Findings, now: float) -> tuple[Condition, ...]:
    """The conditions of a namespace after a pass, in Kubernetes' words. Pure; ``now`` in seconds since 1970."""
    rows = (
        (
            "NamespaceDeletionDiscoveryFailure",
            ("ResourcesDiscovered", "All resources successfully discovered"),
            "DiscoveryFailed",
            f"Discovery failed for some groups, {len(found.undiscovered)} failing: "
            + ", ".join(f"{group}: {error}" for group, error in sorted(found.undiscovered.items()))
            if found.undiscovered
            else "",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            "GroupVersionParsingFailed",
            "",
        ),
        (
            "NamespaceDeletionContentFailure",
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            "ContentDeletionFailed",
            f"Failed to delete all resource types, {len(found.errors)} remaining: " + ", ".join(sorted(found.errors))
            if found.errors
            else "",
        ),
        (
            "NamespaceContentRemaining",
            ("ContentRemoved", "All content successfully removed"),
            "SomeResourcesRemain",
            "Some resources are remaining: "
            + ", ".join(f"{name} has {count} resource instances" for name, count in sorted(found.remaining.items()))
            if found.remaining
            else "",
        ),
        (
            "NamespaceFinalizersRemaining",
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: "
            + ", ".join(f"{name} in {count} resource instances" for name, count in sorted(found.finalizers.items()))
            if found.finalizers
            else "",
        ),
    )
    result = {each.type: each for each in namespace.status.conditions}
    for type_, (fine, all_well), trouble, message in rows:
        status, reason = ("True", trouble) if message else ("False", fine)
        known = podstate.condition(namespace.status.conditions, type_)
        moved = known is None or known.status != status
        result[type_] = Condition(
            type=type_,
            status=status,
            reason=reason,
            message=message or all_well,
            last_transition_time=format_time(now) if moved or known is None else known.last_transition_time,
        )
    return tuple(result.values())


class NamespaceController(Controller):
    """Empties namespaces that are being deleted."""

    name = "namespace"
    workers = 4

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._client = client
        self._clock = clock
        self._namespaces = informers.informer(kinds.NAMESPACES)
        self._pods = informers.informer(kinds.PODS)
        self._namespaces.add_handler(self._namespace_changed)
        self._pods.add_handler(self._pod_changed)

    async def prepare(self) -> None:
        """Wait for namespaces."""
        await self._namespaces.synced()

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None and new.deleting and (old is None or not old.deleting):
            self.queue.add(new.key)

    def _pod_changed(self, old: KubeObject | None, new: KubeObject | None) -> None:
        """A pod that is gone may have been the last thing a namespace waited for."""
        if new is None and old is not None:
            namespace = self._namespaces.get(Key("", old.namespace))
            if namespace is not None and namespace.deleting:
                self.queue.add(namespace.key)

    async def reconcile(self, key: Key) -> None:
        """Delete what is there; finish when nothing is."""
        namespace = self._namespaces.get(key)
        if namespace is None or not namespace.deleting:
            return
        if FINALIZER not in namespace.spec.finalizers:
            return
        found = Findings()
        found_kinds = await discover(self._client)
        found.undiscovered = found_kinds.failed
        deleted = await self._empty(key.name, found_kinds, found)
        await self._report(namespace, found)
        if found.empty:
            await self._finalize(namespace)
            return
        raise RetryAfter(_SOON if deleted else _LATER, "some content remains")

    async def _empty(self, name: str, found_kinds: Discovery, found: Findings) -> bool:
        """One pass over all kinds, pods before the others; whether anything was deleted."""
        resources = [each for each in found_kinds.able("list", "delete") if each.kind.namespaced]
        pods = [each for each in resources if (each.kind.group, each.kind.plural) == ("", "pods")]
        deleted = await self._empty_kinds(pods, name, found)
        if not found.remaining and not found.errors:
            others = [each for each in resources if each not in pods]
            deleted |= await self._empty_kinds(others, name, found)
        return deleted

    async def _empty_kinds(self, resources: list[Resource], name: str, found: Findings) -> bool:
        deleted = False
        for resource in resources:
            try:
                deleted |= await self._empty_kind(resource, name, found)
            except (NotFound, MethodNotAllowed):
                # A custom kind removed since it was discovered, or one that only pretends to have the verb.
                continue
            except ApiError as error:
                found.errors.append(f"{resource.kind.resource}: {error}")
        return deleted

    async def _empty_kind(self, resource: Resource, name: str, found: Findings) -> bool:
        kind = resource.kind
        present = (await self._client.list(kind, namespace=name)).items
        fresh = [obj for obj in present if not obj.deleting]
        if "deletecollection" in resource.verbs and fresh:
            await self._client.delete_collection(kind, namespace=name, propagation="Background")
        else:
            for obj in fresh:
                try:
                    await self._client.delete(kind, obj.name, namespace=name, propagation="Background", uid=obj.uid)
                except (NotFound, Conflict):
                    continue
        if fresh:
            present = (await self._client.list(kind, namespace=name)).items
        found.count(resource, present)
        return bool(fresh)

    async def _report(self, namespace: Namespace, found: Findings) -> None:
        wanted = conditions(namespace, found, self._clock())
        current = self._namespaces.get(namespace.key) or namespace
        if wanted == current.status.conditions:
            return
        patch: dict[str, Any] = {
            "metadata": {"uid": namespace.uid},
            "status": {"conditions": [templates.plain(each) for each in wanted]},
        }
        try:
            await self._client.patch(kinds.NAMESPACES, namespace.name, patch, subresource="status")
        except NotFound:
            return

    async def _finalize(self, namespace: Namespace) -> None:
        try:
            whole = await self._client.get(kinds.NAMESPACES, namespace.name, raw=True)
            if whole["metadata"]["uid"] != namespace.uid:
                return
            held = whole.get("spec", {}).get("finalizers") or []
            whole["spec"] = {**whole.get("spec", {}), "finalizers": [each for each in held if each != FINALIZER]}
            await self._client.update(kinds.NAMESPACES.as_dict(), whole, subresource="finalize")
        except NotFound:
            return
