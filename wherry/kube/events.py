"""Events about objects, recorded without waiting and without flooding the server.

The same event again within :data:`SIMILAR_SECONDS` raises the count of the first one instead of making another; an
object that produces more than :data:`BURST` events is limited to one per :data:`REFILL_SECONDS`; what does not fit in
the queue is dropped. Events are a help to people: losing one is fine, blocking a controller is not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.errors import ApiError, NotFound
from wherry.kube.objects import Event, EventSource, KubeObject, ObjectMeta, ObjectReference
from wherry.kube.times import format_time

SIMILAR_SECONDS = 600.0
BURST = 25
REFILL_SECONDS = 300.0
_REMEMBERED = 4096
_QUEUED = 1024

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Series:
    """One event that may happen again: what is on the server and what is not there yet."""

    event: Event
    first: float
    last: float
    count: int = 1
    sent: int = 0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class EventRecorder:
    """Records events as one component, optionally on one node; :meth:`run` sends them."""

    def __init__(
        self, client: Client, component: str, host: str = "", *, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._source = EventSource(component=component, host=host)
        self._clock = clock
        self._series: OrderedDict[tuple[str, ...], _Series] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._pending: OrderedDict[tuple[str, ...], None] = OrderedDict()
        self._last_stamp = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def event(self, obj: KubeObject | ObjectReference, type_: str, reason: str, message: str) -> None:
        """Record that something happened: ``type_`` is Normal or Warning. Returns at once and never fails."""
        reference = obj if isinstance(obj, ObjectReference) else kinds.reference(obj)
        now = self._clock()
        about = (reference.kind, reference.namespace, reference.name, reference.uid, reference.field_path)
        identity = (*about, type_, reason, message)
        if not self._admit("/".join(about), now):
            return
        series = self._series.get(identity)
        if series is not None and now - series.last <= SIMILAR_SECONDS:
            series.count += 1
            series.last = now
        else:
            self._series[identity] = _Series(self._new(reference, type_, reason, message, now), now, now)
        self._series.move_to_end(identity)
        while len(self._series) > _REMEMBERED:
            dropped, _ = self._series.popitem(last=False)
            self._pending.pop(dropped, None)
        if len(self._pending) < _QUEUED:
            self._pending[identity] = None
            self._idle.clear()
            self._wake.set()

    async def run(self) -> None:
        """Send what is recorded until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                identity, _ = self._pending.popitem(last=False)
                await self._send(self._series[identity])
            self._idle.set()

    async def flush(self) -> None:
        """Wait until everything recorded so far was sent (or refused); needs :meth:`run` to be running."""
        await self._idle.wait()

    def _admit(self, about: str, now: float) -> bool:
        bucket = self._buckets.setdefault(about, _Bucket(BURST, now))
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.at) / REFILL_SECONDS)
        bucket.at = now
        self._buckets.move_to_end(about)
        while len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _new(self, reference: ObjectReference, type_: str, reason: str, message: str, now: float) -> Event:
        stamp = format_time(now)
        self._last_stamp = max(int(now * 1e9), self._last_stamp + 1)
        return Event(
            metadata=ObjectMeta(
                name=f"{reference.name}.{self._last_stamp:x}", namespace=reference.namespace or "default"
            ),
            involved_object=reference,
            reason=reason,
            message=message[:1024],
            source=self._source,
            first_timestamp=stamp,
            last_timestamp=stamp,
            count=1,
            type=type_,
            reporting_component=self._source.component,
            reporting_instance=self._source.host,
        )

    async def _send(self, series: _Series) -> None:
        count, event = series.count, series.event
        try:
            if series.sent:
                change = {"count": count, "lastTimestamp": format_time(series.last)}
                try:
                    await self._client.patch(kinds.EVENTS, event.name, change, namespace=event.namespace)
                    series.sent = count
                    return
                except NotFound:
                    series.event = event = self._new(
                        event.involved_object, event.type, event.reason, event.message, series.last
                    )
            await self._client.create(kinds.EVENTS, event)
            series.sent = count
        except ApiError as error:
            _log.info("event %s of %s not recorded: %s", event.reason, event.involved_object.name, error)
