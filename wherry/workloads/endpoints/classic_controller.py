"""The edges of both directions of classic Endpoints."""

from __future__ import annotations

import time
from typing import cast

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.errors import ApiError, Conflict, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import EndpointSlice, Service
from wherry.kube.selectors import from_labels
from wherry.workloads.endpoints import classic, compile
from wherry.workloads.endpoints.controller import PAUSE, EndpointSliceController
from wherry.workloads.endpoints.trigger import ANNOTATION
from wherry.workloads.endpoints.writer import SliceWriter
from wherry.workloads.kinds import ENDPOINTS, Endpoints, reference
from wherry.workloads.podcontrol import is_terminating


class EndpointsController(EndpointSliceController):
    """Keeps the Endpoints of every service with a selector in step with its pods.

    It reacts to the same changes as the slice controller, and writes one object per service. Endpoints that it did not
    make are left alone, also when their service goes.
    """

    name = "endpoints"
    workers = 2

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder) -> None:
        self._endpoints = informers.informer(ENDPOINTS)
        super().__init__(client, informers, recorder)
        self._endpoints.add_handler(self.enqueue)

    async def prepare(self) -> None:
        """Wait for services, Endpoints, pods and nodes."""
        await super().prepare()
        await self._endpoints.synced()

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """Slices are no concern of Endpoints."""

    async def reconcile(self, key: Key) -> Result | None:
        """Write the Endpoints of one service."""
        service = self._services.get(key)
        present = self._endpoints.get(key)
        if service is None or service.spec.type == "ExternalName":
            if present is not None and present.labels.get(classic.CLASSIC_MANAGED_BY) == classic.CLASSIC_MANAGER:
                await self._delete(present)
            return None
        if service.deleting or not service.spec.selector:
            return None
        pods = self._pods.list(key.namespace, from_labels(service.spec.selector))
        wanted = classic.wanted_endpoints(service, pods, {node.name: node for node in self._nodes.list()})
        change = classic.difference(present, wanted) if present is not None else wanted
        if not change:
            self._triggers.take(service, pods)
            return None
        since = time.monotonic() - self._written.get(key, float("-inf"))
        if since < PAUSE:
            return Result(requeue_after=PAUSE - since)
        self._written[key] = time.monotonic()
        meta = wanted["metadata"] if present is None else change.setdefault("metadata", {})
        if (trigger := self._triggers.take(service, pods)) or present is not None:
            meta["annotations"] = {**meta.get("annotations", {}), ANNOTATION: trigger}
        if present is None:
            await self._create(key, wanted)
        else:
            expected = {"uid": present.uid, "resourceVersion": present.metadata.resource_version}
            patch = {**change, "metadata": {**meta, **expected}}
            await self._client.patch(ENDPOINTS, key.name, patch, namespace=key.namespace)
        return None

    async def _create(self, key: Key, wanted: dict[str, object]) -> None:
        meta = {**cast("dict[str, object]", wanted["metadata"]), "name": key.name, "namespace": key.namespace}
        try:
            await self._client.create(ENDPOINTS, cast("Endpoints", {**wanted, "metadata": meta}))
        except ApiError as error:
            if not is_terminating(error):
                raise

    async def _delete(self, endpoints: Endpoints) -> None:
        try:
            await self._client.delete(ENDPOINTS, endpoints.name, namespace=endpoints.namespace, uid=endpoints.uid)
        except (NotFound, Conflict):
            return


class EndpointsMirror(Controller):
    """Keeps slices for Endpoints that people or other programs write for services without a selector."""

    name = "endpointslice-mirroring"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder) -> None:
        super().__init__()
        self._services = informers.informer(kinds.SERVICES)
        self._endpoints = informers.informer(ENDPOINTS)
        self._slices = informers.informer(kinds.ENDPOINT_SLICES)
        self._recorder = recorder
        self._reported: dict[str, str] = {}
        self._writer = SliceWriter(client, self._slices)
        self._services.add_handler(self.enqueue)
        self._endpoints.add_handler(self._endpoints_changed)
        self._slices.add_handler(self._slice_changed)

    async def prepare(self) -> None:
        """Wait for services, Endpoints and slices."""
        for informer in (self._services, self._endpoints, self._slices):
            await informer.synced()

    def _endpoints_changed(self, old: Endpoints | None, new: Endpoints | None) -> None:
        if new is None and old is not None:
            self._reported.pop(old.uid, None)
            self._writer.expectations.forget(old.uid)
        self.enqueue(old, new)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        self._writer.expectations.observe(old, new)
        for each in (old, new):
            if each is not None and each.labels.get(compile.MANAGED_BY) == classic.MIRROR:
                self.queue.add(Key(each.namespace, each.service_name))

    async def reconcile(self, key: Key) -> None:
        """Write the mirrored slices of one service."""
        endpoints = self._endpoints.get(key)
        present = self._writer.managed(key, classic.MIRROR)
        if endpoints is None or endpoints.deleting or not self._writer.expectations.met(endpoints.uid):
            # Slices go with the Endpoints that own them: the garbage collector sees to that.
            return
        service: Service | None = self._services.get(key)
        if service is None or service.spec.selector or not classic.mirrored(endpoints):
            plan = compile.Plan(delete=tuple(each for each in present if not each.deleting))
        else:
            mirrored = classic.mirror_groups(endpoints)
            self._report(endpoints, mirrored)
            plan = compile.arrange(classic.mirror_head(endpoints), (), mirrored.groups, present)
        try:
            await self._writer.carry_out(endpoints, plan)
        except ApiError as error:
            if not is_terminating(error):
                raise

    def _report(self, endpoints: Endpoints, mirrored: classic.Mirrored) -> None:
        """Say of each version of Endpoints what is left out."""
        version = endpoints.metadata.resource_version
        if self._reported.get(endpoints.uid) == version or not (mirrored.invalid or mirrored.skipped):
            return
        self._reported[endpoints.uid] = version
        subject = reference(ENDPOINTS, endpoints)
        if mirrored.invalid:
            message = f"Skipped {mirrored.invalid} invalid IP addresses when mirroring to EndpointSlices"
            self._recorder.event(subject, "Warning", "InvalidIPAddress", message)
        if mirrored.skipped:
            message = (
                f"A max of {classic.MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints subset. "
                f"{mirrored.skipped} addresses were skipped"
            )
            self._recorder.event(subject, "Warning", "TooManyAddressesToMirror", message)
