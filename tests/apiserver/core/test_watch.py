"""What a watch stream promises, with a client that can be slow."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from wherry.apiserver import watch as watch_module
from wherry.apiserver.encode import EventEncoder, Tables
from wherry.apiserver.kinds.core.config import CONFIG_MAPS
from wherry.apiserver.negotiate import Format
from wherry.apiserver.served import Served
from wherry.apiserver.storage import Entry, MemoryLog, Store
from wherry.apiserver.watch import Hub, Watcher


class Client:
    """The receiving end; `stuck` bytes are taken from it only when it reads."""

    def __init__(self) -> None:
        self.received = b""
        self.stuck = False
        self._kept = 0

    def write(self, data: bytes) -> None:
        self.received += data
        if self.stuck:
            self._kept += len(data)

    def backlog(self) -> int:
        return self._kept

    async def drain(self) -> None:
        await asyncio.sleep(0)

    @property
    def events(self) -> list[tuple[str, str, str]]:
        found = []
        for line in self.received.splitlines():
            event = json.loads(line)
            metadata = event["object"].get("metadata", {})
            found.append((event["type"], metadata.get("name", ""), metadata.get("resourceVersion", "")))
        return found


class Stage:
    """A store with one bucket and a hub."""

    def __init__(self) -> None:
        self.store = Store(MemoryLog())
        self.bucket = self.store.bucket("configmaps")
        self.hub = Hub(self.store)
        self.served = Served(CONFIG_MAPS, self.bucket)
        self.tables = Tables(lambda served, column: "", lambda: datetime.now(UTC))

    def watcher(self, **wanted: Any) -> Watcher:
        form = wanted.pop("form", Format())
        settings: dict[str, Any] = {"namespace": "", "name": "", "match": None, "revision": self.store.revision}
        return Watcher(EventEncoder(self.served, form, self.tables), **{**settings, **wanted})

    async def create(self, name: str, **labels: str) -> Entry:
        metadata = {"name": name, "namespace": "ns", "labels": labels}
        return await self.store.create(self.bucket, f"ns/{name}", {"metadata": metadata})

    async def relabel(self, entry: Entry, **labels: str) -> Entry:
        metadata = {"name": entry.name, "namespace": "ns", "labels": labels}
        return await self.store.update(self.bucket, entry, {"metadata": metadata})


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def run(watcher: Watcher, client: Client, initial: list[Any] | None = None, seconds: float = 0.01) -> None:
    await watcher.run(client, initial or [], seconds)


async def test_changes_arrive_in_order_without_gaps(stage: Stage) -> None:
    client, watcher = Client(), stage.watcher()
    stage.hub.open(stage.bucket, watcher, bookmarks=False)
    early = await stage.create("before-run")  # fed before the stream writes
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run(watcher, client, seconds=0.2))
        await asyncio.sleep(0)
        changed = await stage.relabel(early, a="b")
        await stage.store.delete(stage.bucket, changed)
        watcher.close()
    assert client.events == [
        ("ADDED", "before-run", "1"),
        ("MODIFIED", "before-run", "2"),
        ("DELETED", "before-run", "3"),
    ]


async def test_objects_enter_and_leave_a_selection(stage: Stage) -> None:
    client = Client()
    watcher = stage.watcher(match=lambda entry: entry.labels.get("app") == "x")
    stage.hub.open(stage.bucket, watcher, bookmarks=False)
    one = await stage.create("one", app="x")
    two = await stage.create("two")
    await stage.relabel(two, app="x")
    one = await stage.relabel(one, app="y")
    await stage.relabel(one, app="z")
    await run(watcher, client)
    assert client.events == [("ADDED", "one", "1"), ("ADDED", "two", "3"), ("DELETED", "one", "4")]
    last = json.loads(client.received.splitlines()[-1])
    assert last["object"]["metadata"]["labels"] == {"app": "x"}  # its last state inside the selection


async def test_other_names_and_namespaces_stay_out(stage: Stage) -> None:
    client, watcher = Client(), stage.watcher(namespace="ns", name="two")
    other = stage.watcher(namespace="elsewhere")
    for one in (watcher, other):
        stage.hub.open(stage.bucket, one, bookmarks=False)
    await stage.create("one")
    await stage.create("two")
    await run(watcher, client)
    assert client.events == [("ADDED", "two", "2")]
    quiet = Client()
    await run(other, quiet)
    assert quiet.events == []


async def test_history_is_replayed_from_a_revision(stage: Stage) -> None:
    one = await stage.create("one")
    await stage.relabel(one, a="b")
    watcher = stage.watcher(revision=1)
    replayed = stage.hub.replay(stage.bucket, watcher)
    assert [(kind.value, entry.revision) for kind, entry in replayed] == [("MODIFIED", 2)]
    assert stage.hub.replay(stage.bucket, stage.watcher(revision=99)) == []


async def test_a_client_that_does_not_read_is_cut_off(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "BACKLOG_LIMIT", 2000)
    client, watcher = Client(), stage.watcher()
    client.stuck = True
    stage.hub.open(stage.bucket, watcher, bookmarks=False)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run(watcher, client, seconds=60))  # ends by itself: it is cut off
        await asyncio.sleep(0)
        for number in range(100):
            await stage.create(f"n{number}")
    assert len(client.received) < 2000 + 1000
    last = json.loads(client.received.splitlines()[-1])
    assert (last["type"], last["object"]["code"], last["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_too_much_before_the_stream_begins_cuts_off_as_well(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "BACKLOG_LIMIT", 1000)
    client, watcher = Client(), stage.watcher()
    stage.hub.open(stage.bucket, watcher, bookmarks=False)
    for number in range(50):
        await stage.create(f"n{number}")
    await run(watcher, client, seconds=60)
    assert [kind for kind, _, _ in client.events] == ["ERROR"]


async def test_bookmarks_tell_only_what_is_new(stage: Stage) -> None:
    client, watcher = Client(), stage.watcher(namespace="elsewhere")
    stage.hub.open(stage.bucket, watcher, bookmarks=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run(watcher, client, seconds=60))
        await asyncio.sleep(0)
        await stage.create("one")
        watcher.bookmark(stage.store.revision)
        watcher.bookmark(stage.store.revision)
        watcher.close()
    assert client.events == [("BOOKMARK", "", "1")]


async def test_closing_the_hub_ends_streams_present_and_future(stage: Stage) -> None:
    watcher, late = stage.watcher(), stage.watcher()
    stage.hub.open(stage.bucket, watcher, bookmarks=False)
    stage.hub.close()
    stage.hub.open(stage.bucket, late, bookmarks=False)
    async with asyncio.timeout(5):
        await run(watcher, Client(), seconds=60)
        await run(late, Client(), seconds=60)
    stage.hub.drop(stage.bucket, watcher)
    stage.hub.drop(stage.bucket, late)
    assert len(stage.hub) == 0


async def test_an_event_is_encoded_once_for_all_streams(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    original = EventEncoder.event
    monkeypatch.setattr(EventEncoder, "event", lambda *args: encoded.append("x") or original(*args))
    clients = [(stage.watcher(), Client()) for _ in range(5)]
    for watcher, _ in clients:
        stage.hub.open(stage.bucket, watcher, bookmarks=False)
    await stage.create("one")
    assert len(encoded) == 1
    for watcher, client in clients:
        await run(watcher, client)
        assert client.events == [("ADDED", "one", "1")]


async def test_tables_carry_their_columns_once(stage: Stage) -> None:
    client = Client()
    watcher = stage.watcher(form=Format("application/json", "Table", "v1"))
    stage.hub.open(stage.bucket, watcher, bookmarks=False)
    metadata = {"name": "one", "namespace": "ns", "creationTimestamp": "2024-01-01T00:00:00Z"}
    one = await stage.store.create(stage.bucket, "ns/one", {"metadata": metadata})
    await stage.store.update(stage.bucket, one, {"metadata": metadata, "data": {"a": "b"}})
    await run(watcher, client)
    first, second = (json.loads(line)["object"] for line in client.received.splitlines())
    assert [column["name"] for column in first["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert second["columnDefinitions"] is None
    assert second["rows"][0]["cells"][:2] == ["one", 1]
