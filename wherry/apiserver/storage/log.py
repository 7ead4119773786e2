"""The disk as the store sees it: an append-only log of records that can be read back and shortened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol


class StorageError(Exception):
    """The storage cannot be opened, read or written; the text is one line for the operator."""


class Record(NamedTuple):
    """One change on disk: `value` is the whole object as JSON, `deleted` marks its last state."""

    revision: int
    bucket: str
    key: str
    deleted: bool
    value: bytes


Done = Callable[[BaseException | None], None]


class Log(Protocol):
    """Where records live. `append` returns at once; `done` is called in the store's own thread with the outcome.

    Batches are written in the order given. After a batch failed, every batch fails until `reset` was called, so that no
    record can rest on one that is missing.
    """

    def load(self) -> tuple[int, Iterator[Record]]:
        """The highest revision that has left the history window, and all records in order of revision."""

    def append(self, records: Sequence[Record], done: Done) -> None:
        """Write `records` in one transaction."""

    def reset(self) -> None:
        """Accept writes again after a failure; takes its place in the order of calls."""

    def forget(self, revisions: Sequence[int], compacted: int) -> None:
        """Drop superseded records; `compacted` is the new lower edge of the history window."""

    def close(self) -> None:
        """Finish what was appended and close; later calls are errors."""


class MemoryLog:
    """A log without a disk, for tests and for servers that need not survive."""

    def load(self) -> tuple[int, Iterator[Record]]:
        """Nothing was kept."""
        return 0, iter(())

    def append(self, records: Sequence[Record], done: Done) -> None:
        """Succeed at once."""
        done(None)

    def reset(self) -> None:
        """Nothing can fail here."""

    def forget(self, revisions: Sequence[int], compacted: int) -> None:
        """Nothing is kept here."""

    def close(self) -> None:
        """Nothing to close."""
