"""The scale of any object that has one, found as kubectl finds it: through discovery, then the scale subresource."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wherry.kube.client import Client
from wherry.kube.errors import NotFound


class NoScale(Exception):
    """The object's kind is not served, or objects of it cannot be scaled; the text is for users."""


class NoMatch(NoScale):
    """The kind is not served."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How many replicas an object wants (``replicas``) and has (``current``), and which pods they are."""

    uid: str
    resource: str
    replicas: int
    current: int
    selector: str


@dataclass(frozen=True, slots=True)
class _Resource:
    plural: str
    group: str
    scalable: bool

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


class Scales:
    """Reads and writes scales. What discovery says of a kind is remembered; a kind that was not found is not."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[str, str], _Resource] = {}

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Scale | None:
        """The scale of an object, None when the object is gone; raises NoScale and ApiError."""
        resource = await self._resource(api_version, kind)
        if not resource.scalable:
            raise NoScale(f"{resource} does not implement the scale subresource")
        try:
            found = await self._client.request("GET", _path(api_version, resource, namespace, name))
        except NotFound:
            return None
        return _scale(found, resource)

    async def set(self, api_version: str, kind: str, namespace: str, name: str, replicas: int) -> None:
        """Ask for another number of replicas; raises NoScale and ApiError."""
        resource = await self._resource(api_version, kind)
        body = b'{"spec":{"replicas":%d}}' % replicas
        path = _path(api_version, resource, namespace, name)
        await self._client.send("PATCH", path, body=body, content_type="application/merge-patch+json")

    async def resource(self, api_version: str, kind: str) -> str:
        """How the kind is named in messages (``deployments.apps``); raises NoScale and ApiError."""
        return str(await self._resource(api_version, kind))

    async def _resource(self, api_version: str, kind: str) -> _Resource:
        known = self._known.get((api_version, kind))
        if known is not None:
            return known
        try:
            served = await self._client.request("GET", _root(api_version))
        except NotFound:
            served = {}
        resources = served.get("resources") or []
        group = api_version.rpartition("/")[0]
        scalable = {each["name"].removesuffix("/scale") for each in resources if each["name"].endswith("/scale")}
        for each in resources:
            if each["kind"] == kind and "/" not in each["name"]:
                made = _Resource(each["name"], group, each["name"] in scalable)
                self._known[api_version, kind] = made
                return made
        raise NoMatch(f'no matches for kind "{kind}" in version "{api_version}"')


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _path(api_version: str, resource: _Resource, namespace: str, name: str) -> str:
    return f"{_root(api_version)}/namespaces/{namespace}/{resource.plural}/{name}/scale"


def _scale(found: dict[str, Any], resource: _Resource) -> Scale:
    status = found.get("status") or {}
    return Scale(
        uid=found.get("metadata", {}).get("uid", ""),
        resource=str(resource),
        replicas=(found.get("spec") or {}).get("replicas", 0),
        current=status.get("replicas", 0),
        selector=status.get("selector", ""),
    )
