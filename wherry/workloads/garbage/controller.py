"""The garbage collector's edge: a metadata watch on every kind that can be deleted, and the graph's decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, RetryAfter
from wherry.kube.errors import ApiError, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informer, Informers
from wherry.kube.keys import Key
from wherry.kube.kinds import Kind
from wherry.kube.objects import KubeObject, OwnerReference
from wherry.kube.workqueue import Backoff
from wherry.workloads import templates
from wherry.workloads.batch import CRON_JOBS, JOBS
from wherry.workloads.discovery import Discovery, Resource, discover
from wherry.workloads.garbage import graph
from wherry.workloads.garbage.graph import Graph, Item
from wherry.workloads.kinds import (
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINTS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)

SHARED: tuple[Kind[Any], ...] = (
    kinds.PODS,
    kinds.NODES,
    kinds.NAMESPACES,
    kinds.SERVICES,
    kinds.ENDPOINT_SLICES,
    kinds.PERSISTENT_VOLUMES,
    kinds.PERSISTENT_VOLUME_CLAIMS,
    kinds.STORAGE_CLASSES,
    kinds.POD_DISRUPTION_BUDGETS,
    kinds.HORIZONTAL_POD_AUTOSCALERS,
    kinds.CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    DAEMON_SETS,
    JOBS,
    CRON_JOBS,
    ENDPOINTS,
    CONTROLLER_REVISIONS,
)
"""Kinds that other controllers of this process watch anyway: their informers are used, not a second watch."""

IGNORED = frozenset({("", "events"), ("events.k8s.io", "events")})
"""Group and plural of kinds that are too many and expire by themselves."""

_CATCH_UP = 1.0
"""Seconds until an owner that exists, but has not arrived in its watch, is looked for again."""

_UNKNOWN_KIND = 300.0
"""Seconds until an object with an owner of a kind that the server does not have is looked at again."""

_LIST_PATIENCE = 30.0
"""Seconds that the first list of a kind may take."""

_SETTLE = 0.2
"""Seconds to wait after custom kinds changed, so that a bundle of them is discovered once."""


class GarbageCollector(Controller):
    """Deletes what nobody owns any more, and settles the ``orphan`` and ``foregroundDeletion`` finalizers.

    Nothing is decided before every watch has been complete once. Keys in its queue are uids (with an empty namespace).
    Deletions and patches carry the resourceVersion they were decided on, so that an object that meanwhile got
    another owner is not lost.
    """

    name = "garbage-collector"
    workers = 16

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder) -> None:
        super().__init__(backoff=Backoff(first=0.005, longest=60.0))
        self._client = client
        self._graph = Graph()
        self._discovery = Discovery()
        self._monitors: dict[tuple[str, str], tuple[Informer[Any], asyncio.Task[None] | None]] = {}
        self._puzzled: set[str] = set()
        self._rediscover = asyncio.Event()
        self._ready = asyncio.Event()
        self._shared: dict[tuple[str, str], Informer[Any]] = {
            (kind.group, kind.plural): informers.informer(kind) for kind in SHARED
        }
        self._custom = informers.informer(kinds.CUSTOM_RESOURCE_DEFINITIONS)
        self._custom.add_handler(self._custom_changed)

    async def run(self) -> None:
        """Watch and collect until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_kinds(group), name="garbage collector kinds")
            group.create_task(super().run(), name="garbage collector")

    async def prepare(self) -> None:
        """Wait until every kind has been listed once."""
        await self._ready.wait()

    # -- which kinds to watch ------------------------------------------------------------------------------------

    def _custom_changed(self, old: KubeObject | None, new: KubeObject | None) -> None:
        self._rediscover.set()

    async def _follow_kinds(self, group: asyncio.TaskGroup) -> None:
        pause = 0.1
        while True:
            self._rediscover.clear()
            try:
                found = await discover(self._client)
            except ApiError as error:
                self._log.warning("cannot discover kinds: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 30.0)
                continue
            self._discovery = found
            started = self._start(group, found)
            await self._settle(started)
            self._ready.set()
            self._examine(self._puzzled)
            if found.failed:
                self._log.warning("not collecting in groups that do not answer: %s", ", ".join(sorted(found.failed)))
                await asyncio.sleep(pause := min(pause * 2, 30.0))
                continue
            pause = 0.1
            await self._rediscover.wait()
            await asyncio.sleep(_SETTLE)

    async def _settle(self, started: list[Informer[Any]]) -> None:
        """Wait for the first lists; a kind that cannot be listed does not hold up the collection of all others."""
        try:
            async with asyncio.timeout(_LIST_PATIENCE):
                for informer in started:
                    await informer.synced()
        except TimeoutError:
            missing = ", ".join(each.kind.resource for each in started if not each.has_synced)
            self._log.warning("collecting without having listed: %s", missing)

    def _start(self, group: asyncio.TaskGroup, found: Discovery) -> list[Informer[Any]]:
        """Watch kinds that are new, stop watching kinds that are gone; the informers that started."""
        wanted: dict[tuple[str, str], Resource] = {
            (each.kind.group, each.kind.plural): each for each in found.able("list", "watch", "delete")
        }
        started: list[Informer[Any]] = []
        for place, resource in wanted.items():
            if place in self._monitors or place in IGNORED:
                continue
            informer = self._shared.get(place)
            task = None
            if informer is None:
                informer = Informer(self._client, resource.kind)
                task = group.create_task(self._watch(informer), name=f"metadata of {resource.kind.resource}")
            self._monitors[place] = informer, task
            informer.add_handler(self._handler(resource.kind))
            started.append(informer)
        for place in [place for place in self._monitors if place not in wanted]:
            if place[0] in {group_version.partition("/")[0] for group_version in found.failed}:
                continue
            informer, task = self._monitors.pop(place)
            if task is not None:
                task.cancel()
            for obj in informer.list():
                self._examine(self._graph.drop(obj.uid))
        return started

    async def _watch(self, informer: Informer[Any]) -> None:
        """Follow one kind; being cancelled because the kind is gone is a normal end."""
        await informer.run()

    def _handler(self, kind: Kind[Any]) -> Callable[[KubeObject | None, KubeObject | None], None]:
        def changed(old: KubeObject | None, new: KubeObject | None) -> None:
            if new is not None:
                examine = self._graph.put(Item(kind, new.metadata))
            else:
                examine = self._graph.drop(old.uid) if old is not None else set()
            self._examine(examine)

        return changed

    def _examine(self, uids: set[str]) -> None:
        for uid in uids:
            self.queue.add(Key("", uid))

    # -- one object ----------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> None:
        """Carry out what the graph decides about one object."""
        item = self._graph.get(key.name)
        if item is None:
            self._puzzled.discard(key.name)
            return
        decision = self._graph.decide(item.uid)
        if isinstance(decision, graph.Ask):
            for reference in decision.owners:
                await self._look_for(item, reference)
            decision = self._graph.decide(item.uid)
            item = self._graph.get(key.name) or item
        try:
            await self._carry_out(item, decision)
        except NotFound:
            # Gone before we came; its watch will say so.
            return

    async def _carry_out(self, item: Item, decision: graph.Decision) -> None:
        meta = item.meta
        match decision:
            case graph.Delete(propagation):
                await self._client.delete(
                    item.kind,
                    meta.name,
                    namespace=meta.namespace or None,
                    propagation=propagation,
                    uid=meta.uid,
                    resource_version=meta.resource_version,
                )
            case graph.Unlink(owners):
                await self._set_owners(item, graph.without(meta.owner_references, owners))
            case graph.Unblock(dependents):
                for each in dependents:
                    await self._set_owners(each, _not_blocking(each.meta.owner_references, item.uid))
                self.queue.add(Key("", item.uid))
            case graph.Release(finalizer, orphans):
                for each in orphans:
                    await self._set_owners(each, graph.without(each.meta.owner_references, frozenset({item.uid})))
                finalizers = [each for each in meta.finalizers if each != finalizer]
                await self._patch(item, {"finalizers": finalizers or None})

    async def _set_owners(self, item: Item, references: list[OwnerReference]) -> None:
        try:
            await self._patch(item, {"ownerReferences": [templates.plain(each) for each in references] or None})
        except NotFound:
            return

    async def _patch(self, item: Item, change: dict[str, Any]) -> None:
        precondition = {"uid": item.uid, "resourceVersion": item.meta.resource_version}
        await self._client.patch(
            item.kind, item.meta.name, {"metadata": change | precondition}, namespace=item.meta.namespace or None
        )

    async def _look_for(self, item: Item, reference: OwnerReference) -> None:
        """Ask the server for an owner that no watch has shown; RetryAfter when the answer has to wait."""
        resource = self._discovery.by_kind.get((reference.api_version, reference.kind))
        if resource is None:
            if item.uid not in self._puzzled:
                # Perhaps a kind newer than our list of kinds; its objects are looked at again with the next list.
                self._puzzled.add(item.uid)
                self._rediscover.set()
            raise RetryAfter(_UNKNOWN_KIND, f"owner kind {reference.api_version} {reference.kind} is not known")
        self._puzzled.discard(item.uid)
        kind = resource.kind
        if kind.namespaced and not item.meta.namespace:
            # Invalid: nobody can tell which namespace is meant, so the object is left alone.
            self._graph.present(reference.uid)
            return
        try:
            found = await self._client.get(kind, reference.name, namespace=item.meta.namespace or None)
        except NotFound:
            self._graph.absent(reference.uid)
            return
        if found.uid != reference.uid:
            self._graph.absent(reference.uid)
        elif (kind.group, kind.plural) not in self._monitors:
            self._graph.present(reference.uid)
        elif self._graph.get(reference.uid) is None:
            raise RetryAfter(_CATCH_UP, f"owner {reference.kind} {reference.name} has not arrived yet")


def _not_blocking(references: tuple[OwnerReference, ...], owner: str) -> list[OwnerReference]:
    """The references with the one to ``owner`` no longer blocking its deletion."""
    return [
        OwnerReference(
            api_version=each.api_version,
            kind=each.kind,
            name=each.name,
            uid=each.uid,
            controller=each.controller,
            block_owner_deletion=each.block_owner_deletion and each.uid != owner,
        )
        for each in references
    ]
