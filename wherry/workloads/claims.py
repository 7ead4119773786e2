"""Which objects belong to a controller: those it owns and still selects, and orphans it selects.

Every object has at most one managing controller, which its ``ownerReferences`` name by uid. A controller adopts
orphans that match its selector and releases what no longer matches. ``claim`` decides, ``Claimer`` carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from wherry.kube.client import Client
from wherry.kube.errors import Conflict, Invalid, NotFound
from wherry.kube.informer import Informer
from wherry.kube.keys import Key
from wherry.kube.kinds import Kind
from wherry.kube.objects import KubeObject, LabelSelector
from wherry.kube.selectors import Selector, from_object
from wherry.workloads.kinds import controller_reference
from wherry.workloads.templates import plain

T = TypeVar("T", bound=KubeObject)

CONTROLLER_INDEX = "controller"
"""Name of the index of objects by their controller, for :func:`controller_values`."""


def orphans_of(namespace: str) -> str:
    """The index value of objects of a namespace that no controller manages."""
    return f"/{namespace}"


def controller_values(obj: KubeObject) -> tuple[str]:
    """Index function: the uid of the managing controller, or the place of orphans of the namespace."""
    owner = obj.metadata.controller
    return (owner.uid if owner is not None else orphans_of(obj.namespace),)


@dataclass(frozen=True, slots=True)
class Claim(Generic[T]):
    """What a controller has (``owned``), shall take (``adopt``) and shall let go (``release``)."""

    owned: tuple[T, ...] = ()
    adopt: tuple[T, ...] = ()
    release: tuple[T, ...] = ()


def claim(
    owner: KubeObject, selector: Selector, candidates: Iterable[T], *, member: Callable[[T], bool] | None = None
) -> Claim[T]:
    """Sort candidates of the owner's namespace; an owner that is being deleted takes and releases nothing.

    ``member`` says what, beyond the selector, makes an object one of the owner's.
    """
    owned, adopt, release = [], [], []
    for obj in candidates:
        manager = obj.metadata.controller
        matches = selector.matches(obj.labels) and (member is None or member(obj))
        if manager is not None:
            if manager.uid != owner.uid:
                continue
            if matches or owner.deleting:
                owned.append(obj)
            elif not obj.deleting:
                release.append(obj)
        elif matches and not owner.deleting and not obj.deleting:
            adopt.append(obj)
    return Claim(tuple(owned), tuple(adopt), tuple(release))


def concerned(
    kind: Kind[Any], owners: Callable[[str], Iterable[tuple[Key, LabelSelector | None]]], old: T | None, new: T | None
) -> Iterator[Key]:
    """The owners of a kind that a change of an object concerns: those that managed it before and after.

    An object that became an orphan, or an orphan with other labels, concerns all ``owners`` of its namespace (keys
    and selectors) that select it.
    """
    for obj in (old, new):
        if obj is None:
            continue
        manager = obj.metadata.controller
        if manager is not None:
            if manager.kind == kind.kind:
                yield Key(obj.namespace, manager.name)
        elif obj is new and (old is None or old.labels != new.labels or old.metadata.controller is not None):
            yield from (key for key, selector in owners(obj.namespace) if from_object(selector).matches(obj.labels))


class Claimer(Generic[T]):
    """Adopts and releases objects of one kind, which ``objects`` hold, for owners of another.

    What is adopted gets ``finalizer``, if one is given.
    """

    def __init__(
        self, client: Client, owner_kind: Kind[Any], kind: Kind[Any], objects: Informer[T], *, finalizer: str = ""
    ) -> None:
        self._client = client
        self._owner_kind = owner_kind
        self._kind = kind
        self._objects = objects
        self._finalizer = finalizer
        objects.add_index(CONTROLLER_INDEX, controller_values)

    async def objects_of(
        self, owner: KubeObject, selector: LabelSelector | None, *, member: Callable[[T], bool] | None = None
    ) -> list[T]:
        """Adopt and release; what the owner has afterwards. ApiError when the server refuses."""
        candidates = self._objects.by_index(CONTROLLER_INDEX, owner.uid)
        candidates += self._objects.by_index(CONTROLLER_INDEX, orphans_of(owner.namespace))
        return await self.carry_out(owner, claim(owner, from_object(selector), candidates, member=member))

    async def carry_out(self, owner: KubeObject, claimed: Claim[T]) -> list[T]:
        """Adopt and release; what the owner has afterwards. ApiError when the server refuses."""
        mine = [*claimed.owned]
        for obj in claimed.release:
            await self._release(owner, obj)
        if claimed.adopt:
            fresh = await self._client.get(self._owner_kind, owner.name, namespace=owner.namespace)
            if fresh.uid == owner.uid and not fresh.deleting:
                mine += [obj for obj in claimed.adopt if await self._adopt(owner, obj)]
        return mine

    async def _adopt(self, owner: KubeObject, obj: KubeObject) -> bool:
        references = [plain(reference) for reference in obj.metadata.owner_references]
        references.append(plain(controller_reference(self._owner_kind, owner)))
        finalizers = obj.metadata.finalizers
        if self._finalizer and self._finalizer not in finalizers:
            return await self._set_owners(obj, references, finalizers=[*finalizers, self._finalizer])
        return await self._set_owners(obj, references)

    async def _release(self, owner: KubeObject, obj: KubeObject) -> bool:
        references = [plain(each) for each in obj.metadata.owner_references if each.uid != owner.uid]
        return await self._set_owners(obj, references)

    async def _set_owners(self, obj: KubeObject, references: list[Any], **more: list[str]) -> bool:
        meta = obj.metadata
        preconditions = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        patch = {"metadata": {**preconditions, "ownerReferences": references, **more}}
        try:
            await self._client.patch(self._kind, obj.name, patch, namespace=obj.namespace)
        except (NotFound, Invalid):
            # Gone, or it has got another controller meanwhile.
            return False
        except Conflict:
            # It changed: the watch will bring its newest state and with it the next reconcile.
            return False
        return True
