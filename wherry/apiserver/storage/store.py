"""The store: all objects in memory under one global revision, written through a log.

Contract:
* A write is visible to `get`, `scan` and watchers only once the log has it on disk; its future resolves at that moment.
* Writers see each other's unfinished writes through `head`, so an update never rests on an outdated state.
* Listeners are called once per committed change, in order of revision, in the event loop's thread.
* `changes` replays any part of the history window; what lies before it raises `Compacted`.
* When the disk fails, all writes in flight fail together and the state stays as it was on disk.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile

from wherry.apiserver.storage.entry import Entry, Event, EventType, Object, make_entry
from wherry.apiserver.storage.log import Log, Record

# The history window: watchers that were away for less than this resume without a new list.
WINDOW_EVENTS = 20_000
WINDOW_BYTES = 16 << 20
WINDOW_MINIMUM = 1_000  # kept whatever their size

Listener = Callable[[Event], None]


class Exists(Exception):
    """A create met an object of that name. `entry` is the one that is there."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.key)
        self.entry = entry


class Conflict(Exception):
    """The object changed between reading and writing."""


class Compacted(Exception):
    """A revision before the history window was asked for. `oldest` is the oldest one that can be replayed."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"revision {revision} is before {oldest}")
        self.revision = revision
        self.oldest = oldest


class Bucket:
    """All objects of one kind. Keys are `namespace/name`, or the name alone; iteration follows their byte order."""

    __slots__ = ("entries", "history", "keys", "listeners", "name", "pending")

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: dict[str, Entry] = {}
        self.keys: list[str] = []
        self.pending: dict[str, tuple[Entry | None, int]] = {}
        self.history: deque[Event] = deque()
        self.listeners: list[Listener] = []

    def get(self, key: str) -> Entry | None:
        """The committed state of `key`."""
        return self.entries.get(key)

    def head(self, key: str) -> Entry | None:
        """The newest state of `key`, also when it is still on its way to disk."""
        if key in self.pending:
            return self.pending[key][0]
        return self.entries.get(key)

    def scan(self, namespace: str = "", *, after: str = "") -> Iterator[Entry]:
        """Committed objects in order, of one namespace or of all, those behind key `after` only."""
        entries = self.entries
        low, high = self._range(namespace, after)
        return (entries[key] for key in self.keys[low:high])

    def count(self, namespace: str = "", *, after: str = "") -> int:
        """How many objects `scan` would yield."""
        low, high = self._range(namespace, after)
        return high - low

    def _range(self, namespace: str, after: str) -> tuple[int, int]:
        keys = self.keys
        low, high = 0, len(keys)
        if namespace:
            low, high = bisect_left(keys, namespace + "/"), bisect_left(keys, namespace + "0")  # "0" follows "/"
        if after:
            low = max(low, bisect_left(keys, after + "\0"))
        return low, max(low, high)

    def snapshot(self, revision: int, namespace: str = "", *, after: str = "") -> list[Entry]:
        """The objects as they were at `revision`, which must lie inside the window."""
        state: dict[str, Entry | None] = {}
        for event in reversed(self.history):
            if event.revision <= revision:
                break
            state[event.entry.key] = event.prev
        found = {entry.key: entry for entry in self.scan(namespace, after=after) if entry.key not in state}
        start = namespace + "/"
        for key, entry in state.items():
            if entry is not None and (not namespace or key.startswith(start)) and (not after or key > after):
                found[key] = entry
        return [found[key] for key in sorted(found)]

    def apply(self, event: Event) -> None:
        """Make a committed change visible."""
        key = event.entry.key
        if event.type is EventType.DELETED:
            del self.entries[key]
            del self.keys[bisect_left(self.keys, key)]
        else:
            if key not in self.entries:
                if self.keys and key < self.keys[-1]:
                    insort(self.keys, key)
                else:
                    self.keys.append(key)
            self.entries[key] = event.entry
        self.history.append(event)


class Store:
    """See the module's contract. One instance per server, used from one event loop."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._buckets: dict[str, Bucket] = {}
        self._window: deque[Event] = deque()
        self._window_bytes = 0
        self._queue: list[tuple[Event, asyncio.Future[Entry]]] = []
        self._inflight: dict[int, asyncio.Future[Entry]] = {}
        self._assigned = 0
        self.revision = 0
        self.compacted = 0
        self._load()

    def _load(self) -> None:
        self.compacted, records = self._log.load()
        self.revision = self.compacted
        garbage: list[int] = []
        for record in records:
            bucket = self.bucket(record.bucket)
            entry = Entry(record.key, record.revision, record.value[1:])
            prev = bucket.entries.pop(record.key, None)
            if not record.deleted:
                bucket.entries[record.key] = entry
            if record.revision > self.compacted:
                kind = EventType.DELETED if record.deleted else EventType.MODIFIED if prev else EventType.ADDED
                event = Event(kind, bucket.name, entry, prev)
                bucket.history.append(event)
                self._remember(event)
            else:  # normally gone from disk; left over where forgetting them failed
                garbage += ([prev.revision] if prev else []) + ([record.revision] if record.deleted else [])
            self.revision = record.revision
        for bucket in self._buckets.values():
            bucket.keys = sorted(bucket.entries)
        self._assigned = self.revision
        if garbage:
            self._log.forget(garbage, self.compacted)

    def bucket(self, name: str) -> Bucket:
        """The bucket of that name, made when it is new."""
        found = self._buckets.get(name)
        if found is None:
            found = self._buckets[name] = Bucket(name)
        return found

    def buckets(self) -> Iterable[Bucket]:
        """All buckets."""
        return self._buckets.values()

    def create(self, bucket: Bucket, key: str, obj: Object) -> asyncio.Future[Entry]:
        """Write a new object; raises `Exists` when the key is taken, also by an unfinished write."""
        there = bucket.head(key)
        if there is not None:
            raise Exists(there)
        self._assigned += 1
        return self._write(bucket, Event(EventType.ADDED, bucket.name, make_entry(key, self._assigned, obj), None))

    def update(self, bucket: Bucket, prev: Entry, obj: Object) -> asyncio.Future[Entry]:
        """Replace `prev`; raises `Conflict` when it is not the newest state any more."""
        if bucket.head(prev.key) is not prev:
            raise Conflict(prev.key)
        self._assigned += 1
        entry = make_entry(prev.key, self._assigned, obj)
        return self._write(bucket, Event(EventType.MODIFIED, bucket.name, entry, prev))

    def delete(self, bucket: Bucket, prev: Entry, obj: Object | None = None) -> asyncio.Future[Entry]:
        """Remove `prev`, whose last state is `obj` where it changed; raises `Conflict` as `update` does."""
        if bucket.head(prev.key) is not prev:
            raise Conflict(prev.key)
        self._assigned += 1
        last = prev.at(self._assigned) if obj is None else make_entry(prev.key, self._assigned, obj)
        return self._write(bucket, Event(EventType.DELETED, bucket.name, last, prev))

    async def settled(self, entry: Entry) -> None:
        """Wait until `entry`, found through `head`, is on disk; raises what its write raised."""
        future = self._inflight.get(entry.revision)
        if future is not None:
            await asyncio.shield(future)

    def changes(self, bucket: Bucket, since: int) -> list[Event]:
        """The bucket's changes after revision `since`; raises `Compacted` when some of them are forgotten."""
        if since < self.compacted:
            raise Compacted(since, self.compacted)
        found = list(takewhile(lambda event: event.revision > since, reversed(bucket.history)))
        found.reverse()
        return found

    def close(self) -> None:
        """Bring queued writes to disk and close the log."""
        self._flush()
        self._log.close()

    def _write(self, bucket: Bucket, event: Event) -> asyncio.Future[Entry]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Entry] = loop.create_future()
        state = None if event.type is EventType.DELETED else event.entry
        bucket.pending[event.entry.key] = (state, event.revision)
        if not self._queue:
            loop.call_soon(self._flush)  # all writes of one turn of the loop go to disk together
        self._queue.append((event, future))
        self._inflight[event.revision] = future
        return future

    def _flush(self) -> None:
        batch, self._queue = self._queue, []
        if not batch:
            return
        records = [
            Record(e.revision, e.bucket, e.entry.key, e.type is EventType.DELETED, b"{" + e.entry.tail)
            for e, _ in batch
        ]
        self._log.append(records, lambda failure: self._settle(batch, failure))

    def _settle(self, batch: list[tuple[Event, asyncio.Future[Entry]]], failure: BaseException | None) -> None:
        if failure is not None:
            if batch[0][0].revision in self._inflight:  # else it failed together with an earlier batch
                self._fail(failure)
            return
        for event, future in batch:
            del self._inflight[event.revision]
            self._commit(event)
            if not future.done():
                future.set_result(event.entry)
        self._compact()

    def _commit(self, event: Event) -> None:
        bucket = self._buckets[event.bucket]
        waiting = bucket.pending.get(event.entry.key)
        if waiting is not None and waiting[1] == event.revision:
            del bucket.pending[event.entry.key]
        bucket.apply(event)
        self.revision = event.revision
        self._remember(event)
        for listener in bucket.listeners:
            listener(event)

    def _fail(self, failure: BaseException) -> None:
        """All unfinished writes may rest on the failed one, so they fail with it."""
        waiting, self._inflight = self._inflight, {}
        self._queue.clear()
        for bucket in self._buckets.values():
            bucket.pending.clear()
        self._log.reset()
        for future in waiting.values():
            if not future.done():
                future.set_exception(failure)

    def _remember(self, event: Event) -> None:
        self._window.append(event)
        self._window_bytes += len(event.prev.tail) if event.prev is not None else 0

    def _compact(self) -> None:
        window = self._window
        if len(window) <= WINDOW_EVENTS and (self._window_bytes <= WINDOW_BYTES or len(window) <= WINDOW_MINIMUM):
            return
        forgotten: list[int] = []
        # Down to nine tenths at once, so that this runs rarely.
        while len(window) > WINDOW_EVENTS * 0.9 or (
            self._window_bytes > WINDOW_BYTES * 0.9 and len(window) > WINDOW_MINIMUM * 0.9
        ):
            event = window.popleft()
            self._buckets[event.bucket].history.popleft()
            self.compacted = event.revision
            if event.prev is not None:
                self._window_bytes -= len(event.prev.tail)
                forgotten.append(event.prev.revision)
            if event.type is EventType.DELETED:
                forgotten.append(event.revision)
        self._log.forget(forgotten, self.compacted)
