"""Watches: each committed change is encoded once and handed to every stream that may see it.

Contract of a stream:
* Events come in order of revision, none twice and none left out, from the revision asked for.
* With a selector, an object that begins or ceases to match is ADDED or DELETED (with its last matching state).
* A client that does not read is cut off with a 410 event once `BACKLOG_LIMIT` bytes wait for it; nothing is buffered
  without bound.
* A stream ends after its timeout or when the server stops, without an error: clients resume from the last revision.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence

from wherry.apiserver.encode import EventEncoder
from wherry.apiserver.request import Sink
from wherry.apiserver.status import expired
from wherry.apiserver.storage import Bucket, Compacted, Entry, Event, EventType, Store

BACKLOG_LIMIT = 16 << 20  # bytes; some events of the largest size (3 MiB) fit
BOOKMARK_INTERVAL = 60.0  # seconds, as the real server does it
_SLICE = 256  # initial events written between two looks at the client's progress
_TIMEOUT = (1800.0, 3600.0)  # seconds; drawn per stream so that clients do not come back all at once

Match = Callable[[Entry], bool]


class Watcher:
    """One stream. It is fed by `Hub`, and written out by `run`."""

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_done",
        "_live",
        "_sink",
        "encoder",
        "from_revision",
        "match",
        "name",
        "namespace",
        "sent",
    )

    def __init__(self, encoder: EventEncoder, *, namespace: str, name: str, match: Match | None, revision: int) -> None:
        self.encoder = encoder
        self.namespace = namespace
        self.name = name
        self.match = match
        self.from_revision = revision
        self.sent = revision
        self._backlog: list[bytes] = []
        self._backlog_bytes = 0
        self._live = False
        self._sink: Sink | None = None
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def see(self, event: Event) -> tuple[EventType, Entry] | None:
        """What `event` is to this stream, if anything."""
        entry = event.entry
        if event.revision <= self.from_revision:
            return None
        if self.namespace and entry.namespace != self.namespace:
            return None
        if self.name and entry.name != self.name:
            return None
        match = self.match
        if match is None:
            return event.type, entry
        before = event.prev is not None and match(event.prev)
        after = event.type is not EventType.DELETED and match(entry)
        if after:
            return (EventType.MODIFIED if before else EventType.ADDED), entry
        if not before:
            return None
        if event.type is EventType.DELETED:
            return EventType.DELETED, entry
        assert event.prev is not None  # it matched before
        return EventType.DELETED, event.prev.at(event.revision)

    def feed(self, event: Event, shared: dict[object, bytes]) -> None:
        """Pass a committed change on; `shared` holds what was encoded for other streams of the same form."""
        seen = self.see(event)
        if seen is None:
            return
        kind, entry = seen
        if entry is event.entry:
            key = (kind, self.encoder.key)
            data = shared.get(key)
            if data is None:
                data = shared[key] = self.encoder.event(kind, entry)
        else:
            data = self.encoder.event(kind, entry)
        self.sent = event.revision
        self._send(data)

    def bookmark(self, revision: int) -> None:
        """Tell the client how far it is, unless it knows."""
        if self._live and revision > self.sent and not self._done.done():
            self.sent = revision
            self._send(self.encoder.bookmark(revision, end_of_initial=False))

    def close(self) -> None:
        """End the stream."""
        if not self._done.done():
            self._done.set_result(None)

    def _send(self, data: bytes) -> None:
        if self._done.done():
            return
        if not self._live or self._sink is None:
            self._backlog.append(data)
            self._backlog_bytes += len(data)
            if self._backlog_bytes > BACKLOG_LIMIT:
                self._backlog = [self._cut_off()]
        elif self._sink.backlog() + len(data) > BACKLOG_LIMIT:
            self._sink.write(self._cut_off())
        else:
            self._sink.write(data)

    def _cut_off(self) -> bytes:
        self.close()
        return self.encoder.error(expired("the client is too slow to keep up with the changes").status)

    async def run(self, sink: Sink, initial: Sequence[bytes | tuple[EventType, Entry]], seconds: float | None) -> None:
        """Write `initial`, then what was and will be fed, until the time is over, `close` or cancellation."""
        self._sink = sink
        for start in range(0, len(initial), _SLICE):
            for item in initial[start : start + _SLICE]:
                sink.write(item if isinstance(item, bytes) else self.encoder.event(*item))
            await sink.drain()
        for data in self._backlog:
            sink.write(data)
        self._backlog = []
        self._live = True
        limit = seconds if seconds is not None else random.uniform(*_TIMEOUT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._done


class Hub:
    """All open watches of a server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watchers: dict[str, set[Watcher]] = {}
        self._bookmarked: set[Watcher] = set()
        self.closed = False

    def __len__(self) -> int:
        return sum(map(len, self._watchers.values()))

    def open(self, bucket: Bucket, watcher: Watcher, *, bookmarks: bool) -> None:
        """Feed `watcher` with the changes of `bucket` from now on."""
        watchers = self._watchers.get(bucket.name)
        if watchers is None:
            watchers = self._watchers[bucket.name] = set()
            bucket.listeners.append(self._fan_out)
        watchers.add(watcher)
        if bookmarks:
            self._bookmarked.add(watcher)
        if self.closed:
            watcher.close()

    def drop(self, bucket: Bucket, watcher: Watcher) -> None:
        """Forget `watcher`."""
        self._watchers[bucket.name].discard(watcher)
        self._bookmarked.discard(watcher)

    def replay(self, bucket: Bucket, watcher: Watcher) -> list[tuple[EventType, Entry]]:
        """The changes since the watcher's revision; raises `Compacted`."""
        if watcher.from_revision > self._store.revision:
            return []
        changes = self._store.changes(bucket, watcher.from_revision)
        return [seen for seen in map(watcher.see, changes) if seen is not None]

    def _fan_out(self, event: Event) -> None:
        shared: dict[object, bytes] = {}
        for watcher in tuple(self._watchers[event.bucket]):
            watcher.feed(event, shared)

    def close(self) -> None:
        """End all streams, and every later one at once."""
        self.closed = True
        for watchers in self._watchers.values():
            for watcher in tuple(watchers):
                watcher.close()

    async def run(self) -> None:
        """Send bookmarks until cancelled."""
        while True:
            await asyncio.sleep(BOOKMARK_INTERVAL)
            for watcher in tuple(self._bookmarked):
                watcher.bookmark(self._store.revision)


__all__ = ["BACKLOG_LIMIT", "BOOKMARK_INTERVAL", "Compacted", "Hub", "Watcher"]
