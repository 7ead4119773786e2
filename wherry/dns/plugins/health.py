"""`health [ADDRESS] { lameduck DURATION }`: says at /health that the process lives (https://coredns.io/plugins/health/)."""

import asyncio
import logging

from wherry.dns.corefile.addresses import endpoint_of
from wherry.dns.corefile.durations import format_duration
from wherry.dns.corefile.model import Block, Directive, latest
from wherry.dns.http import Page
from wherry.dns.plugin import Base
from wherry.dns.traffic import SLIM_DURATIONS

log = logging.getLogger(__name__)

_PATH = "/health"
_EVERY = 1.0  # seconds between looks at ourselves
_PATIENCE = 3.0  # seconds for an answer


class Health(Base):
    """Always healthy, also while the process lingers before it ends; looks at its own answer once a second."""

    name = "health"

    def __init__(self, block: Block, host: str, port: int, lameduck: float) -> None:
        self.lameduck = lameduck
        """Seconds that the process goes on answering after it was told to end."""
        self._config = block.config
        self._address = (host, port)
        self._durations = block.config.metrics.histogram(
            "coredns_health_request_duration_seconds",
            "Histogram of the time (in seconds) each request took.",
            buckets=SLIM_DURATIONS,
        )
        self._failures = block.config.metrics.counter(
            "coredns_health_request_failures_total", "The number of times the health check failed."
        )
        self.port = port
        """Where it listens once started; differs from the directive's only for port 0."""

    async def start(self) -> None:
        """Listen; raises OSError."""
        self.port = await self._config.process.http.serve(*self._address, _PATH, _healthy)
        self._config.spawn(self._watch())

    async def stop(self) -> None:
        """Leave the listener to the next configuration."""
        await self._config.process.http.release(self._address[0], self.port, _PATH, _healthy)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            await self.look()

    async def look(self) -> None:
        """Ask ourselves, and note how long it took and whether it failed."""
        start = self._config.clock()
        try:
            await self._ask()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            self._failures.inc()
            log.warning("plugin/health: Local health request to port %d failed: %s", self.port, error)
        took = self._config.clock() - start
        self._durations.observe(took)
        if took > 1:
            text = format_duration(took)
            log.warning("plugin/health: Local health request to port %d took more than 1s: %s", self.port, text)

    async def _ask(self) -> None:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(self._address[0] or "localhost", self.port)
            try:
                writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                line = await reader.readuntil(b"\r\n")
                if line.split()[1:2] != [b"200"]:
                    raise ValueError(f"it said {line!r}")
                await reader.read()
            finally:
                writer.close()


async def _healthy() -> Page:
    return Page(b"OK")


def setup(directives: list[Directive], block: Block) -> Health:
    """Read the directive; raises CorefileError."""
    directive = latest(directives)
    if len(directive.args) > 1:
        raise directive.wrong_arguments()
    lameduck = 0.0
    for line in directive.body:
        if line.name != "lameduck":
            raise line.unknown_property()
        lameduck = max(0.0, line.duration(line.argument()))
    return Health(block, *endpoint_of(directive, directive.args[0] if directive.args else ":8080"), lameduck)
