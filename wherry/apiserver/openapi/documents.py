"""OpenAPI documents: ``/openapi/v3`` per group and version, ``/openapi/v2`` for everything.

kubectl reads them to explain kinds, to make three-way patches and to find out whether the server validates fields
and knows dry runs. The schemas come from the bundle as bytes; documents of v3 join them without decoding. A document
is made when somebody asks for it. CustomResourceDefinitions add theirs.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

import msgspec

from wherry.apiserver.openapi import custom
from wherry.apiserver.schema.bundle import definition_of
from wherry.apiserver.served import Registry, Served

_FILE = "openapi.json.gz"
_REFERENCE = re.compile(rb'"#/components/schemas/([^"]+)"')
_KEPT = 4  # documents; kubectl asks for one or two, the rest is made again at need
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode

Schemas = dict[str, bytes]


@lru_cache(maxsize=1)
def bundle() -> Schemas:
    """All built-in schemas by definition name, not decoded."""
    data = resources.files("wherry.apiserver.schema").joinpath(_FILE).read_bytes()
    found = msgspec.json.decode(gzip.decompress(data), type=dict[str, msgspec.Raw])
    return {name: bytes(raw) for name, raw in found.items()}


@lru_cache(maxsize=1024)
def description(group: str, version: str, kind: str, path: str) -> str:
    """The description of a built-in kind's field, by its path (``.metadata.name``); "" where there is none."""
    definition = definition_of(group, version, kind)
    return _descriptions(definition, path) if definition is not None else ""


def _descriptions(definition: str, path: str) -> str:
    schemas = bundle()
    found: Any = msgspec.json.decode(schemas.get(f"io.k8s.{definition}", b"{}"))
    for name in path.split(".")[1:]:
        found = found.get("properties", {}).get(name, {})
        if name != path.rpartition(".")[2]:
            reference = next(iter(found.get("allOf", ())), found).get("$ref", "")
            found = msgspec.json.decode(schemas.get(reference.rpartition("/")[2], b"{}"))
    return str(found.get("description", ""))


class Document(NamedTuple):
    """A document's bytes and the hash of what it says."""

    body: bytes
    hash: str


class OpenApi:
    """The documents of what a registry serves."""

    def __init__(self, registry: Registry, *, version: str = "v1.37.0") -> None:
        self._registry = registry
        self._version = version
        self._documents: dict[tuple[str, str], tuple[list[Served], bytes]] = {}
        self._hashes: dict[tuple[str, str], tuple[list[Served], str]] = {}
        self._v2: dict[bool, Document] = {}
        self._v2_revision = -1

    def index(self) -> Document:
        """The body of ``/openapi/v3``: every document's path with a hash that changes with it."""
        paths = {}
        for group, version in self._group_versions():
            path = _path(group, version)
            paths[path] = {"serverRelativeURL": url(path, self._hash(group, version))}
        body = _encode({"paths": paths})
        return Document(body, _hash(body))

    def document(self, path: str) -> Document | None:
        """The body of ``/openapi/v3/<path>``; None where nothing is served there."""
        parts = path.strip("/").split("/")
        if len(parts) == 2 and parts[0] == "api":
            group, version = "", parts[1]
        elif len(parts) == 3 and parts[0] == "apis":
            group, version = parts[1], parts[2]
        else:
            return None
        if not self._registry.has_version(group, version):
            return None
        return Document(self._body(group, version), self._hash(group, version))

    def v2(self, *, protobuf: bool = False) -> Document:
        """The body of ``/openapi/v2``, as JSON or protobuf: the schemas of everything. Both have one hash."""
        if self._v2_revision != self._registry.revision:
            self._v2.clear()
            self._v2_revision = self._registry.revision
        found = self._v2.get(protobuf)
        if found is None:
            # Rarely asked for: only old clients and some commands of kubectl read it.
            from wherry.apiserver.openapi import protobuf as proto
            from wherry.apiserver.openapi import version2

            served = [one for one in self._registry.all() if _described(one)]
            schemas = _schemas(served)
            whole = {
                "swagger": "2.0",
                "info": self._info(),
                "paths": _paths(served, v2=True),
                "definitions": {name: version2.definition(name, _decode(schemas[name])) for name in sorted(schemas)},
            }
            body = _encode(whole)
            self._v2[False] = Document(body, _hash(body))
            if protobuf:
                self._v2[True] = Document(proto.encode(whole), _hash(body))
            found = self._v2[protobuf]
        return found

    def _body(self, group: str, version: str) -> bytes:
        served = [one for one in self._registry.resources(group, version) if _described(one)]
        known = self._documents.pop((group, version), None)
        if known is None or known[0] != served:
            known = (served, self._build(served))
        self._documents[group, version] = known
        while len(self._documents) > _KEPT:
            del self._documents[next(iter(self._documents))]
        return known[1]

    def _build(self, served: list[Served]) -> bytes:
        schemas = _schemas(served)
        head = _encode({"openapi": "3.0.0", "info": self._info(), "paths": _paths(served)})
        return b'%s,"components":{"schemas":%s}}' % (head[:-1], _join(schemas))

    def _info(self) -> dict[str, str]:
        return {"title": "Kubernetes", "version": self._version}

    def _group_versions(self) -> list[tuple[str, str]]:
        return sorted({(one.group, one.resource.version) for one in self._registry.all() if _described(one)})

    def _hash(self, group: str, version: str) -> str:
        """The hash of a document; clients keep documents on disk under it for a year, so it sums up every byte."""
        served = [one for one in self._registry.resources(group, version) if _described(one)]
        known = self._hashes.get((group, version))
        if known is None or known[0] != served:
            known = self._hashes[group, version] = (served, _hash(self._build(served)))
        return known[1]


