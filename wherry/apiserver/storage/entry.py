"""What the store keeps of an object: its encoded bytes and, on demand, the few facts that selectors ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

Object = dict[str, Any]
FieldsOf = Callable[[Object], Mapping[str, str]]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_NO_LABELS: Mapping[str, str] = {}


class EventType(StrEnum):
    """Kinds of change, spelled as they appear in a watch stream."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class _Meta(msgspec.Struct, gc=False):
    uid: str = ""
    labels: dict[str, str] | None = None


class _Outline(msgspec.Struct, gc=False):
    metadata: _Meta


_outline = msgspec.json.Decoder(_Outline).decode


class Entry:
    """One version of one object.

    `tail` is the object's JSON without its opening brace and without `kind` and `apiVersion`. Answers are made by
    putting a prefix before it: `{"kind":…,"apiVersion":…,` for a single object, `{` for an item of a list. Nothing is
    decoded for that.
    """

    __slots__ = ("_fields", "_meta", "key", "revision", "tail")

    def __init__(self, key: str, revision: int, tail: bytes) -> None:
        self.key = key
        self.revision = revision
        self.tail = tail
        self._meta: _Meta | None = None
        self._fields: Mapping[str, str] | None = None

    @property
    def namespace(self) -> str:
        """The namespace, empty for a cluster-wide object."""
        return self.key.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The object's name."""
        return self.key.rpartition("/")[2]

    @property
    def uid(self) -> str:
        """`metadata.uid`."""
        return self._outline().uid

    @property
    def labels(self) -> Mapping[str, str]:
        """`metadata.labels`; decoded once, kept afterwards."""
        return self._outline().labels or _NO_LABELS

    def fields(self, of: FieldsOf) -> Mapping[str, str]:
        """The selectable fields as `of` finds them; computed once, kept afterwards."""
        found = self._fields
        if found is None:
            found = self._fields = of(self.object())
        return found

    def object(self) -> Object:
        """A fresh decoded copy, without `kind` and `apiVersion`; the caller may change it."""
        decoded: Object = _decode(b"{" + self.tail)
        return decoded

    def at(self, revision: int) -> Entry:
        """The same content under another revision, as the last state of a deleted object is shown."""
        changed = self.object()
        return make_entry(self.key, revision, changed)

    def _outline(self) -> _Meta:
        meta = self._meta
        if meta is None:
            meta = self._meta = _outline(b"{" + self.tail).metadata
        return meta


class Event:
    """One committed change. `entry` is the new state (of a deletion: the last state under the deletion's revision)."""

    __slots__ = ("bucket", "entry", "prev", "type")

    def __init__(self, type_: EventType, bucket: str, entry: Entry, prev: Entry | None) -> None:
        self.type = type_
        self.bucket = bucket
        self.entry = entry
        self.prev = prev

    @property
    def revision(self) -> int:
        """The global revision this change made."""
        return self.entry.revision


def make_entry(key: str, revision: int, obj: Object) -> Entry:
    """Encode `obj` under `revision`; `kind` and `apiVersion` are taken out of it, `metadata.resourceVersion` is set."""
    obj.pop("kind", None)
    obj.pop("apiVersion", None)
    obj["metadata"]["resourceVersion"] = str(revision)
    return Entry(key, revision, _encode(obj)[1:])
