"""The back: one event loop that holds the configuration, answers what fronts hand over, and keeps them informed.

A reload makes, starts and plans the new configuration before the old one gets its last query; a configuration that
cannot be had leaves everything as it is. SIGTERM and SIGINT end the process, after the time that `health` asks for;
SIGUSR1 reloads.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import platform
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version

import uvloop

from wherry.config.errors import ConfigError
from wherry.dns.chain import Router
from wherry.dns.corefile.load import load, load_without_custom
from wherry.dns.corefile.model import Problem, Process, ServerConfig
from wherry.dns.errors import DnsError
from wherry.dns.events import Announcer
from wherry.dns.front.link import Fronts
from wherry.dns.front.protocol import Listener, ServerPlan
from wherry.dns.http import HttpHub
from wherry.dns.metrics import Metrics
from wherry.dns.plugin import Credited
from wherry.dns.server.instance import Instance
from wherry.dns.server.listening import banner, listeners_of, listening
from wherry.dns.server.logs import configure_logging
from wherry.dns.server.options import Options
from wherry.dns.server.plan import plan_of
from wherry.dns.server.queries import Queries
from wherry.dns.server.sharing import Sharing

log = logging.getLogger(__name__)

#: Seconds in which queries under way are answered before a configuration, or the process, is stopped.
_GRACE = 5.0
#: By how much the back steps behind the fronts where processors are scarce, once it serves.
_POLITENESS = 5
#: Seconds until fronts are told once more what they could not be told.
_AGAIN = 1.0


def main(options: Options, channels: Iterable[socket.socket], serving: Callable[[], object], lifeline: int) -> int:
    """Be the back until told to end, or until ``lifeline`` reads as ended; return the exit code."""
    configure_logging()

    async def run() -> None:
        await Back(options, channels, serving).run(lifeline)

    try:
        uvloop.run(run())
    except OSError as error:
        print(f"{error.filename}: {error.strerror}" if error.filename else error, file=sys.stderr)
        return 1
    except (DnsError, ConfigError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class Back:
    """Serves until it is told to end. ``channels`` lead to fronts; ``serving`` is called when all sockets are open."""

    def __init__(self, options: Options, channels: Iterable[socket.socket], serving: Callable[[], object]) -> None:
        self._options = options
        self._serving = serving
        self._metrics = Metrics()
        self._announcer = Announcer()
        self._queries = Queries(self._metrics.traffic)
        self._process = Process(
            self._metrics,
            HttpHub(),
            self._report,
            default_port=options.port,
            endpoint=options.endpoint,
            bind=options.bind,
        )
        self._sharing = Sharing()
        self._fronts = Fronts(
            channels, self._queries.answer, self._sharing.snapshots, freebind=bool(options.bind)
        )  # fmt: skip
        self._fronts.on_fault = self._fault
        self._stopped = asyncio.Event()
        self._replan = asyncio.Event()
        self._asked: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self._changing = asyncio.Lock()
        self._instance: Instance | None = None

    async def run(self, lifeline: int) -> None:
        """Serve. Raises CorefileError, DnsError and OSError where the first configuration cannot be had."""
        loop = asyncio.get_running_loop()
        loop.add_reader(lifeline, self._orphaned, lifeline)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        config = self._load(strict=False)
        try:
            async with asyncio.TaskGroup() as group:
                lasting = [group.create_task(self._fronts.run()), group.create_task(self._announcer.run())]
                loop.add_signal_handler(signal.SIGUSR1, self._told_to_reload, group)
                await self._begin(config, group)
                # What fronts hand over must not take the processors from what they answer by themselves.
                os.nice(_POLITENESS)
                lasting += [group.create_task(self._keep_planned()), group.create_task(self._keep_reloading(group))]
                await self._stopped.wait()
                await self._end()
                for task in lasting:
                    task.cancel()
        except BaseExceptionGroup as errors:
            expected, other = errors.split((DnsError, OSError))
            if expected is None or other is not None or self._instance is not None:
                raise
            raise _first(expected) from None

    def _orphaned(self, lifeline: int) -> None:
        log.error("the process that stands over us is gone, so we end")
        asyncio.get_running_loop().remove_reader(lifeline)
        self._stopped.set()

    def _load(self, *, strict: bool) -> ServerConfig:
        path = self._options.conf
        return load(None if path is None else str(path), self._process, strict=strict)

    async def _begin(self, config: ServerConfig, group: asyncio.TaskGroup) -> None:
        self._metrics.traffic.refresh = self._collect
        try:
            instance = await self._put_in_force(config, group)
        except (DnsError, OSError) as error:
            other = load_without_custom(config, error)
            if other is None:
                raise
            instance = await self._put_in_force(other, group)
        # What is there now lives as long as the process; looking through it for garbage again and again is wasted.
        gc.collect()
        gc.freeze()
        self._serving()
        if not self._options.quiet:
            runs_on = f"linux/{platform.machine()}, Python {platform.python_version()}"
            print("\n".join([*banner(instance.servers), f"wherry-{version('wherry')}", runs_on]), flush=True)

    async def _end(self) -> None:
        """Say that we are going, linger, then take no more queries and answer those that came."""
        instance = self._instance
        assert instance is not None
        instance.config.stopping = True
        await asyncio.sleep(instance.lameduck)
        await self._fronts.stop(_GRACE)
        await instance.stop()

    async def _put_in_force(self, config: ServerConfig, group: asyncio.TaskGroup) -> Instance:
        """Start a configuration and let it serve. Raises DnsError and OSError, and then nothing of it is left."""
        instance = Instance(config, listening(config.blocks, self._options.bind), group)
        config.reload = self._reload
        config.changed = self._replan.set
        await instance.start()
        try:
            await self._install(instance)
        except BaseException:
            await instance.stop()
            raise
        return instance

    async def _reload(self) -> None:
        """Read the Corefile again and serve it. Raises DnsError and OSError, and then nothing changed."""
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait(asked)
        await asked

    async def _keep_reloading(self, group: asyncio.TaskGroup) -> None:
        """Reload whenever that is asked for: here, as who asks may be a task of what is replaced, and ends with it."""
        while True:
            asked = await self._asked.get()
            try:
                old = await self._replace(group)
            except Exception as error:
                if not isinstance(error, DnsError | OSError):
                    log.exception("reload met a defect")
                    error = DnsError(f"{type(error).__name__}: {error}")
                if not asked.done():
                    asked.set_exception(error)
                continue
            if not asked.done():
                asked.set_result(None)
            log.info("Reloading complete")
            await self._retire(old)

    async def _replace(self, group: asyncio.TaskGroup) -> Instance:
        """Put a new configuration in force and return the one before."""
        old = self._instance
        assert old is not None
        await self._put_in_force(self._load(strict=True), group)
        return old

    async def _retire(self, old: Instance) -> None:
        """Stop a configuration that gets no more queries, once those it has are answered."""
        try:
            async with asyncio.timeout(_GRACE):
                await self._queries.drained(old.routers.values())
        except TimeoutError:
            log.warning("some queries to the previous configuration took more than %g s", _GRACE)
        assert self._instance is not None
        self._queries.serve(self._routers(self._instance))
        await old.stop()

    def _told_to_reload(self, group: asyncio.TaskGroup) -> None:
        async def reload() -> None:
            log.info("SIGUSR1: Reloading")
            try:
                await self._reload()
            except (DnsError, OSError) as error:
                self._report(Problem("ReloadFailed", f"SIGUSR1: reload failed, what was in force stays: {error}"))

        group.create_task(reload())

    def _routers(self, instance: Instance) -> dict[int, Router]:
        return {self._queries.number(s.label, s.port): instance.routers[s.label] for s in instance.servers}

    async def _install(self, instance: Instance) -> None:
        """Let a started configuration serve. Raises DnsError where an address cannot be had; then nothing changed."""
        async with self._changing:
            before = self._queries.routers
            # Servers that are no more go on with what they have got, and go when their configuration does.
            routers = self._routers(instance)
            self._queries.serve(before | routers)
            plans = self._plans(instance)
            try:
                await self._fronts.configure(self._listeners(instance), plans)
            except BaseException:
                self._queries.serve(before)
                raise
            self._instance = instance
            self._share(instance, plans)

    def _share(self, instance: Instance, plans: list[ServerPlan]) -> None:
        used = {zone.local.zone for plan in plans for zone in plan.zones if zone.local is not None}
        self._sharing.follow(instance.plugins, used, self._fronts)

    def _listeners(self, instance: Instance) -> list[Listener]:
        return [
            listener for server in instance.servers
            for listener in listeners_of(server, self._queries.number(server.label, server.port))
        ]  # fmt: skip

    def _plans(self, instance: Instance) -> list[ServerPlan]:
        """A plan for every number; servers that are no more get an empty one."""
        plans = [ServerPlan(label) for label in self._queries.labels]
        for server in instance.servers:
            number = self._queries.number(server.label, server.port)
            plans[number] = plan_of(instance.routers[server.label], server.block.timeouts, self._sharing.number)
        return plans

    async def _keep_planned(self) -> None:
        """Plan anew whenever a plugin says that what it must see has changed."""
        while True:
            await self._replan.wait()
            self._replan.clear()
            async with self._changing:
                instance = self._instance
                assert instance is not None
                try:
                    await self._fronts.configure(self._listeners(instance), self._plans(instance))
                except DnsError as error:
                    log.warning("fronts keep the plan they have for now: %s", error)
                    self._replan.set()
                    await asyncio.sleep(_AGAIN)

    async def _collect(self) -> None:
        """Add what fronts answered by themselves to the metrics."""
        instance = self._instance
        assert instance is not None
        labels = self._queries.labels
        for row in await self._fronts.counts():
            router = instance.routers.get(labels[row.server])
            chain = None if router is None else router.chain_of(row.zone)
            if chain is None:
                continue
            plugins = chain.block.plugins
            if row.credit and "cache" in plugins:
                cache = plugins["cache"]
                assert isinstance(cache, Credited)
                cache.credit(labels[row.server], row.credit, row.queries)
            if "prometheus" in plugins:
                self._metrics.traffic.add([row], labels)

    def _report(self, problem: Problem) -> None:
        self._metrics.counter(
            "wherry_dns_problems_total", "What people should hear of though the server goes on.", ("reason",)
        ).labels(problem.reason).inc()
        log.warning("%s", problem.text)
        self._announcer.tell(problem)

    def _fault(self, text: str) -> None:
        self._metrics.counter("coredns_panics_total", "A metrics that counts the number of panics.").inc()
        log.error("a front met a defect, the client got SERVFAIL:\n%s", text)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
