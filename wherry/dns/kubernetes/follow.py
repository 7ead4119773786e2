"""Follow one kind of object without keeping any: what a table makes of each is all that stays.

An informer (`wherry.kube.informer`) keeps every object, which costs ten times what names need. The promises are an
informer's: the table moves forward through past states of the server; after complete() it was whole once; nothing is
lost over a gap, as it is told everything again then. One object that cannot be read is reported and left out.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from wherry.dns.kubernetes.requests import Requests
from wherry.kube.client import Client
from wherry.kube.errors import ApiError, Gone, ObjectDecodeError, ServerUnavailable
from wherry.kube.kinds import Kind
from wherry.kube.objects import KubeObject
from wherry.kube.wire import decode_list, decode_object

T = TypeVar("T", bound=KubeObject)
_Contra = TypeVar("_Contra", bound=KubeObject, contravariant=True)

_log = logging.getLogger(__name__)
_PAGE = 500
"""Objects asked for at once: half a megabyte that is gone again before the next page comes."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_SHORT_WATCH = 1.0
"""Seconds: a watch that ends sooner without an event counts as failed, so as not to be opened in a loop."""


class Table(Protocol[_Contra]):
    """What is kept of one kind."""

    def begin(self) -> None:
        """All objects follow, through list(), until complete()."""

    def list(self, obj: _Contra) -> None:
        """An object that exists; perhaps one that was told before."""

    def complete(self) -> None:
        """What was not listed since begin() is gone."""

    def put(self, obj: _Contra) -> None:
        """An object is new or has changed."""

    def remove(self, obj: _Contra) -> None:
        """An object is gone; this is its last state."""


class _Bookmark(KubeObject):
    """Of a bookmark only the version is there."""


class Follower(Generic[T]):
    """Keeps a table in step with the server.

    `told` is called after the table changed, with the object, or with None where a whole list was taken over.
    """

    def __init__(
        self,
        kind: Kind[T],
        table: Table[T],
        told: Callable[[T | None], None],
        *,
        clock: Callable[[], float],
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.kind = kind
        self.synced = False
        self.lost_at: float | None = clock()
        """When (on `clock`) the table began to be behind for want of a watch; None: it is not."""
        self._table = table
        self._told = told
        self._clock = clock
        self._raw = Kind(kind.group, kind.version, kind.kind, kind.plural, kind.namespaced, msgspec.Raw)
        self._labels = label_selector
        self._fields = field_selector
        self._version = ""
        self._failed = False
        self._pause = _FIRST_PAUSE

    async def run(self, client: Client, requests: Requests) -> None:
        """Follow the server until cancelled, whatever it does."""
        while True:
            try:
                if not self._version:
                    await self._list(client, requests)
                await self._watch(client, requests)
            except Gone:
                _log.info("plugin/kubernetes: %s: the watch is too far behind, listing again", self.kind.plural)
                self._version = ""
            except ServerUnavailable as error:
                self._lose(error)
                await self._rest()
            except (ApiError, ObjectDecodeError) as error:
                self._lose(error)
                self._version = ""
                await self._rest()

    def _lose(self, error: Exception) -> None:
        if self.lost_at is None or not self.synced:
            _log.warning("plugin/kubernetes: cannot list or watch %s: %s", self.kind.plural, error)
        self._failed = True
        if self.lost_at is None:
            self.lost_at = self._clock()

    async def _rest(self) -> None:
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    async def _list(self, client: Client, requests: Requests) -> None:
        selectors = {"labelSelector": self._labels, "fieldSelector": self._fields}
        first = {key: value for key, value in selectors.items() if value}
        token, version = "", ""
        self._table.begin()
        while True:
            params = first | {"limit": str(_PAGE)} | ({"continue": token} if token else {})
            async with requests.one():
                page = decode_list(self._raw, await client.send("GET", self.kind.path(), params=params))
            for raw in page.items:
                if (obj := self._decode(raw)) is not None:
                    self._table.list(obj)
            version = page.resource_version or version
            token = page.continue_token
            if not token:
                break
        self._table.complete()
        self._version = version
        self._pause = _FIRST_PAUSE
        self.synced = True
        self._told(None)

    async def _watch(self, client: Client, requests: Requests) -> None:
        started = self._clock()
        seen = False
        async with requests.one() as answered:

            def opened() -> None:
                answered()
                if self._failed and self.lost_at is not None:
                    lost = self._clock() - self.lost_at
                    _log.info("plugin/kubernetes: watching %s again after %.0f s", self.kind.plural, lost)
                self._failed, self.lost_at = False, None

            stream = client.watch(
                self._raw,
                label_selector=self._labels,
                field_selector=self._fields,
                resource_version=self._version,
                opened=opened,
            )
            async with aclosing(stream) as events:
                async for event in events:
                    seen = True
                    self._pause = _FIRST_PAUSE
                    self._apply(event.type, event.object)
        if not seen and self._clock() - started < _SHORT_WATCH:
            await self._rest()

    def _apply(self, type_: str, raw: msgspec.Raw) -> None:
        if type_ == "BOOKMARK":
            self._version = decode_object(_BOOKMARK, raw).metadata.resource_version or self._version
            return
        obj = self._decode(raw)
        if obj is None:
            return
        if type_ == "DELETED":
            self._table.remove(obj)
        else:
            self._table.put(obj)
        self._version = obj.metadata.resource_version or self._version
        self._told(obj)

    def _decode(self, raw: msgspec.Raw) -> T | None:
        try:
            return decode_object(self.kind, raw)
        except ObjectDecodeError as error:
            _log.warning("plugin/kubernetes: left out %s: %s", _name_of(raw), error)
            return None


_BOOKMARK: Kind[_Bookmark] = Kind("", "v1", "Bookmark", "bookmarks", True, _Bookmark)


def _name_of(raw: msgspec.Raw) -> str:
    """How to speak of an object that could not be read."""
    body: Any = msgspec.json.decode(raw)
    meta = body.get("metadata") if isinstance(body, dict) else None
    if not isinstance(meta, dict):
        return "an object without metadata"
    return f"{meta.get('namespace') or ''}/{meta.get('name') or ''}".lstrip("/")
