"""The log on disk: restarts, sudden death, damage."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.apiserver.storage import EventType, StorageError, Store
from wherry.apiserver.storage.sqlite import SqliteLog

_WRITER = """
import asyncio, sys
from pathlib import Path
from wherry.apiserver.storage import Store
from wherry.apiserver.storage.sqlite import SqliteLog

async def main():
    store = Store(SqliteLog(Path(sys.argv[1])))
    bucket = store.bucket("configmaps")

    async def writer(number):
        entry = await store.create(bucket, f"ns/{number}", {"metadata": {"name": str(number)}, "n": 0})
        while True:
            entry = await store.update(bucket, entry, {"metadata": {"name": str(number)}, "n": entry.object()["n"] + 1})
            print(number, entry.object()["n"], entry.revision, flush=True)

    await asyncio.gather(*(writer(number) for number in range(8)))

asyncio.run(main())
"""


def config(name: str, value: str = "") -> dict[str, object]:
    return {"metadata": {"name": name, "uid": f"u-{name}", "labels": {"l": name}}, "data": {"v": value}}


async def test_a_restart_finds_objects_history_and_revision(tmp_path: Path) -> None:
    path = tmp_path / "db" / "state.db"
    store = Store(SqliteLog(path))
    bucket = store.bucket("configmaps")
    one = await store.create(bucket, "ns/a", config("a", "1"))
    await store.update(bucket, one, config("a", "2"))
    two = await store.create(bucket, "ns/b", config("b"))
    await store.delete(bucket, two)
    store.close()

    store = Store(SqliteLog(path))
    bucket = store.bucket("configmaps")
    assert store.revision == 4
    assert [entry.key for entry in bucket.scan()] == ["ns/a"]
    found = bucket.get("ns/a")
    assert found is not None
    assert (found.object()["data"], found.uid, found.labels) == ({"v": "2"}, "u-a", {"l": "a"})
    kinds = [(event.type, event.revision, event.prev is not None) for event in store.changes(bucket, 1)]
    assert kinds == [(EventType.MODIFIED, 2, True), (EventType.ADDED, 3, False), (EventType.DELETED, 4, True)]
    assert (await store.create(bucket, "ns/c", config("c"))).revision == 5
    store.close()


def write_until_killed(path: Path) -> dict[str, tuple[int, int]]:
    """Run a writer, kill it amid its writes; what it had acknowledged, by object: value and revision."""
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged: dict[str, tuple[int, int]] = {}
    for _ in range(400):
        number, value, revision = process.stdout.readline().split()
        acknowledged[number] = (int(value), int(revision))
    os.kill(process.pid, signal.SIGKILL)
    for line in process.stdout:
        if len(parts := line.split()) == 3 and line.endswith("\n"):
            acknowledged[parts[0]] = (int(parts[1]), int(parts[2]))
    process.wait()
    process.stdout.close()
    return acknowledged


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    acknowledged = write_until_killed(path)
    store = Store(SqliteLog(path))
    bucket = store.bucket("configmaps")
    assert len(acknowledged) == 8
    for number, (value, revision) in acknowledged.items():
        entry = bucket.get(f"ns/{number}")
        assert entry is not None
        assert entry.object()["n"] >= value
        assert entry.revision >= revision
    store.close()


async def test_a_second_server_on_the_same_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = Store(SqliteLog(path))
    await store.create(store.bucket("configmaps"), "ns/a", config("a"))
    with pytest.raises(StorageError, match="in use by another server"):
        SqliteLog(path)
    store.close()


@pytest.mark.parametrize("size", [4096, 40_000])
async def test_a_corrupt_file_gives_one_clear_line(tmp_path: Path, size: int) -> None:
    path = tmp_path / "state.db"
    store = Store(SqliteLog(path))
    for number in range(200):
        await store.create(store.bucket("configmaps"), f"ns/{number}", config(str(number), "x" * 400))
    store.close()
    with path.open("r+b") as file:
        file.seek(0 if size == 4096 else 8192)
        file.write(b"\xa5" * size)
    with pytest.raises(StorageError, match=r"corrupt .*restore it from a backup or remove it") as caught:
        SqliteLog(path)
    assert "\n" not in str(caught.value)


async def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE mine (x)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program"):
        SqliteLog(path)
    assert path.read_bytes()[100:] == before[100:]


async def test_a_write_that_fails_is_reported_and_the_next_ones_work(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    log = SqliteLog(path)
    store = Store(log)
    bucket = store.bucket("configmaps")
    await store.create(bucket, "ns/a", config("a"))
    log._db.execute("PRAGMA max_page_count=1")  # the smallest it can be set to is the present size
    failing = [store.create(bucket, f"ns/big{number}", config("big", "x" * 50_000)) for number in range(3)]
    results = await asyncio.gather(*failing, return_exceptions=True)
    assert all(isinstance(result, StorageError) for result in results)
    assert bucket.head("ns/big0") is None
    log._db.execute("PRAGMA max_page_count=1000000")
    entry = await store.create(bucket, "ns/b", config("b"))
    store.close()
    store = Store(SqliteLog(path))
    assert [one.key for one in store.bucket("configmaps").scan()] == ["ns/a", "ns/b"]
    assert store.revision == entry.revision
    store.close()
