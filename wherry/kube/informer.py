"""A live, indexed copy of one kind of object, kept by list and watch.

What a handler and a reader may rely on:

* **Eventually consistent.** The copy is some past state of the server and moves forward; it may be behind, also behind
  a write of one's own. After :meth:`Informer.synced` it was complete once.
* **Order** is promised per object, not across objects, and not across kinds.
* **Every change ends up as a call, not every step does.** Handlers are called as ``handler(old, new)`` after the copy
  changed: ``(None, new)`` for a new object, ``(old, None)`` for one that is gone. After a gap (list again) several
  steps arrive as one; the same version is never delivered twice. An object deleted and made anew under its name
  arrives as gone and then new, also when that fell into a gap (the uid tells).
* A handler added late is first called with everything there is.
* **Handlers are quick and synchronous**: they put keys into queues. An exception in one stops the informer.
* **Objects are shared and immutable.**

The watch resumes from the last version seen, which bookmarks keep recent on quiet kinds; only an answer of 410 (the
version is too old) makes it list again.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import random
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from wherry.kube.client import Client
from wherry.kube.errors import ApiError, Gone, ObjectDecodeError, ServerUnavailable
from wherry.kube.keys import Key
from wherry.kube.kinds import Kind
from wherry.kube.objects import KubeObject
from wherry.kube.selectors import Selector
from wherry.kube.wire import WatchEvent, name_of, resource_version_of

T = TypeVar("T")
Handler = Callable[[T | None, T | None], None]
IndexFunction = Callable[[T], Iterable[str]]

_log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_SHORT_WATCH = 1.0
"""A watch that ends sooner than this (seconds) without an event counts as failed, so as not to be opened in a loop."""


class Informer(Generic[T]):
    """A live copy of the objects of one kind, perhaps only of one namespace or of those that selectors choose."""

    def __init__(
        self,
        client: Client,
        kind: Kind[T],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.kind = kind
        self._client = client
        self._scope: dict[str, Any] = {
            "namespace": namespace,
            "label_selector": label_selector,
            "field_selector": field_selector,
        }
        self._objects: dict[Key, T] = {}
        self._indexes: dict[str, tuple[IndexFunction[T], dict[str, dict[Key, T]]]] = {}
        self._handlers: builtins.list[Handler[T]] = []
        self._version = ""
        self._synced = asyncio.Event()
        self._pause = _FIRST_PAUSE

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, key: Key) -> T | None:
        """The object of that key, if there is one."""
        return self._objects.get(key)

    def list(self, namespace: str | None = None, selector: Selector | None = None) -> builtins.list[T]:
        """All objects, or those of one namespace, or those whose labels a selector matches."""
        objects: Iterable[T] = self._objects.values()
        if namespace is not None:
            objects = [obj for key, obj in self._objects.items() if key.namespace == namespace]
        if selector is not None:
            objects = [obj for obj in objects if selector.matches(_labels(obj))]
        return [*objects]

    def by_index(self, name: str, value: str) -> builtins.list[T]:
        """The objects that an index files under a value."""
        return [*self._indexes[name][1].get(value, {}).values()]

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def has_synced(self) -> bool:
        """Whether the copy has been complete once."""
        return self._synced.is_set()

    @property
    def resource_version(self) -> str:
        """The revision the copy stands at; empty before the first list."""
        return self._version

    async def synced(self) -> None:
        """Wait until the copy has been complete once."""
        await self._synced.wait()

    # -- setting up ----------------------------------------------------------------------------------------------

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """File every object under the values ``function`` gives for it; the same name twice is the same index."""
        if name in self._indexes:
            return
        table: dict[str, dict[Key, T]] = {}
        for key, obj in self._objects.items():
            for value in function(obj):
                table.setdefault(value, {})[key] = obj
        self._indexes[name] = (function, table)

    def add_handler(self, handler: Handler[T]) -> None:
        """Call ``handler(old, new)`` on every change from now on, and once for each object already here."""
        self._handlers.append(handler)
        for obj in [*self._objects.values()]:
            handler(None, obj)

    # -- following the server ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the server until cancelled, whatever it does."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Gone:
                _log.info("%s: version %s is too old, listing again", self.kind.plural, self._version)
                self._version = ""
            except ServerUnavailable as error:
                _log.info("%s: %s", self.kind.plural, error)
                await self._rest()
            except (ApiError, ObjectDecodeError) as error:
                _log.warning("%s: cannot list or watch: %s", self.kind.plural, error)
                self._version = ""
                await self._rest()

    async def _rest(self) -> None:
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    async def _list(self) -> None:
        listed = await self._client.list(self.kind, **self._scope)
        self._replace({Key(*name_of(obj)): obj for obj in listed.items})
        self._version = listed.resource_version
        self._pause = _FIRST_PAUSE
        self._synced.set()

    async def _watch(self) -> None:
        started = asyncio.get_running_loop().time()
        seen = False
        stream = self._client.watch(self.kind, resource_version=self._version, **self._scope)
        async with aclosing(stream) as events:
            async for event in events:
                seen = True
                self._pause = _FIRST_PAUSE
                self._apply(event)
        if not seen and asyncio.get_running_loop().time() - started < _SHORT_WATCH:
            await self._rest()

    def _apply(self, event: WatchEvent[T]) -> None:
        if event.type != "BOOKMARK":
            key = Key(*name_of(event.object))
            self._set(key, None if event.type == "DELETED" else event.object)
        self._version = resource_version_of(event.object) or self._version

    def _replace(self, objects: dict[Key, T]) -> None:
        """Take over a complete list: what it lacks is gone, what has the version we have is no news."""
        for key in [key for key in self._objects if key not in objects]:
            self._set(key, None)
        for key, obj in objects.items():
            self._set(key, obj)

    def _set(self, key: Key, new: T | None) -> None:
        old = self._objects.get(key)
        if new is None:
            if old is None:
                return
            del self._objects[key]
        else:
            if old is not None and _identity(old) == _identity(new):
                return
            if old is not None and _identity(old)[0] != _identity(new)[0]:
                self._set(key, None)
                old = None
            self._objects[key] = new
        for function, table in self._indexes.values():
            _refile(function, table, key, old, new)
        for handler in self._handlers:
            handler(old, new)


def _refile(function: IndexFunction[T], table: dict[str, dict[Key, T]], key: Key, old: T | None, new: T | None) -> None:
    before = set() if old is None else set(function(old))
    after = set() if new is None else set(function(new))
    for value in before - after:
        del table[value][key]
        if not table[value]:
            del table[value]
    if new is not None:
        for value in after:
            table.setdefault(value, {})[key] = new


def _identity(obj: Any) -> tuple[str, str]:
    """uid and resourceVersion."""
    if isinstance(obj, KubeObject):
        return obj.metadata.uid, obj.metadata.resource_version
    meta = obj.get("metadata") or {}
    return str(meta.get("uid") or ""), str(meta.get("resourceVersion") or "")


def _labels(obj: Any) -> dict[str, str]:
    if isinstance(obj, KubeObject):
        return obj.metadata.labels
    return (obj.get("metadata") or {}).get("labels") or {}


class Informers:
    """The informers of one process: whoever asks for the same objects gets the same copy.

    Informers asked for while :meth:`run` is running start at once.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._informers: dict[tuple[Any, ...], Informer[Any]] = {}
        self._group: asyncio.TaskGroup | None = None

    def informer(
        self,
        kind: Kind[T],
        *,
        namespace: str | None = None,
        field_selector: str = "",
        label_selector: str = "",
    ) -> Informer[T]:
        """The shared informer of these objects."""
        scope = (kind, namespace, field_selector, label_selector)
        found = self._informers.get(scope)
        if found is None:
            found = Informer(
                self.client, kind, namespace=namespace, field_selector=field_selector, label_selector=label_selector
            )
            self._informers[scope] = found
            if self._group is not None:
                self._start(self._group, found)
        return found

    async def run(self) -> None:
        """Run all informers until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for informer in self._informers.values():
                    self._start(group, informer)
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    @staticmethod
    def _start(group: asyncio.TaskGroup, informer: Informer[Any]) -> None:
        group.create_task(informer.run(), name=f"informer {informer.kind.plural}")

    async def synced(self) -> None:
        """Wait until every informer asked for so far has been complete once."""
        for informer in [*self._informers.values()]:
            await informer.synced()
