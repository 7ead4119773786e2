"""The log in SQLite: one writer thread, group commit, an fsync before anything is acknowledged.

Layout of `state.db`: table `log` holds one row per change, `meta` the lower edge of the history window. Rows are only
inserted, and deleted once they are superseded and out of the window; so the newest row of a key is its state. WAL with
`synchronous=FULL` (https://www.sqlite.org/pragma.html#pragma_synchronous): a committed row survives kill -9 and
power loss.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wherry.apiserver.storage.log import Done, Record, StorageError

_APPLICATION = 0x77687279  # "whry": tells our files from other SQLite files
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (revision INTEGER PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL,
                                deleted INTEGER NOT NULL, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_MAX_BATCH = 2048  # records in one transaction: bounds the latency of the first of them to some milliseconds


class _Append(NamedTuple):
    records: Sequence[Record]
    done: Done


class _Forget(NamedTuple):
    revisions: Sequence[int]
    compacted: int


class _Reset(NamedTuple):
    pass


class _Close(NamedTuple):
    pass


_Job = _Append | _Forget | _Reset | _Close


class _Batch:
    """Jobs that share a transaction, and what follows it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.dones: list[Done] = []
        self.doomed: list[int] = []
        self.compacted = 0
        self.end: _Reset | _Close | None = None

    def add(self, job: _Job) -> bool:
        """Take `job` in; false when the batch is complete."""
        match job:
            case _Append(records, done):
                self.records.extend(records)
                self.dones.append(done)
                return len(self.records) < _MAX_BATCH
            case _Forget(revisions, compacted):
                self.doomed.extend(revisions)
                self.compacted = compacted
                return True
            case _Reset() | _Close():
                self.end = job
                return False


class SqliteLog:
    """See `wherry.apiserver.storage.log.Log`. Must be made inside the event loop that is to be told of outcomes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._db = self._open()
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)
        self._thread.start()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"cannot open the database {self._path}: {error}") from error
        try:
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            application = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
            empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
            if not empty and application != _APPLICATION:
                raise StorageError(f"{self._path} is a database of another program; move it away to start afresh")
            if version > _VERSION:
                raise StorageError(f"{self._path} is of a newer version (format {version}, ours is {_VERSION})")
            finding = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if finding != "ok":
                raise StorageError(self._corrupt(finding))
            db.execute(f"PRAGMA application_id={_APPLICATION}")
            db.execute(f"PRAGMA user_version={_VERSION}")
            db.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            db.close()
            if "locked" in str(error):
                raise StorageError(f"the database {self._path} is in use by another server") from error
            raise StorageError(f"cannot use the database {self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            db.close()
            raise StorageError(self._corrupt(str(error))) from error
        except StorageError:
            db.close()
            raise
        return db

    def _corrupt(self, detail: str) -> str:
        line = " ".join(detail.split())
        return f"the database {self._path} is corrupt ({line}); restore it from a backup or remove it to start afresh"

    def load(self) -> tuple[int, Iterator[Record]]:
        """Read the window's edge and every record; call before the first `append`."""
        row = self._db.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone()
        return (row[0] if row else 0), self._rows()

    def _rows(self) -> Iterator[Record]:
        try:
            query = "SELECT revision, bucket, key, deleted, value FROM log ORDER BY revision"
            for revision, bucket, key, deleted, value in self._db.execute(query):
                yield Record(revision, bucket, key, bool(deleted), value)
        except sqlite3.DatabaseError as error:
            raise StorageError(self._corrupt(str(error))) from error

    def append(self, records: Sequence[Record], done: Done) -> None:
        """Hand `records` to the writer thread."""
        self._jobs.put(_Append(records, done))

    def reset(self) -> None:
        """Let the writer accept batches again."""
        self._jobs.put(_Reset())

    def forget(self, revisions: Sequence[int], compacted: int) -> None:
        """Delete rows in the writer thread, together with its next transaction."""
        self._jobs.put(_Forget(revisions, compacted))

    def close(self) -> None:
        """Write what is queued, then close the file."""
        self._jobs.put(_Close())
        self._thread.join()

    def _run(self) -> None:
        failure: StorageError | None = None
        while True:
            batch = self._gather()
            if failure is None and (batch.records or batch.doomed):
                try:
                    self._write(batch)
                except (sqlite3.Error, OSError) as error:
                    failure = StorageError(f"cannot write the database {self._path}: {error}")
                    failure.__cause__ = error
            if batch.dones:
                self._tell(batch.dones, failure)
            if isinstance(batch.end, _Reset):
                failure = None
            elif isinstance(batch.end, _Close):
                break
        self._db.close()

    def _gather(self) -> _Batch:
        batch = _Batch()
        job = self._jobs.get()
        while batch.add(job):
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
        return batch

    def _write(self, batch: _Batch) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", batch.records)
            if batch.doomed:
                db.executemany("DELETE FROM log WHERE revision = ?", [(revision,) for revision in batch.doomed])
                db.execute("INSERT OR REPLACE INTO meta VALUES ('compacted', ?)", (batch.compacted,))
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to report
                db.execute("ROLLBACK")
            raise

    def _tell(self, dones: list[Done], failure: BaseException | None) -> None:
        def deliver() -> None:
            for done in dones:
                done(failure)

        with contextlib.suppress(RuntimeError):  # the loop is gone: the process is ending and nobody waits any more
            self._loop.call_soon_threadsafe(deliver)
