"""The endpoint slice controller's edge."""

from __future__ import annotations

import time
from typing import Any

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller, Result
from wherry.kube.errors import ApiError
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import EndpointSlice, Node, Pod, Service
from wherry.kube.selectors import from_labels
from wherry.workloads.endpoints import compile, hints
from wherry.workloads.endpoints.model import ZONE
from wherry.workloads.endpoints.trigger import TriggerTimes, stamped
from wherry.workloads.endpoints.writer import SliceWriter
from wherry.workloads.indexes import NODE_INDEX, node_values
from wherry.workloads.podcontrol import is_terminating

PAUSE = 0.05
"""Seconds between two writes for one service: a burst of pods becoming ready is written in few steps."""


class EndpointSliceController(Controller):
    """Keeps the slices of every service with a selector in step with its pods.

    Slices of services without a selector, and slices that others manage, are never touched.
    """

    name = "endpointslice"
    workers = 5

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder) -> None:
        super().__init__()
        self._client = client
        self._recorder = recorder
        self._services = informers.informer(kinds.SERVICES)
        self._slices = informers.informer(kinds.ENDPOINT_SLICES)
        self._pods = informers.informer(kinds.PODS)
        self._nodes = informers.informer(kinds.NODES)
        self._pods.add_index(NODE_INDEX, node_values)
        self._writer = SliceWriter(client, self._slices)
        self._written: dict[Key, float] = {}
        self._triggers = TriggerTimes()
        self._hinted: dict[Key, dict[str, str]] = {}
        self._shares: hints.Shares = {}
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)
        self._pods.add_handler(self._pod_changed)
        self._nodes.add_handler(self._node_changed)

    async def prepare(self) -> None:
        """Wait for services, slices, pods and nodes."""
        for informer in (self._services, self._slices, self._pods, self._nodes):
            await informer.synced()
        self._shares = hints.shares(self._nodes.list())

    # -- what changed --------------------------------------------------------------------------------------------

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        if new is None and old is not None:
            self._writer.expectations.forget(old.uid)
            self._written.pop(old.key, None)
            self._triggers.forget(old.key)
            self._hinted.pop(old.key, None)
        self.enqueue(old, new)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        self._writer.expectations.observe(old, new)
        for each in (old, new):
            if each is not None and each.labels.get(compile.MANAGED_BY) == compile.MANAGER and each.service_name:
                self.queue.add(Key(each.namespace, each.service_name))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        before, after = _view(old), _view(new)
        if before == after:
            return
        for pod in (old, new):
            if pod is not None:
                self._services_of(pod)
            if old is not None and new is not None and old.labels == new.labels:
                return

    def _services_of(self, pod: Pod) -> None:
        for service in self._services.list(pod.namespace):
            selector = service.spec.selector
            if selector and all(pod.labels.get(key) == value for key, value in selector.items()):
                self.queue.add(service.key)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if self._shares_of_zones_changed(old, new):
            for service in self._services.list():
                if hints.automatic(service):
                    self.queue.add(service.key)
        if old is not None and new is not None and old.labels.get(ZONE) == new.labels.get(ZONE):
            return
        node = new or old
        if node is not None:
            for pod in self._pods.by_index(NODE_INDEX, node.name):
                self._services_of(pod)

    def _shares_of_zones_changed(self, old: Node | None, new: Node | None) -> bool:
        if not self._nodes.has_synced or _capacity(old) == _capacity(new):
            return False
        shares = hints.shares(self._nodes.list())
        changed = shares != self._shares
        self._shares = shares
        return changed

    # -- one service ---------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> Result | None:
        """Write the slices of one service."""
        service = self._services.get(key)
        if (
            service is None
            or service.deleting
            or not service.spec.selector
            or not self._writer.expectations.met(service.uid)
        ):
            return None
        pods = self._pods.list(key.namespace, from_labels(service.spec.selector))
        nodes = {node.name: node for node in self._nodes.list()}
        present = self._writer.managed(key, compile.MANAGER)
        plan = compile.plan(service, pods, nodes, present, self._shares)
        if plan == compile.Plan():
            self._triggers.take(service, pods)
            self._tell_hints(service, plan.hinted)
            return None
        since = time.monotonic() - self._written.get(key, float("-inf"))
        if since < PAUSE:
            return Result(requeue_after=PAUSE - since)
        self._written[key] = time.monotonic()
        try:
            await self._writer.carry_out(service, stamped(plan, self._triggers.take(service, pods)))
        except ApiError as error:
            if is_terminating(error):
                return None
            message = f"Error updating Endpoint Slices for Service {key}: {error}"
            self._recorder.event(service, "Warning", "FailedToUpdateEndpointSlices", message)
            raise
        self._tell_hints(service, plan.hinted)
        return None

    def _tell_hints(self, service: Service, hinted: dict[str, str]) -> None:
        """Report hints in proportion to CPUs as they come and go, and why there are none, once for each reason."""
        before = self._hinted.get(service.key, {})
        for family in sorted({*before, *hinted}):
            was, now = before.get(family), hinted.get(family)
            if was == now:
                continue
            if now is None:
                if was == "":
                    self._hints_event(service, hints.DISABLED, family)
            else:
                self._hints_event(service, now, family)
        self._hinted[service.key] = hinted

    def _hints_event(self, service: Service, problem: str, family: str) -> None:
        type_, reason = (
            ("Warning", "TopologyAwareHintsDisabled") if problem else ("Normal", "TopologyAwareHintsEnabled")
        )
        self._recorder.event(service, type_, reason, f"{problem or hints.ENABLED}, addressType: {family}")


def _capacity(node: Node | None) -> tuple[Any, ...] | None:
    """What the zones' shares depend on."""
    return (node.labels, node.ready, node.status.allocatable.get("cpu")) if node is not None else None


def _view(pod: Pod | None) -> tuple[Any, ...] | None:
    """What endpoints depend on; None for a pod that is none."""
    if pod is None or not pod.status.pod_ips:
        return None
    spec = pod.spec
    return (
        pod.uid,
        pod.labels,
        pod.status.pod_ips,
        pod.finished,
        pod.ready,
        pod.deleting,
        spec.node_name,
        spec.hostname,
        spec.subdomain,
    )
