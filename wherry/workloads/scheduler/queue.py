"""What the scheduler tries next, and which change brings a pod that found no node back. Pure apart from its clock.

A pod is in one of five places: *active* (to be tried, highest priority first, then oldest), *backing off* (a bind
failed; tried again after a delay that doubles from 1 to 10 s), *waiting* (no node could take it), *standing back* or
*in flight*. A waiting pod comes back when something happens that one of the filters that refused it cares about, never
by polling. If that happens within its back-off, which doubles from 1 to 10 s as well, it stands back: it is tried when
no active pod is left, or when the time is over.
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
    failures: int = 0
    attempts: int = 0
    rests_until: float = 0.0


class SchedulingQueue:
    """Unscheduled pods by uid. Times come from ``clock``, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._active: list[tuple[int, int, str]] = []
        self._delayed: list[tuple[float, int, str]] = []
        self._back: list[tuple[float, int, str]] = []
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
        for heap in (self._delayed, self._back):
            while heap and heap[0][0] <= now:
                self._call_up(heap)
        while True:
            while self._active:
                _, order, uid = heapq.heappop(self._active)
                entry = self._entries.get(uid)
                if entry is not None and entry.active and entry.order == order:
                    entry.active = False
                    self._in_flight.add(uid)
                    return entry.pod
            if not self._back:
                return None
            self._call_up(self._back)

    def _call_up(self, heap: list[tuple[float, int, str]]) -> None:
        """Activate the first pod of a heap, unless something else has become of it."""
        ready_at, order, uid = heapq.heappop(heap)
        entry = self._entries.get(uid)
        if entry is not None and entry.order == order and entry.ready_at == ready_at:
            self._activate(entry)

    def park(self, uid: str, blocked_by: frozenset[Filter]) -> None:
        """The pod in flight found no node."""
        self._in_flight.discard(uid)
        if entry := self._entries.get(uid):
            entry.blocked_by = blocked_by
            entry.rests_until = self._clock() + _pause(entry.attempts)
            entry.attempts += 1
            self._waiting[uid] = entry

    def back_off(self, uid: str) -> None:
        """The pod in flight could not be bound: try again after a delay."""
        self._in_flight.discard(uid)
        if entry := self._entries.get(uid):
            entry.ready_at = self._clock() + _pause(entry.failures)
            entry.failures += 1
            heapq.heappush(self._delayed, (entry.ready_at, entry.order, uid))
            self._wake.set()

    def retry(self, filters: frozenset[Filter], accepts: Callable[[PodInfo], bool] | None = None) -> None:
        """Something changed that these filters depend on: try the waiting pods they refused, if ``accepts`` says so."""
        now = self._clock()
        for entry in [*self._waiting.values()]:
            if not entry.blocked_by & filters or (accepts is not None and not accepts(entry.pod)):
                continue
            if entry.rests_until <= now:
                self._activate(entry)
                continue
            del self._waiting[entry.pod.uid]
            entry.ready_at = entry.rests_until
            heapq.heappush(self._back, (entry.ready_at, entry.order, entry.pod.uid))
            self._wake.set()

    async def wait(self) -> None:
        """Return when there may be something to pop."""
        self._wake.clear()
        if self._active or self._back:
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


def _pause(times: int) -> float:
    """Seconds to rest after that many attempts before the present one."""
    return min(FIRST_BACKOFF * 2.0 ** min(times, 10), LAST_BACKOFF)
