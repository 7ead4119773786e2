"""One configuration while it serves: its plugins started, its routers, its tasks.

A new one is started while the old one still serves; only then do queries change over. The old one is stopped once the
queries it had are answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from wherry.dns.chain import Chain, Router
from wherry.dns.corefile.model import Block, ServerConfig
from wherry.dns.plugin import Plugin, Reply, Request
from wherry.dns.server.listening import Listening

log = logging.getLogger(__name__)


class Instance:
    """A configuration's plugins and routers. Its tasks run in ``group`` and end with stop()."""

    def __init__(self, config: ServerConfig, servers: list[Listening], group: asyncio.TaskGroup) -> None:
        self.config = config
        self.servers = servers
        chains: dict[int, Chain] = {}
        self.routers = {s.label: Router(s.label, s.blocks, chains=chains, failed=self._failed) for s in servers}
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()
        self._started: list[Plugin] = []
        self._panics = config.metrics.counter("coredns_panics_total", "A metrics that counts the number of panics.")
        config.lookup = self._lookup
        config.spawn = self._spawn

    @property
    def plugins(self) -> list[Plugin]:
        """Every plugin of every block, in the order of the Corefile and of the chain."""
        return [plugin for block in self.config.blocks for plugin in block.plugins.values()]

    @property
    def lameduck(self) -> float:
        """Seconds that `health` asks to go on answering after the process was told to end."""
        return max(
            (getattr(plugin, "lameduck", 0.0) for plugin in self.plugins if plugin.name == "health"), default=0.0
        )

    async def start(self) -> None:
        """Start the plugins; where one cannot, those before it are stopped again. Raises OSError and DnsError."""
        try:
            for plugin in self.plugins:
                await plugin.start()
                self._started.append(plugin)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the tasks and stop what was started, the last first."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._started:
            plugin = self._started.pop()
            try:
                await plugin.stop()
            except Exception:
                # What one plugin leaves behind must not keep the others from being stopped.
                log.exception("plugin/%s: could not be stopped", plugin.name)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lookup(self, request: Request) -> Reply | None:
        router = self.routers.get(request.server)
        if router is None:
            # A question of the process itself, as a probe's; what serves first serves it.
            router = next(iter(self.routers.values()))
        return await router.lookup(request)

    def _failed(self, block: Block, error: Exception) -> None:
        self._panics.inc()
        log.error(
            "%s:%d: a plugin failed, the client gets SERVFAIL: %s: %s", block.file, block.line, type(error).__name__,
            error, exc_info=error if block.stacktrace or block.debug else None,
        )  # fmt: skip
