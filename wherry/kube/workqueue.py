"""A queue of keys to work on.

Four guarantees:

* **Fair**: keys come out in the order in which they went in.
* **Stingy**: a key is worked on by one worker at a time, and a key added several times before it is worked on comes
  out once. A key added while it is being worked on comes out again after :meth:`WorkQueue.done`.
* **Many producers and consumers** on one event loop.
* **Shutdown**: after :meth:`WorkQueue.shut_down`, ``get`` hands out what is left and then raises ``QueueClosed``.

Times come from the event loop's clock, so tests can run on virtual time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class QueueClosed(Exception):
    """The queue was shut down and is empty."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double from ``first`` to ``longest`` seconds."""

    first: float = 0.005
    longest: float = 60.0

    def after(self, failures: int) -> float:
        """The pause after that many failures in a row (1 and up)."""
        return min(self.first * 2.0 ** min(failures - 1, 60), self.longest)


@dataclass(slots=True)
class QueueMetrics:
    """Counters of a queue; seconds are sums, divide by ``gets`` or ``done``."""

    adds: int = 0
    retries: int = 0
    gets: int = 0
    done: int = 0
    waited_seconds: float = 0.0
    longest_wait: float = 0.0
    worked_seconds: float = 0.0


@dataclass(slots=True)
class WorkQueue(Generic[K]):
    """See the module's text."""

    backoff: Backoff = field(default_factory=Backoff)
    metrics: QueueMetrics = field(default_factory=QueueMetrics)
    _order: deque[K] = field(default_factory=deque)
    _dirty: dict[K, float] = field(default_factory=dict)
    _working: dict[K, float] = field(default_factory=dict)
    _delayed: dict[K, asyncio.TimerHandle] = field(default_factory=dict)
    _failures: dict[K, int] = field(default_factory=dict)
    _getters: deque[asyncio.Future[None]] = field(default_factory=deque)
    _closed: bool = False

    def __len__(self) -> int:
        """How many keys wait to be handed out."""
        return len(self._order)

    def add(self, key: K) -> None:
        """Have the key worked on; nothing happens when it already waits, or after shutdown."""
        if self._closed or key in self._dirty:
            return
        self.metrics.adds += 1
        self._dirty[key] = asyncio.get_running_loop().time()
        if key not in self._working:
            self._order.append(key)
            self._wake_one()

    def add_after(self, key: K, seconds: float) -> None:
        """Add the key later; of several times asked for the soonest counts."""
        if seconds <= 0:
            self.add(key)
            return
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        planned = self._delayed.get(key)
        if planned is not None:
            if planned.when() <= loop.time() + seconds:
                return
            planned.cancel()
        self._delayed[key] = loop.call_later(seconds, self._due, key)

    def add_rate_limited(self, key: K) -> None:
        """Add the key after a pause that grows with each call until :meth:`forget`."""
        self.metrics.retries += 1
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.add_after(key, self.backoff.after(failures))

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure is the first again."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often the key failed since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key; it is the caller's until ``done``. Raises QueueClosed after shutdown."""
        loop = asyncio.get_running_loop()
        while not self._order:
            if self._closed:
                raise QueueClosed
            getter: asyncio.Future[None] = loop.create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled() and self._order:
                    self._wake_one()
                raise
            finally:
                if getter in self._getters:
                    self._getters.remove(getter)
        key = self._order.popleft()
        now = loop.time()
        waited = now - self._dirty.pop(key)
        self._working[key] = now
        self.metrics.gets += 1
        self.metrics.waited_seconds += waited
        self.metrics.longest_wait = max(self.metrics.longest_wait, waited)
        return key

    def done(self, key: K) -> None:
        """Give a key back; if it was added meanwhile it waits again now."""
        self.metrics.done += 1
        self.metrics.worked_seconds += asyncio.get_running_loop().time() - self._working.pop(key)
        if key in self._dirty:
            self._order.append(key)
            self._wake_one()

    def shut_down(self) -> None:
        """Take nothing more, cancel delayed adds and let the workers end when the rest is handed out."""
        self._closed = True
        for timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()
        for getter in self._getters:
            if not getter.done():
                getter.set_result(None)

    def _due(self, key: K) -> None:
        del self._delayed[key]
        self.add(key)

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return
