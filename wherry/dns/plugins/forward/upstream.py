"""One upstream: asking it, and finding out whether it is back after it failed."""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import Counter, Histogram

from wherry.dns import records
from wherry.dns.errors import MessageError
from wherry.dns.message import MIN_SIZE, Message, Question, decode, encode, rcode_name
from wherry.dns.plugins.forward.connections import CachedClosed, Endpoint, Pool
from wherry.dns.plugins.forward.options import Options
from wherry.dns.plugins.forward.targets import Target

if TYPE_CHECKING:
    from wherry.dns.metrics import Metrics

_log = logging.getLogger(__name__)
_PROXY = "forward"
_DIAL_LEAST, _DIAL_MOST = 1.0, 30.0
_DIAL_WEIGHT = 4
"""A connection's time counts a quarter in the average from which the next one's limit is made."""
_CHECK_TIMEOUT = 1.0
_LEAST_INTERVAL = 0.05
"""Seconds between checks at least, also where an upstream refuses at once and `health_check` says 0."""
_SLOWER_AFTER, _SLOWEST = 20, 10
"""After every 20 checks that failed their distance grows by one interval, up to ten of them (5 s)."""
_BUCKETS = tuple(0.00025 * 2**power for power in range(16))


class Counters:
    """The metrics of all upstreams, under CoreDNS' names."""

    def __init__(self, metrics: Metrics) -> None:
        self.duration: Histogram = metrics.histogram(
            "coredns_proxy_request_duration_seconds", "Histogram of the time each request took.",
            ["proxy_name", "to", "rcode"], buckets=_BUCKETS,
        )  # fmt: skip
        self.failures: Counter = metrics.counter(
            "coredns_proxy_healthcheck_failures", "Counter of the number of failed healthchecks.", ["proxy_name", "to"]
        )
        labels = ["proxy_name", "to", "proto"]
        self.reused: Counter = metrics.counter(
            "coredns_proxy_conn_cache_hits", "Counter of connection cache hits per upstream and protocol.", labels
        )
        self.opened: Counter = metrics.counter(
            "coredns_proxy_conn_cache_misses", "Counter of connection cache misses per upstream and protocol.", labels
        )


class Exchange(Protocol):
    """A way to an upstream that is neither UDP nor TCP (DNS over HTTPS)."""

    async def ask(self, wire: bytes) -> bytes:
        """Send a query and return its reply; raises OSError."""

    async def close(self) -> None:
        """Close what is open."""


