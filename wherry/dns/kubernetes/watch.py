"""From an API server to a zone: follows it, compiles what it says, applies changes and tells who listens.

Contract:

* **Late by a turn of the event loop.** What one chunk of a watch says becomes one change, which is applied and told
  before the loop turns twice; a burst is a few changes.
* **Whole lists at once.** A list changes the zone in one step when all of it is there, never name by name.
* **The last state stays** while the server is away; `age()` says for how long it has been.
* A watch **outlives a reload** of the Corefile that leaves its scope as it was: who calls run() next goes on from the
  version where the last one stopped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from wherry.dns.kubernetes import compile as compiled
from wherry.dns.kubernetes import objects, tables
from wherry.dns.kubernetes.follow import Follower, Table
from wherry.dns.kubernetes.packed import HEADLESS, unpack_service
from wherry.dns.kubernetes.requests import Limits, Requests
from wherry.dns.kubernetes.zone import Change, Zone
from wherry.dns.metrics import Metrics
from wherry.kube import kinds
from wherry.kube import objects as o
from wherry.kube.client import Client
from wherry.kube.endpoint import Endpoint
from wherry.kube.kinds import Kind
from wherry.kube.objects import KubeObject
from wherry.kube.times import parse_time

_log = logging.getLogger(__name__)
_LIVE_PODS = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"

Listener = Callable[[list[Change], set[bytes]], None]
"""Called with changes in their order and the tags of what they changed."""


class Scope(NamedTuple):
    """What is followed; two blocks or configurations of one scope can share a watch."""

    server: str
    """The server and who we are there, as text that tells two apart."""
    labels: str = ""
    """Selector of services, slices and pods."""
    namespace_labels: str = ""
    endpoints: bool = True
    pods: bool = False
    pod_labels: bool = False
    pod_names: bool = False
    zonal: bool = False
    imported: bool = False
    limits: Limits = Limits()


class Watch:
    """A zone that follows an API server while run() runs; `users` counts the plugins that answer from it."""

    def __init__(
        self,
        scope: Scope,
        endpoint: Endpoint,
        metrics: Metrics,
        clock: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is for intervals, `now` for the serial and for comparing with times of objects."""
        self.scope = scope
        self.users = 0
        self.zone = Zone()
        self.synced = asyncio.Event()
        self._endpoint = endpoint
        self._clock = clock
        self._now = now
        self._listeners: list[Listener] = []
        self._running = asyncio.Lock()
        self._pending = tables.Pending()
        self._slices: list[o.EndpointSlice] = []
        self._flushing = False
        self._requests = Requests(scope.limits, metrics, endpoint.url.partition("://")[2], clock)
        self._latency = metrics.histogram(
            "coredns_kubernetes_dns_programming_duration_seconds",
            "Histogram of the time (in seconds) it took to program a dns instance.",
            ["service_kind"],
            buckets=[0.001 * 2**step for step in range(20)],
        )
        self.pods = tables.Pods(self._pending, labels=scope.pod_labels)
        self._followers = [*self._make_followers()]

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` of every change from now on."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Tell it no more."""
        self._listeners.remove(listener)

    def age(self) -> float:
        """Seconds for which the zone may have been behind, since some kind is not being watched; else 0."""
        lost = [follower.lost_at for follower in self._followers if follower.lost_at is not None]
        return max(0.0, self._clock() - min(lost)) if lost else 0.0

    async def run(self) -> None:
        """Follow the server until cancelled. A second call waits for the first to end and goes on from there."""
        client = Client(self._endpoint, user_agent="wherry-dns", retry_for=0)
        async with self._running, client, asyncio.TaskGroup() as group:
            for follower in self._followers:
                group.create_task(follower.run(client, self._requests), name=f"dns {follower.kind.plural}")

    def _make_followers(self) -> Iterator[Follower[Any]]:
        scope, pending = self.scope, self._pending

        def follower(
            kind: Kind[Any], table: Table[Any], label_selector: str = "", field_selector: str = ""
        ) -> Follower[Any]:
            return Follower(
                kind,
                table,
                self._told,
                clock=self._clock,
                label_selector=label_selector,
                field_selector=field_selector,
            )

        yield follower(kinds.NAMESPACES, tables.Namespaces(pending), scope.namespace_labels)
        yield follower(kinds.SERVICES, tables.Services(pending), scope.labels)
        if scope.endpoints:
            slices = tables.Slices(pending, pod_names=scope.pod_names, zonal=scope.zonal)
            yield follower(kinds.ENDPOINT_SLICES, slices, scope.labels)
        if scope.pods:
            yield follower(objects.PODS, self.pods, scope.labels, _LIVE_PODS)
        if scope.imported:
            yield follower(objects.SERVICE_IMPORTS, tables.Services(pending, imported=True), scope.labels)
            slices = tables.Slices(pending, pod_names=scope.pod_names, imported=True)
            selector = ",".join(filter(None, (scope.labels, objects.IMPORT_NAME_LABEL)))
            yield follower(kinds.ENDPOINT_SLICES, slices, selector)

    def _told(self, obj: KubeObject | None) -> None:
        if obj is None:
            self._flush()
            if not self.synced.is_set() and all(follower.synced for follower in self._followers):
                self._tell([Change(synced=True)], self.zone.apply(Change(synced=True)))
                self.synced.set()
            return
        if isinstance(obj, o.EndpointSlice) and self.synced.is_set():
            self._slices.append(obj)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        change = self._pending.take()
        tags = self.zone.apply(change)
        if tags:
            serial = Change(serial=int(self._now()))
            tags |= self.zone.apply(serial)
            self._tell([*change.steps(), serial], tags)
        slices, self._slices = self._slices, []
        for obj in slices:
            self._measure(obj)

    def _tell(self, changes: list[Change], tags: set[bytes]) -> None:
        for listener in self._listeners:
            listener(changes, tags)

    def _measure(self, obj: o.EndpointSlice) -> None:
        """Record how long it took from a change in the cluster to names that show it (a SLI of SIG Scalability)."""
        trigger = obj.metadata.annotations.get(objects.CHANGE_TRIGGER)
        entry = self.zone.entries.get(compiled.owner(obj))
        if not trigger or entry is None or not entry.service:
            return
        try:
            began = parse_time(trigger)
        except ValueError:
            _log.warning(
                "plugin/kubernetes: EndpointSlice %s: annotation %s is no time: %r",
                obj.key,
                objects.CHANGE_TRIGGER,
                trigger,
            )
            return
        headless = unpack_service(entry.service).kind == HEADLESS
        kind = "headless_with_selector" if headless else "cluster_ip"
        self._latency.labels(kind).observe(max(0.0, self._now() - began))
