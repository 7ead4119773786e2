"""OpenAPI documents: ``/openapi/v3`` per group and version, ``/openapi/v2`` for everything.

kubectl reads them to explain kinds, to make three-way patches and to find out whether the server validates fields
and knows dry runs. The schemas come from the bundle as bytes and are joined, never decoded; a document is made when
somebody asks for it. CustomResourceDefinitions add theirs.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

import msgspec

from wherry.apiserver.kinds.model import Resource
from wherry.apiserver.schema.bundle import definition_of
from wherry.apiserver.served import Registry, Served

CONTENT_TYPE = "application/json"
INDEX_CONTENT_TYPE = "text/plain; charset=utf-8"

_FILE = "openapi.json.gz"
_REFERENCE = re.compile(rb'"#/components/schemas/([^"]+)"')
_ONLY_REFERENCE = re.compile(rb'"allOf":\[\{"\$ref":("[^"]+")\}\]')
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_KEPT = 4  # documents; kubectl asks for one or two, the rest is made again at need
_encode = msgspec.json.Encoder(order="deterministic").encode

Schemas = dict[str, bytes]


@lru_cache(maxsize=1)
def _bundle() -> Schemas:
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
    schemas = _bundle()
    found: Any = msgspec.json.decode(schemas.get(f"io.k8s.{definition}", b"{}"))
    for name in path.split(".")[1:]:
        found = found.get("properties", {}).get(name, {})
        if name != path.rpartition(".")[2]:
            reference = next(iter(found.get("allOf", ())), found).get("$ref", "")
            found = msgspec.json.decode(schemas.get(reference.rpartition("/")[2], b"{}"))
    return str(found.get("description", ""))


class OpenApi:
    """The documents of what a registry serves."""

    def __init__(self, registry: Registry, *, version: str = "v1.37.0") -> None:
        self._registry = registry
        self._version = version
        self._documents: dict[tuple[str, str], tuple[int, bytes]] = {}

    def index(self) -> bytes:
        """The body of ``/openapi/v3``: every document's path with a hash that changes with it."""
        paths = {}
        for group, version in self._group_versions():
            path = _path(group, version)
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={self._hash(group, version)}"}
        return _encode({"paths": paths})

    def document(self, path: str) -> bytes | None:
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
        known = self._documents.pop((group, version), None)
        if known is None or known[0] != self._registry.revision:
            known = (self._registry.revision, self._build(self._registry.resources(group, version)))
        self._documents[group, version] = known
        while len(self._documents) > _KEPT:
            del self._documents[next(iter(self._documents))]
        return known[1]

    def v2(self) -> bytes:
        """The body of ``/openapi/v2`` as JSON: the schemas of everything."""
        served = list(self._registry.all())
        schemas = _schemas(served, _bundle())
        definitions = _join(schemas).replace(b"#/components/schemas/", b"#/definitions/")
        definitions = _ONLY_REFERENCE.sub(rb'"$ref":\1', definitions)
        head = _encode({"swagger": "2.0", "info": self._info(), "paths": _paths(served, v2=True)})
        return b'%s,"definitions":%s}' % (head[:-1], definitions)

    def _build(self, served: list[Served]) -> bytes:
        schemas = _schemas(served, _bundle())
        head = _encode({"openapi": "3.0.0", "info": self._info(), "paths": _paths(served)})
        return b'%s,"components":{"schemas":%s}}' % (head[:-1], _join(schemas))

    def _info(self) -> dict[str, str]:
        return {"title": "Kubernetes", "version": self._version}

    def _group_versions(self) -> list[tuple[str, str]]:
        return sorted({(one.group, one.resource.version) for one in self._registry.all()})

    def _hash(self, group: str, version: str) -> str:
        """Sum up what the document is made of: the bundle's kinds never change while the server runs."""
        digest = hashlib.sha256(self._version.encode())
        for one in self._registry.resources(group, version):
            digest.update(one.plural.encode())
            if one.custom:
                digest.update(_encode(one.detail.schema))
        return digest.hexdigest().upper()


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _join(schemas: Schemas) -> bytes:
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), schemas[name]) for name in sorted(schemas)) + b"}"


def _schemas(served: Iterable[Served], bundle: Schemas) -> Schemas:
    """Collect the schemas of resources, of their lists and of all they refer to."""
    chosen: Schemas = {}
    todo: list[str] = []
    for one in served:
        row = one.resource
        if one.custom:
            chosen.update(_custom_schemas(row, one.detail.schema))
            todo.append(_OBJECT_META)
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
        if name not in chosen and name in bundle:
            chosen[name] = bundle[name]
            todo.extend(reference.decode() for reference in _REFERENCE.findall(bundle[name]))
    return chosen


def _given(value: str | None, otherwise: str) -> str:
    return otherwise if value is None else value


def _custom_schemas(row: Resource, schema: Mapping[str, Any]) -> Schemas:
    """Make the schemas of a custom kind and of its list."""
    name = _custom_name(row)
    properties = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        **(schema.get("properties") or {}),
        "metadata": {"allOf": [{"$ref": f"#/components/schemas/{_OBJECT_META}"}]},
    }
    mark = [{"group": row.group, "version": row.version, "kind": row.kind}]
    whole = {**schema, "properties": properties, "x-kubernetes-group-version-kind": mark}
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    listing = {
        "type": "object",
        "required": ["items"],
        "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "items": items},
        "x-kubernetes-group-version-kind": [{**mark[0], "kind": row.list_kind}],
    }
    return {name: _encode(whole), f"{name}List": _encode(listing)}


def _custom_name(row: Resource) -> str:
    return ".".join([*reversed(row.group.split(".")), row.version, row.kind])


def _schema_name(one: Served) -> str:
    row = one.resource
    if one.custom:
        return _custom_name(row)
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
                paths.setdefault(path, {})[method] = _operation(action, mark, _schema_name(one), v2=v2)
    return paths


def _operation(action: str, mark: Mapping[str, str], schema: str, *, v2: bool) -> dict[str, Any]:
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
    if not v2 and action in ("get", "post", "put"):
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
        operation["responses"]["200"]["content"] = content
    return operation
