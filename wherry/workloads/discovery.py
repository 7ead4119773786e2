"""Every kind of object a server has, as it says itself: what namespaces and the garbage collector have to reach."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from wherry.kube.client import Client
from wherry.kube.errors import ApiError, NotFound
from wherry.kube.kinds import Kind
from wherry.workloads.kinds import PartialObject


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind, read for its metadata only, and what can be done with it."""

    kind: Kind[PartialObject]
    verbs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Discovery:
    """All kinds in their preferred versions, the kind behind every ``apiVersion``, and groups that did not answer."""

    resources: tuple[Resource, ...] = ()
    by_kind: dict[tuple[str, str], Resource] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def able(self, *verbs: str) -> tuple[Resource, ...]:
        """The resources that have all these verbs."""
        return tuple(each for each in self.resources if each.verbs.issuperset(verbs))


def read_list(body: dict[str, Any]) -> list[Resource]:
    """The resources of an ``APIResourceList``, subresources left out."""
    group, _, version = body["groupVersion"].rpartition("/")
    return [
        Resource(
            Kind(each.get("group") or group, each.get("version") or version, each["kind"], each["name"],
                 each["namespaced"], PartialObject),
            frozenset(each.get("verbs") or ()),
        )
        for each in body.get("resources") or ()
        if "/" not in each["name"]
    ]  # fmt: skip


async def discover(client: Client) -> Discovery:
    """Ask the server for all its kinds; ApiError when it does not even list its groups."""
    resources = read_list(await client.request("GET", "/api/v1"))
    others: list[Resource] = []
    failed: dict[str, str] = {}
    seen = {(each.kind.group, each.kind.plural) for each in resources}
    for group in (await client.request("GET", "/apis")).get("groups") or ():
        preferred = group["preferredVersion"]["groupVersion"]
        versions = [each["groupVersion"] for each in group["versions"]]
        versions.sort(key=lambda version: version != preferred)
        for version in versions:
            try:
                found = read_list(await client.request("GET", f"/apis/{version}"))
            except NotFound:
                # Removed since the groups were listed.
                continue
            except ApiError as error:
                failed[version] = str(error)
                continue
            for each in found:
                place = (each.kind.group, each.kind.plural)
                (others if place in seen else resources).append(each)
                seen.add(place)
    by_kind = {(each.kind.api_version, each.kind.kind): each for each in (*others, *resources)}
    return Discovery(tuple(resources), by_kind, failed)
