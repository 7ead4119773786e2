"""Keeps the served rows and the status of definitions in step: names accepted, established, emptied before they go.

Level-triggered: a change of a definition marks its name dirty; the work reads the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from wherry.apiserver.crd.rows import rows
from wherry.apiserver.kinds.extensions.crds import CLEANUP_FINALIZER
from wherry.apiserver.kinds.model import Object
from wherry.apiserver.kinds.printing import format_time
from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.schema.canonical import canonical
from wherry.apiserver.served import Registry, Served
from wherry.apiserver.storage import Conflict, Entry, Event, Store

GROUP = "apiextensions.k8s.io"
_RETRY = 1.0  # seconds until objects that hold a deletion up are looked at again

log = logging.getLogger("wherry.apiserver")


class Definitions:
    """The controller of custom resource definitions."""

    def __init__(self, store: Store, registry: Registry, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._bucket = store.bucket(f"{GROUP}/customresourcedefinitions")
        self._dirty: set[str] = {entry.name for entry in self._bucket.scan()}
        self._wake = asyncio.Event()
        self._served: dict[str, tuple[str, str, int]] = {}
        self._bucket.listeners.append(self._changed)
        if self._dirty:
            self._wake.set()

    def _changed(self, event: Event) -> None:
        self._dirty.add(event.entry.name)
        self._wake.set()

    def restore(self) -> None:
        """Serve at once what was established before a restart."""
        for entry in self._bucket.scan():
            definition = entry.object()
            if _condition(definition, "Established") == "True":
                self._serve(entry.name, definition)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            names, self._dirty = self._dirty, set()
            left: set[str] = set()
            for name in sorted(names):
                try:
                    if not await self._settle(name):
                        left.add(name)
                except Conflict:
                    left.add(name)
            if left:
                self._dirty |= left
                asyncio.get_running_loop().call_later(_RETRY, self._wake.set)

    async def _settle(self, name: str) -> bool:
        """Bring one definition where it belongs; false when it has to be looked at again."""
        entry = self._bucket.get(name)
        if entry is None:
            self._withdraw(name)
            return True
        definition = entry.object()
        if "deletionTimestamp" in definition["metadata"]:
            return await self._empty(entry, definition)
        self._accept_names(name, definition)
        if definition != entry.object():
            await self._write(entry, definition)
            return True  # the write marks it dirty again
        if _condition(definition, "Established") == "True":
            self._serve(name, definition)
        return True

    def _accept_names(self, name: str, definition: Object) -> None:
        """Set accepted names and conditions as the names controller of Kubernetes does."""
        status = definition.setdefault("status", {})
        wanted = definition["spec"]["names"]
        conflict = self._conflict(name, definition)
        if conflict is None:
            status["acceptedNames"] = dict(wanted)
            self._set(definition, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
            if _condition(definition, "Established") != "True":
                text = "the initial names have been accepted"
                self._set(definition, "Established", "True", "InitialNamesAccepted", text)
        else:
            reason, text = conflict
            self._set(definition, "NamesAccepted", "False", reason, text)
            if _condition(definition, "Established") != "True":
                self._set(definition, "Established", "False", "NotAccepted", "not all names are accepted")
        stored = [version["name"] for version in definition["spec"]["versions"] if version.get("storage")]
        before = status.get("storedVersions") or []
        status["storedVersions"] = before + [version for version in stored if version not in before]

    def _conflict(self, name: str, definition: Object) -> tuple[str, str] | None:
        """Which name another definition of the group has already, as reason and text."""
        spec = definition["spec"]
        taken: set[str] = set()
        kinds: set[str] = set()
        for entry in self._bucket.scan():
            other = entry.object()
            if entry.name == name or other["spec"]["group"] != spec["group"]:
                continue
            names = other.get("status", {}).get("acceptedNames") or {}
            taken |= {names.get("plural", ""), names.get("singular", ""), *(names.get("shortNames") or ())}
            kinds |= {names.get("kind", ""), names.get("listKind", "")}
        wanted = spec["names"]
        checks: list[tuple[str, Iterable[str], set[str]]] = [
            ("PluralConflict", (wanted["plural"],), taken),
            ("SingularConflict", (wanted.get("singular", ""),), taken),
            ("ShortNamesConflict", wanted.get("shortNames") or (), taken),
            ("KindConflict", (wanted["kind"],), kinds),
            ("ListKindConflict", (wanted.get("listKind", ""),), kinds),
        ]
        for reason, mine, theirs in checks:
            for one in mine:
                if one and one in theirs:
                    return reason, f'"{one}" is already in use'
        return None

    def _set(self, definition: Object, type_: str, status: str, reason: str, message: str) -> None:
        conditions = definition["status"]["conditions"] = list(definition["status"].get("conditions") or ())
        found = next((one for one in conditions if one["type"] == type_), None)
        if found is None:
            found = {"type": type_, "status": "", "lastTransitionTime": None}
            conditions.append(found)
        if found["status"] != status:
            found["lastTransitionTime"] = format_time(self._clock())
        found.update(status=status, reason=reason, message=message)

    def _serve(self, name: str, definition: Object) -> None:
        spec = definition["spec"]
        group, plural = spec["group"], spec["names"]["plural"]
        generation = hash((definition["metadata"].get("generation"), str(definition["status"].get("acceptedNames"))))
        if self._served.get(name) == (group, plural, generation):
            return
        bucket = self._registry.bucket(group, plural)
        served = [Served(row, bucket, custom=True, detail=schema) for row, schema in rows(definition)]
        self._registry.replace_custom(group, plural, served)
        self._served[name] = (group, plural, generation)

    def _withdraw(self, name: str) -> None:
        found = self._served.pop(name, None)
        if found is not None:
            self._registry.replace_custom(found[0], found[1], ())

    async def _empty(self, entry: Entry, definition: Object) -> bool:
        """Delete all objects of a definition that is going, then let it go; false while some of them stay."""
        finalizers = definition["metadata"].get("finalizers") or []
        if CLEANUP_FINALIZER not in finalizers:
            self._withdraw(entry.name)
            return True
        spec = definition["spec"]
        bucket = self._registry.bucket(spec["group"], spec["names"]["plural"])
        for one in list(bucket.scan()):
            obj = one.object()
            if bucket.head(one.key) is not one:
                continue
            if not obj["metadata"].get("finalizers"):
                await self._store.delete(bucket, one)
            elif "deletionTimestamp" not in obj["metadata"]:
                obj["metadata"]["deletionTimestamp"] = format_time(self._clock())
                obj["metadata"]["deletionGracePeriodSeconds"] = 0
                await self._store.update(bucket, one, obj)
        if bucket.count():
            return False
        self._withdraw(entry.name)
        rest = [one for one in finalizers if one != CLEANUP_FINALIZER]
        if rest:
            definition["metadata"]["finalizers"] = rest
            await self._write(entry, definition)
        else:
            await self._store.delete(self._bucket, entry)
        return True

    async def _write(self, entry: Entry, definition: Object) -> None:
        schema = schema_for(GROUP, "v1", "CustomResourceDefinition")
        assert schema is not None  # built in
        if self._bucket.head(entry.key) is not entry:
            raise Conflict(entry.key)
        await self._store.update(self._bucket, entry, canonical(definition, schema))


def _condition(definition: Object, type_: str) -> str:
    for one in definition.get("status", {}).get("conditions") or ():
        if one["type"] == type_:
            return str(one["status"])
    return ""
