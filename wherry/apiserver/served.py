"""The resources the server serves right now: rows of the table of kinds joined with their storage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from wherry.apiserver.kinds.model import Object, Resource
from wherry.apiserver.schema.bundle import schema_for
from wherry.apiserver.schema.canonical import canonical
from wherry.apiserver.storage import Bucket, Entry, Store

_encode = msgspec.json.Encoder().encode
_ALPHABETIC_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


class Served:
    """One resource under one version. Answers are made of stored bytes wherever the row leaves objects as they are."""

    __slots__ = ("bucket", "converts", "custom", "detail", "item_prefix", "prefix", "resource")

    def __init__(self, resource: Resource, bucket: Bucket, *, custom: bool = False, detail: Any = None) -> None:
        self.resource = resource
        self.bucket = bucket
        self.custom = custom
        self.detail = detail
        """What belongs to a custom resource: its definition's version and schema."""
        header = {"kind": resource.kind, "apiVersion": resource.api_version}
        self.prefix = _encode(header)[:-1] + b","
        # Items of custom kinds carry their kind, those of built-in ones do not.
        self.item_prefix = self.prefix if custom else b"{"
        self.converts = resource.from_storage is not None or resource.decorate is not None

    @property
    def group(self) -> str:
        """The API group."""
        return self.resource.group

    @property
    def plural(self) -> str:
        """The resource's name in paths."""
        return self.resource.plural

    def key(self, namespace: str, name: str) -> str:
        """The storage key of an object."""
        return f"{namespace}/{name}" if self.resource.namespaced else name

    def object(self, entry: Entry) -> Object:
        """The object as this version shows it, complete with kind and apiVersion; the caller may change it."""
        resource = self.resource
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, **entry.object()}
        return self.shown(obj)

    def shown(self, obj: Object) -> Object:
        """Turn a stored object into what this version shows; `obj` is used up."""
        resource = self.resource
        if resource.from_storage is not None:
            resource.from_storage(obj)
            obj["kind"], obj["apiVersion"] = resource.kind, resource.api_version
            schema = schema_for(resource.group, resource.version, resource.kind)
            if schema is not None:
                obj = canonical(obj, schema)
        if resource.decorate is not None:
            resource.decorate(obj)
        return obj

    def tail(self, entry: Entry) -> bytes:
        """The object's JSON without opening brace, kind and apiVersion, as this version shows it."""
        if not self.converts:
            return entry.tail
        obj = self.object(entry)
        del obj["kind"], obj["apiVersion"]
        return _encode(obj)[1:]

    def json(self, entry: Entry) -> bytes:
        """The complete object as JSON."""
        return self.prefix + self.tail(entry)

    def stored(self, obj: Object) -> Object:
        """Turn an object of this version, in place, into its stored form."""
        if self.resource.to_storage is not None:
            self.resource.to_storage(obj)
        return obj

    def fields(self, entry: Entry) -> Mapping[str, str]:
        """The selectable fields of a stored object."""
        if self.resource.from_storage is None:
            return entry.fields(self.resource.selectable_fields)
        return self.resource.selectable_fields(self.object(entry))


class Registry:
    """All served resources by group, version and name; rows come and go with custom resource definitions."""

    def __init__(self, store: Store, rows: Iterable[Resource]) -> None:
        self._store = store
        self._served: dict[tuple[str, str], dict[str, Served]] = {}
        self._listeners: list[Callable[[], None]] = []
        self.revision = 0
        """Grows with every change of the rows: discovery documents of an older one are outdated."""
        for row in rows:
            self._put(Served(row, self.bucket(*row.key)))

    def bucket(self, group: str, plural: str) -> Bucket:
        """The bucket that holds the objects of a resource."""
        return self._store.bucket(f"{group}/{plural}" if group else plural)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after the rows changed."""
        self._listeners.append(listener)

    def lookup(self, group: str, version: str, plural: str) -> Served | None:
        """The resource, or None."""
        resources = self._served.get((group, version))
        return resources.get(plural) if resources is not None else None

    def has_version(self, group: str, version: str) -> bool:
        """Whether anything is served there."""
        return (group, version) in self._served

    def versions(self, group: str) -> list[str]:
        """The versions of a group, the preferred one first."""
        return sorted((version for g, version in self._served if g == group), key=version_rank)

    def groups(self) -> list[str]:
        """The names of all groups but the core one."""
        return list(dict.fromkeys(group for group, _ in self._served if group))

    def group_versions(self) -> list[tuple[str, str]]:
        """Every (group, version) that is served."""
        return list(self._served)

    def resources(self, group: str, version: str) -> list[Served]:
        """What is served under one version, by name."""
        return sorted(self._served.get((group, version), {}).values(), key=lambda served: served.plural)

    def all(self) -> Iterator[Served]:
        """Everything that is served."""
        for found in self._served.values():
            yield from found.values()

    def replace_custom(self, group: str, plural: str, served: Iterable[Served]) -> None:
        """Serve a custom resource under exactly these versions; none removes it."""
        for key in [key for key in self._served if key[0] == group]:
            if plural in self._served[key] and self._served[key][plural].custom:
                del self._served[key][plural]
                if not self._served[key]:
                    del self._served[key]
        for one in served:
            self._put(one)
        self.revision += 1
        for listener in self._listeners:
            listener()

    def _put(self, served: Served) -> None:
        row = served.resource
        self._served.setdefault((row.group, row.version), {})[row.plural] = served


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Sort key that puts v2 before v1, v1 before v1beta1, and names of other forms last."""
    found = _ALPHABETIC_VERSION.fullmatch(version)
    if not found:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (stage, -int(found[1]), -int(found[3] or 0), version)
