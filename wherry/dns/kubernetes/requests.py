"""How often and how many at once we may ask the API server, and what came of it, as CoreDNS counts it.

The limits are those of the options ``apiserver_qps``, ``apiserver_burst`` and ``apiserver_max_inflight``. A watch
counts as in flight until the server has accepted it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from wherry.dns.metrics import Metrics
from wherry.kube.errors import ApiError

_DEFAULT_BURST = 10


class Limits(NamedTuple):
    """Requests a second, how many of them may come at once, and how many may be under way; 0 is no limit."""

    rate: float = 0.0
    burst: int = 0
    in_flight: int = 0


class Requests:
    """Lets requests through at the permitted rate and counts them."""

    def __init__(self, limits: Limits, metrics: Metrics, host: str, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._host = host
        self._slots = asyncio.Semaphore(limits.in_flight) if limits.in_flight else None
        self._burst = float(limits.burst or _DEFAULT_BURST)
        self._tokens, self._filled = self._burst, clock()
        name = "coredns_kubernetes_rest_client_"
        self._total = metrics.counter(
            f"{name}requests_total",
            "Number of HTTP requests, partitioned by status code, method, and host.",
            ["code", "method", "host"],
        )
        self._latency = metrics.histogram(
            f"{name}request_duration_seconds", "Request latency in seconds by verb and host.", ["verb", "host"]
        )
        self._waited = metrics.histogram(
            f"{name}rate_limiter_duration_seconds", "Seconds that requests waited here.", ["verb", "host"]
        )

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Callable[[], None]]:
        """A request; what is given is to be called once it is answered, with leaving the block at the latest."""
        came = self._clock()
        await self._turn()
        if self._slots is not None:
            await self._slots.acquire()
        sent = self._clock()
        self._waited.labels("GET", self._host).observe(sent - came)
        over = False

        def done(code: str = "200") -> None:
            nonlocal over
            if over:
                return
            over = True
            if self._slots is not None:
                self._slots.release()
            self._latency.labels("GET", self._host).observe(self._clock() - sent)
            self._total.labels(code, "GET", self._host).inc()

        try:
            yield done
        except ApiError as error:
            done(str(error.code) if error.code else "<error>")
            raise
        finally:
            done()

    async def _turn(self) -> None:
        """Wait for a token of a bucket that holds `burst` of them and gets `rate` a second."""
        rate = self._limits.rate
        if not rate:
            return
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * rate) - 1
        self._filled = now
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / rate)
