"""The runtime's event loop: one epoll and a heap of timers.

asyncio would do, but importing it costs 9 MB of resident memory on every node and each idle stand-in several objects;
this process only needs "call this when that descriptor is ready". Callbacks run one at a time and must not block.
An exception from a callback ends `run`: what may fail is handled where it is understood.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import signal
import time
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

Callback = Callable[[int], None]
"""Called with the epoll event mask."""


class Timer:
    """A call that is due later."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Forget the call; harmless when it was made already."""
        self.call = None


class Loop:
    """Waits for descriptors and timers; idle, it sleeps without a time-out."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._soon: list[Callable[[], None]] = []
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._signals = False
        self._running = False
        self.watch(self._wake, READ, lambda _: self._awake())

    def wake_on_signals(self) -> None:
        """Have every signal end the waiting, so that Python runs its handler; for the loop of the main thread.

        Without it a signal that comes between Python's last look and the system call is noticed only when something
        else happens.
        """
        self._signals = True
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def watch(self, fd: int, mask: int, callback: Callback) -> None:
        """Call ``callback`` whenever ``fd`` is ready for ``mask``; watching it again changes both."""
        if fd in self._callbacks:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Stop watching ``fd`` (before it is closed); one that is not watched is no error."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def later(self, delay: float, call: Callable[[], None]) -> Timer:
        """Make the call after ``delay`` seconds."""
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._order), timer))
        return timer

    def soon(self, call: Callable[[], None]) -> None:
        """Make the call after the callbacks of this round."""
        self._soon.append(call)

    def interrupt(self, call: Callable[[], None]) -> None:
        """As `soon`, and wake the loop: for signal handlers."""
        self._soon.append(call)
        try:
            os.write(self._waker, b"\0")
        except BlockingIOError:
            return  # there is more than enough to wake it

    def stop(self) -> None:
        """End `run` after this round."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`."""
        self._running = True
        while self._running:
            self.run_once()

    def run_once(self, timeout: float | None = None) -> None:
        """One round: wait (at most ``timeout`` seconds), then call everything that is ready or due."""
        for fd, mask in self._epoll.poll(self._patience(timeout)):
            callback = self._callbacks.get(fd)
            if callback is not None:  # None: an earlier callback of this round closed it
                callback(mask)
        now = time.monotonic()
        while self._timers and (self._timers[0][0] <= now or self._timers[0][2].call is None):
            call = heapq.heappop(self._timers)[2].call
            if call is not None:
                call()
        while self._soon:
            calls, self._soon = self._soon, []
            for call in calls:
                call()

    def close(self) -> None:
        """Release the loop's own descriptors."""
        if self._signals:
            signal.set_wakeup_fd(-1)
        self._epoll.close()
        os.close(self._wake)
        os.close(self._waker)

    def _awake(self) -> None:
        os.read(self._wake, 4096)

    def _patience(self, timeout: float | None) -> float | None:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        if self._soon:
            return 0
        if not self._timers:
            return timeout
        due = max(0.0, self._timers[0][0] - time.monotonic())
        return due if timeout is None else min(due, timeout)
