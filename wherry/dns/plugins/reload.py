"""`reload [INTERVAL] [JITTER]`: puts a changed Corefile in force (https://coredns.io/plugins/reload/).

A change of the Corefile or of what it imports is heard of at once; the interval is for file systems that do not tell.
A Corefile that does not hold is reported, counted and not tried again before it changes.
"""

import asyncio
import logging
import random

from wherry.dns.corefile.load import look
from wherry.dns.corefile.model import Block, Directive, Problem, latest
from wherry.dns.errors import DnsError
from wherry.dns.filewatch import FileWatch
from wherry.dns.plugin import Base

log = logging.getLogger(__name__)

_LEAST_INTERVAL, _LEAST_JITTER = 2.0, 1.0  # seconds
# Seconds without further changes: editors and volumes write in several steps, and what they write first may be half.
_SETTLED = 0.15


class Reload(Base):
    """Looks at the Corefile for all blocks; of several directives the first block's does it."""

    name = "reload"

    def __init__(self, block: Block, interval: float, jitter: float) -> None:
        self.interval = interval
        self.jitter = jitter
        self._block = block
        self._config = block.config

    async def start(self) -> None:
        """Begin to look."""
        first = next(block for block in self._config.blocks if self.name in block.plugins)
        if first is not self._block:
            return
        metrics = self._config.metrics
        info = metrics.gauge(
            "coredns_reload_version_info", "A metric that records the hash during a reload.", ("hash", "value")
        )
        info.clear()
        info.labels("sha512", self._config.digest).set(1)
        metrics.counter("coredns_reload_failed_total", "Counter of the number of failed reload attempts.")
        log.info("plugin/reload: Running configuration SHA512 = %s", self._config.digest)
        self._config.spawn(self._run())

    async def _run(self) -> None:
        watch = None
        try:
            watch = FileWatch()
        except OSError as error:
            log.warning("plugin/reload: changes are only looked for every %g s: %s", self.interval, error)
        try:
            await self._follow(watch)
        finally:
            if watch is not None:
                watch.close()

    async def _follow(self, watch: FileWatch | None) -> None:
        files = self._config.files
        seen = self._config.digest
        while True:
            if watch is not None:
                watch.watch(files)
            # Looked at after the watch is set, so that nothing is missed between the two.
            found = look(self._config.source, self._config.process)
            if found.digest == seen:
                if found.files == files:
                    await self._change(watch)
                files = found.files
                continue
            files, seen = found.files, found.digest
            if seen != self._config.digest:
                await self._reload()

    async def _change(self, watch: FileWatch | None) -> None:
        """Return after a change, or when it is time to look."""
        pause = self.interval + (random.random() - 0.5) * self.jitter
        if watch is None:
            await asyncio.sleep(pause)
            return
        try:
            async with asyncio.timeout(pause):
                await watch.wait()
        except TimeoutError:
            return
        try:
            while True:
                async with asyncio.timeout(_SETTLED):
                    await watch.wait()
        except TimeoutError:
            return

    async def _reload(self) -> None:
        """Have the server take the new Corefile; where it does, this configuration and its tasks end."""
        try:
            await self._config.reload()
        except (DnsError, OSError) as error:
            self._config.metrics.counter(
                "coredns_reload_failed_total", "Counter of the number of failed reload attempts."
            ).inc()
            text = f"plugin/reload: Corefile changed but reload failed, what was in force stays: {error}"
            self._config.process.report(Problem("ReloadFailed", text))


def setup(directives: list[Directive], block: Block) -> Reload:
    """Read the directive; raises CorefileError."""
    directive = latest(directives)
    args = [directive.duration(text) for text in directive.arguments(0, 2)]
    interval = args[0] if args else 30.0
    jitter = args[1] if len(args) > 1 else 15.0
    if interval < _LEAST_INTERVAL:
        raise directive.error("interval value must be greater or equal to 2s")
    if jitter and jitter < _LEAST_JITTER:
        raise directive.error("jitter value must be 0 or greater or equal to 1s")
    return Reload(block, interval, min(jitter, interval / 2))
