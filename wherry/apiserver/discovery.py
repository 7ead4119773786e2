"""Discovery: which groups, versions and resources there are, one by one or as aggregated documents with an ETag.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api. Documents are made when first asked for and
kept until the rows change.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from wherry.apiserver.encode import payload
from wherry.apiserver.kinds.model import Subresource
from wherry.apiserver.negotiate import Format, negotiate
from wherry.apiserver.request import JSON, Answer, Request, Response
from wherry.apiserver.served import Registry, Served

AGGREGATED_TYPE = f"{JSON};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
Object = dict[str, Any]

# Groups that come first, in the order in which clients prefer them; the others follow by name.
_PRIORITY = ("apiregistration.k8s.io", "apps", "events.k8s.io")


class Discovery:
    """Makes and keeps the documents. `address` is where clients are told to find the server."""

    def __init__(self, registry: Registry, address: Callable[[], str]) -> None:
        self._registry = registry
        self._address = address
        self._kept: dict[tuple[str, ...], tuple[Object, str]] = {}
        registry.on_change(self._kept.clear)

    def answer(self, request: Request, parts: list[str]) -> Answer | None:
        """The document at a path below /api or /apis, or None where there is none."""
        root, rest = parts[0], parts[1:]
        accept = request.headers.get("accept", "")
        if not rest:
            form = negotiate(accept, shapes=False, discovery=True)
            if form.aggregated:
                return self._aggregated(request, root)
            make = self._versions if root == "api" else self._groups
            return self._document(request, (root,), make)
        if root == "api" and len(rest) == 1:
            return self._resource_list(request, "", rest[0])
        if root == "apis" and len(rest) == 1 and rest[0] in self._registry.groups():
            return self._document(request, ("apis", rest[0]), lambda: self._group(rest[0], top=True))
        if root == "apis" and len(rest) == 2:
            return self._resource_list(request, rest[0], rest[1])
        return None

    def _resource_list(self, request: Request, group: str, version: str) -> Answer | None:
        if not self._registry.has_version(group, version):
            return None
        return self._document(request, (group, version), lambda: self._resources(group, version))

    def _document(self, request: Request, key: tuple[str, ...], make: Callable[[], Object]) -> Response:
        accept = request.headers.get("accept", "")
        form = negotiate(accept, shapes=False, discovery=True)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = (make(), "")
        return Response(200, payload(form, kept[0]), form.media_type)

    def _versions(self) -> Object:
        return {
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address()}],
        }

    def _sorted_groups(self) -> list[str]:
        names = self._registry.groups()
        return sorted(names, key=lambda name: (_PRIORITY.index(name) if name in _PRIORITY else len(_PRIORITY), name))

    def _groups(self) -> Object:
        groups = [self._group(name) for name in self._sorted_groups()]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def _group(self, name: str, *, top: bool = False) -> Object:
        versions = [{"groupVersion": f"{name}/{one}", "version": one} for one in self._registry.versions(name)]
        head: Object = {"kind": "APIGroup", "apiVersion": "v1"} if top else {}
        return {**head, "name": name, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> Object:
        listed: list[Object] = []
        for served in self._registry.resources(group, version):
            listed.append(_legacy(served))
            listed.extend(_legacy_part(served, sub) for sub in _sorted(served))
        listed.sort(key=lambda one: one["name"])
        head: Object = {"kind": "APIResourceList"}
        if group:
            head["apiVersion"] = "v1"
        name = f"{group}/{version}" if group else version
        return {**head, "groupVersion": name, "resources": listed}

    def _aggregated(self, request: Request, root: str) -> Answer:
        key = (root, "aggregated")
        kept = self._kept.get(key)
        if kept is None:
            names = [""] if root == "api" else self._sorted_groups()
            document: Object = {
                "kind": "APIGroupDiscoveryList",
                "apiVersion": "apidiscovery.k8s.io/v2",
                "metadata": {},
                "items": [self._aggregated_group(name) for name in names],
            }
            etag = f'"{hashlib.sha512(payload(Format(), document)).hexdigest().upper()}"'
            kept = self._kept[key] = (document, etag)
        document, etag = kept
        headers = (("ETag", etag), ("Vary", "Accept"), ("Cache-Control", "public"))
        if request.headers.get("if-none-match") == etag:
            return Response(304, b"", AGGREGATED_TYPE, headers)
        return Response(200, payload(Format(), document), AGGREGATED_TYPE, headers)

    def _aggregated_group(self, name: str) -> Object:
        versions = self._registry.versions(name)
        return {
            "metadata": {"name": name} if name else {},
            "versions": [
                {
                    "version": version,
                    "resources": [_aggregated(served) for served in self._registry.resources(name, version)],
                    "freshness": "Current",
                }
                for version in versions
            ],
        }


def _sorted(served: Served) -> list[Subresource]:
    return sorted(served.resource.subresources, key=lambda sub: sub.name)


def storage_hash(group: str, version: str, kind: str) -> str:
    """The hash that tells clients when the stored form of a kind changed."""
    digest = hashlib.sha256(f"{group}/{version}/{kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _legacy(served: Served) -> Object:
    row = served.resource
    found: Object = {
        "name": row.plural,
        "singularName": row.singular,
        "namespaced": row.namespaced,
        "kind": row.kind,
        "verbs": list(row.verbs),
    }
    if row.short_names:
        found["shortNames"] = list(row.short_names)
    if row.categories:
        found["categories"] = list(row.categories)
    if "watch" in row.verbs:
        found["storageVersionHash"] = storage_hash(row.group, row.version, row.kind)
    return found


def _legacy_part(served: Served, sub: Subresource) -> Object:
    row = served.resource
    found: Object = {"name": f"{row.plural}/{sub.name}", "singularName": "", "namespaced": row.namespaced}
    if sub.group is not None:
        found["group"] = sub.group
    if sub.version is not None:
        found["version"] = sub.version
    return {**found, "kind": sub.kind, "verbs": list(sub.verbs)}


def _aggregated(served: Served) -> Object:
    row = served.resource
    found: Object = {
        "resource": row.plural,
        "responseKind": _response_kind(served, row.kind),
        "scope": "Namespaced" if row.namespaced else "Cluster",
        "singularResource": row.singular,
        "verbs": list(row.verbs),
    }
    if row.short_names:
        found["shortNames"] = list(row.short_names)
    if row.categories:
        found["categories"] = list(row.categories)
    parts = [
        {
            "subresource": sub.name,
            "responseKind": _response_kind(served, sub.kind, sub.group, sub.version),
            "verbs": list(sub.verbs),
        }
        for sub in _sorted(served)
    ]
    if parts:
        found["subresources"] = parts
    return found


def _response_kind(served: Served, kind: str, group: str | None = None, version: str | None = None) -> Object:
    """Group and version are told where they differ from those of the resource, and for custom resources."""
    row = served.resource
    if served.custom:
        group, version = group if group is not None else row.group, version if version is not None else row.version
    return {"group": group or "", "version": version or "", "kind": kind}
