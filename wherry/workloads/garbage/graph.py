"""Who owns whom, by uid, and what is to happen to an object whose owners go. Pure.

Rules: https://kubernetes.io/docs/concepts/architecture/garbage-collection/ and
https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from wherry.kube.kinds import Kind
from wherry.kube.objects import ObjectMeta, OwnerReference

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

_REMEMBERED = 10_000
"""How many uids of objects known to be gone are remembered."""

Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Item:
    """An object as the graph sees it."""

    kind: Kind[Any]
    meta: ObjectMeta

    @property
    def uid(self) -> str:
        """``metadata.uid``."""
        return self.meta.uid

    @property
    def deleting(self) -> bool:
        """Whether it is marked for deletion."""
        return self.meta.deletion_timestamp is not None

    def awaits(self, finalizer: str) -> bool:
        """Whether its deletion waits for this collector to deal with its dependents."""
        return self.deleting and finalizer in self.meta.finalizers

    def owned_by(self, uid: str) -> OwnerReference | None:
        """The reference to that owner."""
        return next((each for each in self.meta.owner_references if each.uid == uid), None)


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be, or something else has to happen first."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Whether these owners exist is not known: ask the server, tell the graph, decide again."""

    owners: tuple[OwnerReference, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Nobody who stays owns the object."""

    propagation: Propagation


@dataclass(frozen=True, slots=True)
class Unlink:
    """Remove the references to these owners: they go, but others stay."""

    owners: frozenset[str]


@dataclass(frozen=True, slots=True)
class Release:
    """Remove this finalizer, after removing the references of the given dependents to the object."""

    finalizer: str
    orphans: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Unblock:
    """The object and its dependents wait for each other: let the dependents no longer hold it, then delete it."""

    dependents: tuple[Item, ...]


Decision = Nothing | Ask | Delete | Unlink | Release | Unblock


class Graph:
    """Objects and their owners. ``put`` and ``drop`` give the uids whose situation the change may have altered."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._dependents: dict[str, set[str]] = {}
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._present: set[str] = set()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, uid: str) -> Item | None:
        """The object of that uid."""
        return self._items.get(uid)

    def dependents(self, uid: str) -> Iterator[Item]:
        """The objects that name ``uid`` as an owner."""
        return (self._items[each] for each in sorted(self._dependents.get(uid, ())))

    def put(self, item: Item) -> set[str]:
        """Add or update an object."""
        old = self._items.get(item.uid)
        self._items[item.uid] = item
        self._present.discard(item.uid)
        before = old.meta.owner_references if old else ()
        after = item.meta.owner_references
        examine: set[str] = set()
        if before != after:
            for owner in before:
                self._unlink(owner.uid, item.uid)
                examine |= self._waiting(owner.uid)
            for owner in after:
                self._dependents.setdefault(owner.uid, set()).add(item.uid)
            if after:
                examine.add(item.uid)
        news = old is None or old.deleting != item.deleting or old.meta.finalizers != item.meta.finalizers
        if news and (item.awaits(FOREGROUND) or item.awaits(ORPHAN)):
            examine.add(item.uid)
            if item.awaits(FOREGROUND):
                examine |= self._dependents.get(item.uid, set())
        return examine

    def drop(self, uid: str) -> set[str]:
        """An object is gone."""
        self._forget(uid)
        item = self._items.pop(uid, None)
        examine = set(self._dependents.get(uid, ()))
        for owner in item.meta.owner_references if item else ():
            self._unlink(owner.uid, uid)
            examine |= self._waiting(owner.uid)
        return examine

    def absent(self, uid: str) -> None:
        """The server says that there is no such object."""
        if uid not in self._items:
            self._forget(uid)

    def present(self, uid: str) -> None:
        """The server says that the object exists, though its kind cannot be watched."""
        self._present.add(uid)

    def _forget(self, uid: str) -> None:
        self._present.discard(uid)
        self._absent[uid] = None
        self._absent.move_to_end(uid)
        while len(self._absent) > _REMEMBERED:
            self._absent.popitem(last=False)

    def _unlink(self, owner: str, dependent: str) -> None:
        held = self._dependents.get(owner)
        if held is not None:
            held.discard(dependent)
            if not held:
                del self._dependents[owner]

    def _waiting(self, uid: str) -> set[str]:
        item = self._items.get(uid)
        return {uid} if item is not None and item.awaits(FOREGROUND) else set()

    # -- deciding ------------------------------------------------------------------------------------------------

    def decide(self, uid: str) -> Decision:
        """What to do about an object now."""
        item = self._items.get(uid)
        if item is None:
            return Nothing()
        if item.deleting:
            return self._finish(item)
        solid, going, gone, unknown = self._classify(item)
        if unknown:
            return Ask(tuple(unknown))
        if solid or not item.meta.owner_references:
            leaving = frozenset((*going, *gone))
            return Unlink(leaving) if leaving and solid else Nothing()
        dependents = tuple(self.dependents(uid))
        if going and dependents:
            # In a circle each waits for the other: those that already wait for us must not hold us up.
            circular = tuple(
                each
                for each in dependents
                if each.awaits(FOREGROUND) and (reference := each.owned_by(uid)) and reference.block_owner_deletion
            )
            return Unblock(circular) if circular else Delete("Foreground")
        if ORPHAN in item.meta.finalizers:
            return Delete("Orphan")
        return Delete("Foreground" if FOREGROUND in item.meta.finalizers else "Background")

    def _finish(self, item: Item) -> Decision:
        """An object that is being deleted: settle what its finalizers wait for."""
        if item.awaits(ORPHAN):
            return Release(ORPHAN, tuple(self.dependents(item.uid)))
        if item.awaits(FOREGROUND):
            holding = (each.owned_by(item.uid) for each in self.dependents(item.uid))
            if not any(reference and reference.block_owner_deletion for reference in holding):
                return Release(FOREGROUND)
        return Nothing()

    def _classify(self, item: Item) -> tuple[list[str], list[str], list[str], list[OwnerReference]]:
        """Owners that stay, that go in the foreground, that are gone, and that nothing is known of."""
        solid: list[str] = []
        going: list[str] = []
        gone: list[str] = []
        unknown: list[OwnerReference] = []
        for reference in item.meta.owner_references:
            owner = self._items.get(reference.uid)
            if owner is not None:
                elsewhere = owner.meta.namespace not in ("", item.meta.namespace)
                if elsewhere and item.meta.namespace:
                    # An owner must live in the namespace of its dependents: this one cannot be meant.
                    gone.append(reference.uid)
                else:
                    (going if owner.awaits(FOREGROUND) else solid).append(reference.uid)
            elif reference.uid in self._present:
                solid.append(reference.uid)
            elif reference.uid in self._absent:
                gone.append(reference.uid)
            else:
                unknown.append(reference)
        return solid, going, gone, unknown


def without(references: Iterable[OwnerReference], owners: frozenset[str]) -> list[OwnerReference]:
    """The references that remain without those to ``owners``."""
    return [each for each in references if each.uid not in owners]
