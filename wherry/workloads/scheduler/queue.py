"""What the scheduler tries next, and which change brings a pod that found no node back. Pure apart from its clock.

A pod is in one of four places: *active* (to be tried, highest priority first, then oldest), *backing off* (a bind
failed; tried again after a delay that doubles from 1 to 10 s), *waiting* (no node could take it) or *in flight*.
A waiting pod comes back when something happens that one of the filters that refused it cares about, never by polling.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wherry.workloads.scheduler.filters import Filter
from wherry.workloads.scheduler.model import PodInfo

FIRST_BACKOFF = 1.0
LAST_BACKOFF = 10.0


@dataclass(slots=True)
class _Entry:
    pod: PodInfo
    order: int
    blocked_by: frozenset[Filter] = frozenset()
    active: bool = False
    ready_at: float = 0.0
    attempts: int = 0


class SchedulingQueue:
    """Unscheduled pods by uid. Times come from ``clock``, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._active: list[tuple[int, int, str]] = []
        self._delayed: list[tuple[float, int, str]] = []
        self._in_flight: set[str] = set()
        self._waiting: dict[str, _Entry] = {}
        self._order = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def waiting(self) -> Iterator[PodInfo]:
        """Pods that found no node and wait for a change."""
        return (entry.pod for entry in self._waiting.values())

    def add(self, pod: PodInfo) -> None:
        """A new pod, or a changed one: try it (again) at once."""
        entry = self._entries.get(pod.uid)
        if entry is None:
            self._order += 1
            entry = self._entries[pod.uid] = _Entry(pod, self._order)
        entry.pod = pod
        if pod.uid not in self._in_flight:
            self._activate(entry)

    def refresh(self, pod: PodInfo) -> None:
        """Remember the newest state of a pod without trying it again."""
        if entry := self._entries.get(pod.uid):
            entry.pod = pod

    def remove(self, uid: str) -> None:
        """The pod is gone or has a node."""
        self._entries.pop(uid, None)
        self._waiting.pop(uid, None)
        self._in_flight.discard(uid)

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    def pop(self) -> PodInfo | None:
        """The next pod to try, which is in flight from then on; None when there is nothing to do now."""
        now = self._clock()
        while self._delayed and self._delayed[0][0] <= now:
            _, _, uid = heapq.heappop(self._delayed)
            entry = self._entries.get(uid)
            if entry is not None and entry.ready_at and entry.ready_at <= now:
                self._activate(entry)
        while self._active:
            _, order, uid = heapq.heappop(self._active)
            entry = self._entries.get(uid)
            if entry is not None and entry.active and entry.order == order:
                entry.active = False
                self._in_flight.add(uid)
                return entry.pod
        return None

    def park(self, uid: str, blocked_by: frozenset[Filter]) -> None:
        """The pod in flight found no node."""
        self._in_flight.discard(uid)
        if entry := self._entries.get(uid):
            entry.blocked_by = blocked_by
            self._waiting[uid] = entry

    def back_off(self, uid: str) -> None:
        """The pod in flight could not be bound: try again after a delay."""
        self._in_flight.discard(uid)
        if entry := self._entries.get(uid):
            delay = min(FIRST_BACKOFF * 2**entry.attempts, LAST_BACKOFF)
            entry.attempts += 1
            entry.ready_at = self._clock() + delay
            heapq.heappush(self._delayed, (entry.ready_at, entry.order, uid))
            self._wake.set()

    def retry(self, filters: frozenset[Filter], accepts: Callable[[PodInfo], bool] | None = None) -> None:
        """Something changed that these filters depend on: try the waiting pods they refused, if ``accepts`` says so."""
        for entry in [*self._waiting.values()]:
            if entry.blocked_by & filters and (accepts is None or accepts(entry.pod)):
                self._activate(entry)

    async def wait(self) -> None:
        """Return when there may be something to pop."""
        self._wake.clear()
        if self._active:
            return
        timeout = max(0.0, self._delayed[0][0] - self._clock()) if self._delayed else None
        try:
            await asyncio.wait_for(self._wake.wait(), timeout)
        except TimeoutError:
            return

    def _activate(self, entry: _Entry) -> None:
        entry.ready_at = 0.0
        self._waiting.pop(entry.pod.uid, None)
        if not entry.active:
            entry.active = True
            heapq.heappush(self._active, (-entry.pod.priority, entry.order, entry.pod.uid))
        self._wake.set()