def url(path: str, sum_: str) -> str:
    """Where a document of v3 is found, with its hash."""
    return f"/openapi/v3/{path}?hash={sum_}"


def _hash(body: bytes) -> str:
    return hashlib.sha512(body).hexdigest().upper()


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _join(schemas: Schemas) -> bytes:
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), schemas[name]) for name in sorted(schemas)) + b"}"


def _schemas(served: Iterable[Served]) -> Schemas:
    """Collect the schemas of resources, of their lists and of all they refer to."""
    known = bundle()
    chosen: Schemas = {}
    todo: list[str] = []
    for one in served:
        row = one.resource
        if one.custom:
            for name, schema in custom.schemas(row, one.detail.schema, _head()).items():
                chosen[name] = _encode(schema)
                todo.extend(reference.decode() for reference in _REFERENCE.findall(chosen[name]))
            continue
        bodies = [(row.group, row.version, kind) for kind in (row.kind, row.list_kind)]
        for sub in row.subresources:
            bodies.append((_given(sub.group, row.group), _given(sub.version, row.version), sub.kind))
        for body in bodies:
            definition = definition_of(*body)
            if definition is not None:
                todo.append(f"io.k8s.{definition}")
    for kind in ("DeleteOptions", "Status"):
        todo.append(f"io.k8s.{definition_of('', 'v1', kind)}")
    while todo:
        name = todo.pop()
        if name not in chosen and name in known:
            chosen[name] = known[name]
            todo.extend(reference.decode() for reference in _REFERENCE.findall(known[name]))
    return chosen


def _given(value: str | None, otherwise: str) -> str:
    return otherwise if value is None else value


@lru_cache(maxsize=1)
def _head() -> dict[str, Any]:
    """The schemas of the fields that all objects have, as a built-in kind has them."""
    properties = _decode(bundle()["io.k8s.api.core.v1.ConfigMap"])["properties"]
    return {name: properties[name] for name in ("apiVersion", "kind", "metadata")}


def _described(one: Served) -> bool:
    """Whether there is a schema to publish; what is made up when somebody asks has none."""
    row = one.resource
    return one.custom or definition_of(row.group, row.version, row.kind) is not None


def _schema_name(one: Served) -> str:
    row = one.resource
    if one.custom:
        return custom.name(row)
    return f"io.k8s.{definition_of(row.group, row.version, row.kind)}"


_ACTIONS = {
    "get": ("get", "get", False),
    "list": ("get", "list", True),
    "create": ("post", "post", True),
    "update": ("put", "put", False),
    "patch": ("patch", "patch", False),
    "delete": ("delete", "delete", False),
    "deletecollection": ("delete", "deletecollection", True),
}
"""HTTP method, ``x-kubernetes-action`` and whether the verb is about the collection."""

_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
"""The kinds of patches; kubectl looks here before it makes a strategic one, which custom kinds do not take."""

_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")


def _paths(served: Iterable[Served], *, v2: bool = False) -> dict[str, Any]:
    """Describe the operations, as far as clients look at them: kind, action and query parameters."""
    paths: dict[str, Any] = {}
    for one in served:
        row = one.resource
        base = "/" + _path(row.group, row.version)
        if row.namespaced:
            base += "/namespaces/{namespace}"
        collection = f"{base}/{row.plural}"
        mark = {"group": row.group, "version": row.version, "kind": row.kind}
        for verb in row.verbs:
            if verb in _ACTIONS:
                method, action, whole = _ACTIONS[verb]
                path = collection if whole else f"{collection}/{{name}}"
                operation = _operation(action, mark, v2=v2)
                if method == "patch":
                    patches = [kind for kind in _PATCHES if not one.custom or "strategic" not in kind]
                    operation |= {"consumes": patches} if v2 else _body({"type": "object"}, *patches)
                elif not v2 and action in ("get", "post", "put"):
                    schema = {"$ref": f"#/components/schemas/{_schema_name(one)}"}
                    operation["responses"]["200"] |= {"content": {"application/json": {"schema": schema}}}
                    operation |= {} if action == "get" else _body(schema, "*/*")
                paths.setdefault(path, {})[method] = operation
    return paths


def _body(schema: Mapping[str, Any], *media_types: str) -> dict[str, Any]:
    return {"requestBody": {"content": {media_type: {"schema": schema} for media_type in media_types}}}


def _operation(action: str, mark: Mapping[str, str], *, v2: bool) -> dict[str, Any]:
    names = _WRITE_PARAMETERS if action in ("post", "put", "patch") else ()
    names = (*names, "force") if action == "patch" else names
    kind = {"type": "string"}
    parameters = [{"name": name, "in": "query", **(kind if v2 else {"schema": kind})} for name in names]
    operation: dict[str, Any] = {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": mark,
        "responses": {"200": {"description": "OK"}},
    }
    if parameters:
        operation["parameters"] = parameters
    return operation
