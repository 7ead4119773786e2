"""Storage of the API server: every object in memory, every write on disk before it counts.

`store.Store` keeps etcd's model: one global revision for all kinds, compare-and-swap per key, and a window of history
from which watches resume. `sqlite.SqliteLog` is the disk below it.
"""

from wherry.apiserver.storage.entry import Entry, Event, EventType
from wherry.apiserver.storage.log import Log, MemoryLog, Record, StorageError
from wherry.apiserver.storage.store import Bucket, Compacted, Conflict, Exists, Store

__all__ = [
    "Bucket",
    "Compacted",
    "Conflict",
    "Entry",
    "Event",
    "EventType",
    "Exists",
    "Log",
    "MemoryLog",
    "Record",
    "StorageError",
    "Store",
]
