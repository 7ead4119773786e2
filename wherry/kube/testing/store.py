"""The objects of the fake API server: one revision counter, history for watches, what etcd and the registry refuse."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wherry.kube.errors import AlreadyExists, ApiError, Conflict, Gone, Invalid, NotFound
from wherry.kube.kinds import KINDS, Kind
from wherry.kube.selectors import FieldSelector, Selector, field_of
from wherry.kube.times import now

Object = dict[str, Any]
Place = tuple[str, str, str]
"""Resource (``plural.group``), namespace and name."""


def failure(error: type[ApiError], code: int, reason: str, message: str) -> ApiError:
    """An error as the server would answer it."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
    return error(status | {"code": code, "reason": reason, "message": message})


@dataclass(frozen=True, slots=True)
class Change:
    """One step of history: ``old`` and ``new`` differ, and one of them may be missing."""

    revision: int
    place: Place
    old: Object | None
    new: Object | None


@dataclass(frozen=True, slots=True)
class Scope:
    """What a list or watch asks for."""

    resource: str
    namespace: str
    labels: Selector
    fields: FieldSelector

    def holds(self, place: Place, obj: Object | None) -> bool:
        """Whether an object is asked for; a missing one never is."""
        if obj is None or place[0] != self.resource or self.namespace not in ("", place[1]):
            return False
        return self.labels.matches(obj["metadata"].get("labels") or {}) and self.fields.matches(
            lambda path: field_of(obj, path)
        )

    def event(self, change: Change) -> Object | None:
        """The watch event of a change as seen through the selectors, if any."""
        was, stays = self.holds(change.place, change.old), self.holds(change.place, change.new)
        if stays:
            return {"type": "MODIFIED" if was else "ADDED", "object": change.new}
        if not was or change.old is None:
            return None
        gone = copy.deepcopy(change.new or change.old)
        gone["metadata"]["resourceVersion"] = str(change.revision)
        return {"type": "DELETED", "object": gone}


@dataclass(slots=True)
class Store:
    """Objects by place; every write takes the next revision."""

    revision: int = 1
    objects: dict[Place, Object] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    compacted: int = 0
    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    _serial: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def get(self, place: Place) -> Object:
        """The object at a place; NotFound."""
        if place not in self.objects:
            raise failure(NotFound, 404, "NotFound", f'{place[0]} "{place[2]}" not found')
        return self.objects[place]

    def select(self, scope: Scope) -> list[Object]:
        """The objects of a scope in the order of their places."""
        return [self.objects[place] for place in sorted(self.objects) if scope.holds(place, self.objects[place])]

    def since(self, revision: int) -> list[Change]:
        """All changes after a revision; Gone when they are no longer known."""
        if revision < self.compacted:
            raise failure(Gone, 410, "Expired", f"too old resource version: {revision} ({self.compacted})")
        return [change for change in self.history if change.revision > revision]

    def compact(self) -> None:
        """Forget history: every version before the current one is too old from now on."""
        self.compacted = self.revision
        self.history.clear()

    def create(self, kind: Kind[Any], obj: Object, namespace: str) -> Object:
        """Add an object; AlreadyExists, Invalid."""
        new = copy.deepcopy(obj)
        meta = new.setdefault("metadata", {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{next(self._serial):05}"
        if not meta.get("name"):
            raise failure(Invalid, 422, "Invalid", "metadata.name: Required value: name or generateName is required")
        if kind.namespaced:
            meta["namespace"] = namespace or meta.get("namespace") or "default"
        place = (kind.resource, meta.get("namespace", ""), meta["name"])
        if place in self.objects:
            raise failure(AlreadyExists, 409, "AlreadyExists", f'{kind.resource} "{place[2]}" already exists')
        meta["uid"] = f"00000000-0000-0000-0000-{next(self._serial):012}"
        meta["creationTimestamp"] = now()
        new |= {"apiVersion": kind.api_version, "kind": kind.kind}
        return self._write(place, new)

    def replace(self, place: Place, obj: Object) -> Object:
        """Put a new state in place; Conflict when it was made from another version or for another uid."""
        old = self.get(place)
        new = copy.deepcopy(obj)
        meta = new.setdefault("metadata", {})
        for name in ("resourceVersion", "uid"):
            if meta.get(name) not in (None, "", old["metadata"][name]):
                message = f'Operation cannot be fulfilled on {place[0]} "{place[2]}": {name} does not fit'
                raise failure(Conflict, 409, "Conflict", message)
            meta[name] = old["metadata"][name]
        if new == old:
            return old
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            return self._write(place, None)
        return self._write(place, new)

    def delete(self, place: Place, preconditions: Object) -> Object:
        """Remove an object, or mark it when finalizers hold it; Conflict when a precondition does not hold."""
        old = self.get(place)
        for name in ("uid", "resourceVersion"):
            if preconditions.get(name) not in (None, old["metadata"][name]):
                raise failure(Conflict, 409, "Conflict", f"Precondition failed: {name} does not fit")
        if not old["metadata"].get("finalizers"):
            return self._write(place, None)
        if old["metadata"].get("deletionTimestamp"):
            return old
        marked = copy.deepcopy(old)
        marked["metadata"]["deletionTimestamp"] = now()
        return self._write(place, marked)

    def _write(self, place: Place, new: Object | None) -> Object:
        self.revision += 1
        old = self.objects.get(place)
        if new is None:
            del self.objects[place]
        else:
            new["metadata"]["resourceVersion"] = str(self.revision)
            self.objects[place] = new
        change = Change(self.revision, place, old, new)
        self.history.append(change)
        for listener in [*self.listeners]:
            listener(change)
        if new is not None:
            return new
        gone = copy.deepcopy(old) if old is not None else {}
        gone["metadata"]["resourceVersion"] = str(self.revision)
        return gone


KIND_BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
