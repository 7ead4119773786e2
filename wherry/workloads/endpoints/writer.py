"""Carrying out plans for endpoint slices, for whoever manages them."""

from __future__ import annotations

import time
from typing import Any, cast

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.errors import NotFound
from wherry.kube.informer import Informer
from wherry.kube.keys import Key
from wherry.kube.objects import EndpointSlice, KubeObject
from wherry.workloads.endpoints.compile import MANAGED_BY, Plan
from wherry.workloads.expectations import Expectations

_SERVICE_INDEX = "service"


class SliceWriter:
    """Writes slices and remembers, per owner, what the cache does not show yet."""

    def __init__(self, client: Client, slices: Informer[EndpointSlice]) -> None:
        self._client = client
        self._slices = slices
        self._slices.add_index(_SERVICE_INDEX, _service_values)
        self.expectations = Expectations(slices.get, time.monotonic)

    def managed(self, service: Key, manager: str) -> list[EndpointSlice]:
        """The slices of a service that ``manager`` answers for."""
        there = self._slices.by_index(_SERVICE_INDEX, str(service))
        return [each for each in there if each.labels.get(MANAGED_BY) == manager]

    async def carry_out(self, owner: KubeObject, plan: Plan) -> None:
        """Create, change and delete slices owned by ``owner``; ApiError when the server refuses."""
        for wanted in plan.create:
            self.expectations.begin(owner.uid)
            made: EndpointSlice | None = None
            try:
                made = await self._client.create(
                    kinds.ENDPOINT_SLICES, cast("EndpointSlice", wanted), namespace=owner.namespace
                )
            finally:
                self.expectations.created(owner.uid, made)
        for present, change in plan.update:
            meta: dict[str, Any] = {"uid": present.uid, "resourceVersion": present.metadata.resource_version}
            patch = {**change, "metadata": {**change.get("metadata", {}), **meta}}
            await self._client.patch(kinds.ENDPOINT_SLICES, present.name, patch, namespace=present.namespace)
        for present in plan.delete:
            try:
                await self._client.delete(
                    kinds.ENDPOINT_SLICES, present.name, namespace=present.namespace, uid=present.uid
                )
            except NotFound:
                continue
            self.expectations.deleted(owner.uid, present)


def _service_values(each: EndpointSlice) -> tuple[str, ...]:
    return (str(Key(each.namespace, each.service_name)),) if each.service_name else ()