class Upstream:
    """One server that queries are forwarded to."""

    def __init__(
        self, target: Target, options: Options, clock: Callable[[], float], counters: Counters,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:  # fmt: skip
        """Make it; connections are opened when it is asked."""
        self.target = target
        self.address = target.address
        self.fails = 0
        """Checks that failed since the last that did not."""
        self.dropped = ""
        """Why it is not to be asked, "" where it is."""
        self._options = options
        self._clock = clock
        self._counters = counters
        self._spawn = spawn
        self._dial_average = _DIAL_MOST / 2
        self._checking = False
        tls = options.tls if target.scheme != "dns" else None
        self._endpoint = Endpoint(
            target.host, target.port, clock, source=options.source_address, tls=tls, name=target.server_name
        )
        self._pool = Pool(self._endpoint, expire=options.expire, max_age=options.max_age, most_idle=options.max_idle)
        self._exchange: Exchange | None = None
        self._durations: dict[int, Histogram] = {}
        self._taken: dict[tuple[str, bool], Counter] = {}

    def down(self) -> bool:
        """Whether more checks failed in a row than `max_fails` allows."""
        return 0 < self._options.max_fails < self.fails

    async def ask(self, query: Message, transport: str, patience: float) -> Message:
        """Forward a query with an id of its own and return the reply under the query's id.

        ``transport`` is ``udp`` or ``tcp``, ``patience`` the seconds to connect in. Raises OSError where no reply came
        (TimeoutError is one) and MessageError where one cannot be read.
        """
        started = self._clock()
        if self.target.scheme == "https":
            wire = await self._over_https(encode(query.copy(id=0)))
        else:
            protocol = "tcp-tls" if self.target.scheme == "tls" else transport
            sent = encode(query.copy(id=secrets.randbelow(0x10000)))
            wire = await self._over_connection(sent, protocol, patience)
        reply = decode(wire)
        if transport == "udp" and self.target.scheme == "dns":
            room = query.edns.size if query.edns else 0
            if len(wire) > max(MIN_SIZE, room):
                # More than was asked for: the client is told to come again over TCP.
                reply = reply.copy(truncated=True, answer=[], authority=[], additional=[])
        reply.id = query.id
        self._observe(reply.rcode, self._clock() - started)
        return reply

    def _observe(self, rcode: int, seconds: float) -> None:
        duration = self._durations.get(rcode)
        if duration is None:
            duration = self._counters.duration.labels(_PROXY, self.address, rcode_name(rcode))
            self._durations[rcode] = duration
        duration.observe(seconds)

    def _count(self, protocol: str, *, reused: bool) -> None:
        counter = self._taken.get((protocol, reused))
        if counter is None:
            family = self._counters.reused if reused else self._counters.opened
            counter = self._taken[protocol, reused] = family.labels(_PROXY, self.address, protocol)
        counter.inc()

    async def _over_connection(self, wire: bytes, protocol: str, patience: float) -> bytes:
        while True:
            connection = self._pool.take(protocol)
            self._count(protocol, reused=connection is not None)
            if connection is None:
                connection = await self._connect(protocol, patience)
            try:
                async with asyncio.timeout(self._options.read_timeout):
                    reply = await connection.ask(wire)
            except CachedClosed:
                connection.close()
                continue
            except BaseException:
                connection.close()
                raise
            self._pool.give(protocol, connection)
            return reply

    async def _connect(self, protocol: str, patience: float) -> Any:
        started = self._clock()
        limit = min(max(2 * self._dial_average, _DIAL_LEAST), _DIAL_MOST, patience)
        try:
            async with asyncio.timeout(limit):
                return await self._endpoint.connect(protocol)
        finally:
            self._dial_average += (self._clock() - started - self._dial_average) / _DIAL_WEIGHT

    async def _over_https(self, wire: bytes) -> bytes:
        if self._exchange is None:
            from wherry.dns.plugins.forward.https import Https

            context = self._options.tls or ssl.create_default_context()
            self._exchange = Https(self.target, context, self._options)
        return await self._exchange.ask(wire)

    def check(self) -> None:
        """Ask it until it answers, if nobody does so already."""
        if not self._checking:
            self._checking = True
            self._spawn(self._check())

    async def _check(self) -> None:
        try:
            while True:
                if await self._answers():
                    return
                # An upstream that is away for long, as where there is no network at all, is asked less and less.
                slower = min(1 + self.fails // _SLOWER_AFTER, _SLOWEST)
                await asyncio.sleep(max(self._options.check_interval, _LEAST_INTERVAL) * slower)
        finally:
            self._checking = False

    async def _answers(self) -> bool:
        query = Message(
            id=secrets.randbelow(0x10000), recursion_desired=self._options.check_recursion,
            question=Question(self._options.check_domain, records.NS),
        )  # fmt: skip
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT):
                await self._checked(encode(query))
        except (OSError, MessageError) as error:
            self.fails += 1
            self._counters.failures.labels(_PROXY, self.address).inc()
            if self.fails == self._options.max_fails + 1:
                _log.warning("forward: upstream %s is down: %s", self.address, error or "no answer within a second")
            return False
        if self.down():
            _log.info("forward: upstream %s is back", self.address)
        self.fails = 0
        return True

    async def _checked(self, wire: bytes) -> None:
        if self.target.scheme == "https":
            await self._over_https(wire)
            return
        protocol = "tcp-tls" if self.target.scheme == "tls" else "tcp" if self._options.force_tcp else "udp"
        connection = await self._endpoint.connect(protocol)
        try:
            await connection.ask(wire)
        finally:
            connection.close()

    async def close(self) -> None:
        """Close all connections."""
        self._pool.close()
        if self._exchange is not None:
            await self._exchange.close()
