"""Objects, lists and watch events in every form a client can ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from wherry.apiserver.kinds.model import Column, Object
from wherry.apiserver.kinds.printing import name_and_age
from wherry.apiserver.negotiate import Format
from wherry.apiserver.request import YAML
from wherry.apiserver.served import Served
from wherry.apiserver.storage import Entry, EventType

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
Describe = Callable[[Served, Column], str]
"""Finds the text of a printer column."""


def as_yaml(obj: object) -> bytes:
    """YAML as the API server writes it: sorted keys."""
    from wherry.config import yaml  # rarely asked for, so loaded late

    return yaml.dump(msgspec.to_builtins(obj, order="sorted")).encode()


def payload(form: Format, obj: object) -> bytes:
    """A decoded value in the media type asked for."""
    return as_yaml(obj) if form.media_type == YAML else _encode(obj)


def partial(obj: Object, version: str = "v1") -> Object:
    """The metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj.get("metadata", {}),
    }


class Tables:
    """Makes Tables: the columns are described from the kind's schema, the cells come from the row."""

    def __init__(self, describe: Describe, now: Callable[[], datetime]) -> None:
        self._describe = describe
        self._now = now
        self._columns: dict[tuple[str, str, str], list[Object]] = {}

    def columns(self, served: Served) -> list[Object]:
        """The column definitions of a resource."""
        row = served.resource
        key = (row.group, row.version, row.plural)
        found = None if served.custom else self._columns.get(key)
        if found is None:
            found = [
                {
                    "name": column.name,
                    "type": column.type,
                    "format": column.format,
                    "description": self._describe(served, column),
                    "priority": column.priority,
                }
                for column in row.columns
            ]
            self._columns[key] = found
        return found

    def table(
        self,
        served: Served,
        objects: Iterable[Object],
        metadata: Object,
        *,
        version: str,
        include: str = "Metadata",
        headers: bool = True,
    ) -> Object:
        """A Table of complete objects; `include` says what of each object goes along."""
        now = self._now()
        return {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{version}",
            "metadata": metadata,
            "columnDefinitions": self.columns(served) if headers else None,
            "rows": [self._row(served, obj, include, version, now) for obj in objects],
        }

    def _row(self, served: Served, obj: Object, include: str, version: str, now: datetime) -> Object:
        resource = served.resource
        found: Sequence[Any] = (resource.cells or name_and_age)(obj, now)
        kept: Object | None = obj if include == "Object" else None if include == "None" else partial(obj, version)
        row = {"cells": found, "object": kept}
        if resource.row_conditions is not None and (conditions := resource.row_conditions(obj)):
            row["conditions"] = conditions
        return row


def encode_object(served: Served, obj: Object, form: Format, tables: Tables, include: str = "Metadata") -> bytes:
    """One complete object in the form asked for."""
    if form.shape == "Table":
        version = obj.get("metadata", {}).get("resourceVersion", "")
        metadata = {"resourceVersion": version} if version else {}
        obj = tables.table(served, [obj], metadata, version=form.version, include=include)
    elif form.shape:
        obj = partial(obj, form.version)
    return payload(form, obj)


def encode_list(
    served: Served, entries: Sequence[Entry], metadata: Object, form: Format, tables: Tables, include: str = "Metadata"
) -> bytes:
    """A list in the form asked for; a plain one is a join of stored bytes."""
    resource = served.resource
    if form.plain:
        # Lists of custom kinds always say `continue`, the others leave it out where it is empty.
        if served.custom:
            metadata = {"continue": "", **metadata}
        head = _encode({"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata})[:-1]
        prefix = served.item_prefix
        tails = [served.tail(entry) for entry in entries] if served.converts else [entry.tail for entry in entries]
        if not tails:
            return head + b',"items":[]}'
        return b"".join((head, b',"items":[', prefix, (b"," + prefix).join(tails), b"]}"))
    objects = [served.object(entry) for entry in entries]
    if form.shape == "Table":
        return payload(form, tables.table(served, objects, metadata, version=form.version, include=include))
    if form.shape:
        items = [partial(obj, form.version) for obj in objects] or None
        version = f"meta.k8s.io/{form.version}"
        body = {"kind": "PartialObjectMetadataList", "apiVersion": version, "metadata": metadata, "items": items}
        return payload(form, body)
    if not served.custom:
        for obj in objects:
            del obj["kind"], obj["apiVersion"]
    body = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata, "items": objects}
    return payload(form, body)


class EventEncoder:
    """Writes the events of one kind of watch stream; `key` is the same for streams whose bytes are the same."""

    def __init__(self, served: Served, form: Format, tables: Tables, include: str = "Metadata") -> None:
        self._served = served
        self._form = form
        self._tables = tables
        self._include = include
        self._headers = form.shape == "Table"
        self._head = {kind: b'{"type":"%b","object":' % kind.encode() + served.prefix for kind in EventType}
        # Tables carry their columns in the first event only, so their bytes are not shared.
        self.key: object = id(self) if self._headers else (served.prefix, form)

    def event(self, kind: EventType, entry: Entry) -> bytes:
        """One event as a line."""
        served, form = self._served, self._form
        if form.plain:
            return self._head[kind] + served.tail(entry) + b"}\n"
        return self._line(kind, self._shaped(served.object(entry)))

    def bookmark(self, revision: int, *, end_of_initial: bool) -> bytes:
        """A bookmark: an object with nothing but the revision, and a mark at the end of the initial events."""
        resource = self._served.resource
        metadata: Object = {"resourceVersion": str(revision)}
        if end_of_initial:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        obj: Object = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if self._form.shape:
            obj = self._shaped(obj)
        return self._line("BOOKMARK", obj)

    def error(self, status: Object) -> bytes:
        """The event that ends a stream."""
        return self._line("ERROR", status)

    def _shaped(self, obj: Object) -> Object:
        form = self._form
        if form.shape == "Table":
            version = obj["metadata"].get("resourceVersion", "")
            headers, self._headers = self._headers, False
            return self._tables.table(
                self._served,
                [obj],
                {"resourceVersion": version},
                version=form.version,
                include=self._include,
                headers=headers,
            )
        return partial(obj, form.version) if form.shape else obj

    def _line(self, kind: str, obj: object) -> bytes:
        event = {"type": kind, "object": obj}
        if self._form.media_type == YAML:
            return b"---\n" + as_yaml(event)
        return _encode(event) + b"\n"
