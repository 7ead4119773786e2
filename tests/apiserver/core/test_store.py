"""The store's contract, with a log whose writes finish when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from wherry.apiserver.storage import (
    Compacted,
    Conflict,
    Event,
    EventType,
    Exists,
    MemoryLog,
    Record,
    StorageError,
    Store,
)
from wherry.apiserver.storage import store as store_module
from wherry.apiserver.storage.log import Done


class HeldLog:
    """Keeps appended batches until `finish` or `fail`."""

    def __init__(self, records: Sequence[Record] = (), compacted: int = 0) -> None:
        self.records = list(records)
        self.compacted = compacted
        self.waiting: list[tuple[Sequence[Record], Done]] = []
        self.resets = 0
        self.forgotten: list[int] = []

    def load(self) -> tuple[int, Iterator[Record]]:
        return self.compacted, iter(list(self.records))

    def append(self, records: Sequence[Record], done: Done) -> None:
        self.waiting.append((records, done))

    def finish(self) -> None:
        waiting, self.waiting = self.waiting, []
        for records, done in waiting:
            self.records.extend(records)
            done(None)

    def fail(self) -> None:
        waiting, self.waiting = self.waiting, []
        for _, done in waiting:
            done(StorageError("disk full"))

    def reset(self) -> None:
        self.resets += 1

    def forget(self, revisions: Sequence[int], compacted: int) -> None:
        self.forgotten.extend(revisions)
        gone = set(revisions)
        self.records = [record for record in self.records if record.revision not in gone]
        self.compacted = compacted

    def close(self) -> None:
        pass


def config(name: str, value: str = "") -> dict[str, object]:
    metadata = {"name": name, "uid": f"u-{name}"}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"v": value}}


async def test_a_write_is_visible_once_it_is_on_disk() -> None:
    log = HeldLog()
    store = Store(log)
    bucket = store.bucket("configmaps")
    seen: list[Event] = []
    bucket.listeners.append(seen.append)
    written = store.create(bucket, "ns/a", config("a"))
    await asyncio.sleep(0)
    assert bucket.get("ns/a") is None
    assert store.revision == 0
    assert seen == []
    log.finish()
    entry = await written
    assert bucket.get("ns/a") is entry
    assert store.revision == entry.revision == 1
    assert [(event.type, event.revision) for event in seen] == [(EventType.ADDED, 1)]
    assert entry.object()["metadata"]["resourceVersion"] == "1"
    assert "kind" not in entry.object()


async def test_writers_see_unfinished_writes() -> None:
    log = HeldLog()
    store = Store(log)
    bucket = store.bucket("configmaps")
    store.create(bucket, "ns/a", config("a"))
    with pytest.raises(Exists):
        store.create(bucket, "ns/a", config("a"))
    head = bucket.head("ns/a")
    assert head is not None
    second = store.update(bucket, head, config("a", "2"))
    with pytest.raises(Conflict):
        store.update(bucket, head, config("a", "3"))
    await asyncio.sleep(0)
    assert len(log.waiting) == 1  # both travel in one batch
    log.finish()
    assert (await second).object()["data"] == {"v": "2"}


async def test_when_the_disk_fails_all_writes_in_flight_fail_and_later_ones_succeed() -> None:
    log = HeldLog()
    store = Store(log)
    bucket = store.bucket("configmaps")
    first = store.create(bucket, "ns/a", config("a"))
    await asyncio.sleep(0)
    second = store.create(bucket, "ns/b", config("b"))
    await asyncio.sleep(0)
    assert len(log.waiting) == 2
    log.fail()
    for write in (first, second):
        with pytest.raises(StorageError, match="disk full"):
            await write
    assert log.resets == 1
    assert bucket.head("ns/a") is None
    third = store.create(bucket, "ns/a", config("a"))
    await asyncio.sleep(0)
    log.finish()
    assert (await third).revision == 3
    assert store.revision == 3


async def test_iteration_follows_key_order_and_namespaces() -> None:
    store = Store(MemoryLog())
    bucket = store.bucket("configmaps")
    for key in ("b/x", "a/z", "a-b/k", "a/a", "b/a"):
        await store.create(bucket, key, config(key.partition("/")[2]))
    assert [entry.key for entry in bucket.scan()] == ["a-b/k", "a/a", "a/z", "b/a", "b/x"]
    assert [entry.name for entry in bucket.scan("a")] == ["a", "z"]
    assert [entry.name for entry in bucket.scan("a", after="a/a")] == ["z"]
    assert bucket.count("b") == 2


async def test_the_past_can_be_read_inside_the_window() -> None:
    store = Store(MemoryLog())
    bucket = store.bucket("configmaps")
    one = await store.create(bucket, "ns/a", config("a", "1"))
    two = await store.update(bucket, one, config("a", "2"))
    await store.create(bucket, "ns/b", config("b"))
    await store.delete(bucket, two)
    assert [entry.key for entry in bucket.snapshot(1, "ns")] == ["ns/a"]
    assert bucket.snapshot(1)[0].object()["data"] == {"v": "1"}
    assert [entry.key for entry in bucket.snapshot(3)] == ["ns/a", "ns/b"]
    assert [entry.key for entry in bucket.snapshot(3, after="ns/a")] == ["ns/b"]
    assert [entry.key for entry in bucket.snapshot(4)] == ["ns/b"]


async def test_changes_replay_in_order_and_a_deletion_has_a_revision_of_its_own() -> None:
    store = Store(MemoryLog())
    bucket = store.bucket("configmaps")
    one = await store.create(bucket, "ns/a", config("a"))
    await store.delete(bucket, one)
    await store.create(store.bucket("secrets"), "ns/s", config("s"))
    events = store.changes(bucket, 0)
    assert [(event.type, event.revision) for event in events] == [(EventType.ADDED, 1), (EventType.DELETED, 2)]
    assert events[1].entry.object()["metadata"]["resourceVersion"] == "2"
    assert store.changes(bucket, 2) == []


async def test_the_window_forgets_what_is_superseded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "WINDOW_EVENTS", 10)
    log = HeldLog()
    store = Store(log)
    bucket = store.bucket("configmaps")

    async def done(write: asyncio.Future[object]) -> object:
        await asyncio.sleep(0)
        log.finish()
        return await write

    entry = await done(store.create(bucket, "ns/kept", config("kept")))
    changing = await done(store.create(bucket, "ns/changing", config("changing")))
    gone = await done(store.create(bucket, "ns/gone", config("gone")))
    await done(store.delete(bucket, gone))  # type: ignore[arg-type]
    for number in range(20):
        changing = await done(store.update(bucket, changing, config("changing", str(number))))  # type: ignore[arg-type]
    with pytest.raises(Compacted):
        store.changes(bucket, 3)
    assert store.compacted > 4
    # On disk: what lives, and what the window needs; the deleted object left no trace.
    again = Store(HeldLog(log.records, log.compacted))
    assert again.revision == store.revision
    assert [one.key for one in again.bucket("configmaps").scan()] == ["ns/changing", "ns/kept"]
    assert all(record.key != "ns/gone" for record in log.records)
    assert [event.revision for event in again.changes(again.bucket("configmaps"), store.compacted)] == [
        event.revision for event in store.changes(bucket, store.compacted)
    ]
    assert bucket.get("ns/kept") is entry
