"""Running the probes of one container for as long as it runs.

The startup probe holds the others back until it has succeeded once. The first readiness probe is asked as soon as the
container has started (after `initialDelaySeconds`), so that a pod is Ready without waiting for a period to pass. The
only timers are the periods of the probes.

A stand-in answers for a program that is not there: its commands cannot be run, so its exec probes succeed; and it
speaks TLS only where annotations ask for it, so an HTTPS probe that is not answered asks whether the port is open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from wherry.kube.objects import Container, Probe
from wherry.pods.probes import ask, grpc
from wherry.pods.probes.tracker import Outcome, Tracker
from wherry.pods.state import ProbeResults


class Prober:
    """The probes of one running container.

    `changed` is called after every change of `results`; `tell(reason, message)` with the event of every answer that is
    worth one. `seed` are results known from before a restart of the agent, so that a ready pod stays ready.
    """

    def __init__(
        self,
        container: Container,
        *,
        address: str,
        stand_in: bool,
        started_at: float,
        run_command: ask.RunCommand,
        changed: Callable[[], None],
        tell: Callable[[str, str], None],
        seed: ProbeResults = ProbeResults(),  # noqa: B008 - immutable
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._container = container
        self._address = address
        self._stand_in = stand_in
        self._started_at = started_at
        self._run_command = run_command
        self._changed = changed
        self._tell = tell
        self._ending = False
        self._clock = clock
        self.results = seed
        self.first_answers = 0
        """How many probes have not answered once; while it is positive a status is about to change."""
        if container.readiness_probe is not None and not container.readiness_probe.initial_delay_seconds:
            self.first_answers = 0 if seed.readiness is not None or container.startup_probe is not None else 1

    def end_restarts(self) -> None:
        """Ask only for readiness from now on: the pod is to end, and nothing of it is started again."""
        self._ending = True

    async def run(self) -> None:
        """Probe until cancelled, or until a startup or liveness probe has failed for good."""
        startup = self._container.startup_probe
        if startup is not None and self.results.startup is not True and not await self._until_decided(startup):
            return
        async with asyncio.TaskGroup() as group:
            if self._container.readiness_probe is not None:
                group.create_task(self._readiness(self._container.readiness_probe))
            if self._container.liveness_probe is not None:
                group.create_task(self._liveness(self._container.liveness_probe))

    async def _until_decided(self, probe: Probe) -> bool:
        tracker = Tracker(probe)
        await self._initial_delay(probe)
        while not self._ending:
            outcome = await self._ask("Startup", probe)
            if outcome is not None and tracker.observe(outcome.success):
                self._set(ProbeResults(startup=outcome.success))
                return outcome.success
            await asyncio.sleep(probe.period_seconds)
        return False

    async def _readiness(self, probe: Probe) -> None:
        tracker = Tracker(probe, self.results.readiness)
        await self._initial_delay(probe)
        while True:
            outcome = await self._ask("Readiness", probe)
            first, self.first_answers = self.first_answers, 0
            if outcome is not None and tracker.observe(outcome.success):
                found = self.results
                self._set(ProbeResults(found.startup, tracker.result, found.liveness))
            elif first:
                self._changed()
            await asyncio.sleep(probe.period_seconds)

    async def _liveness(self, probe: Probe) -> None:
        tracker = Tracker(probe, True)
        await self._initial_delay(probe)
        while not self._ending:
            outcome = await self._ask("Liveness", probe)
            if outcome is not None and tracker.observe(outcome.success):
                found = self.results
                self._set(ProbeResults(found.startup, found.readiness, tracker.result))
                if tracker.result is False:
                    # The container is being replaced; its successor gets a prober of its own.
                    return
            await asyncio.sleep(probe.period_seconds)

    async def _initial_delay(self, probe: Probe) -> None:
        left = self._started_at + probe.initial_delay_seconds - self._clock()
        if left > 0:
            await asyncio.sleep(left)

    def _set(self, results: ProbeResults) -> None:
        self.results = results
        self._changed()

    async def _ask(self, kind: str, probe: Probe) -> Outcome | None:
        try:
            outcome = await self._once(probe)
        except ask.Unanswered as error:
            # The answer that could not be got counts neither way.
            self._tell("Unhealthy", f"{kind} probe errored and resulted in unknown state: {error}")
            return None
        if not outcome.success:
            self._tell("Unhealthy", f"{kind} probe failed: {outcome.message}")
        elif outcome.warning:
            self._tell("ProbeWarning", f"{kind} probe warning: {outcome.message}")
        return outcome

    async def _once(self, probe: Probe) -> Outcome:
        timeout = float(max(1, probe.timeout_seconds))
        container, address = self._container, self._address
        if probe.exec is not None:
            if self._stand_in:
                return Outcome(True)
            return await ask.command(probe.exec.command, run=self._run_command, timeout=timeout)
        if probe.http_get is not None:
            outcome = await ask.http(probe.http_get, container=container, address=address, timeout=timeout)
            if self._stand_in and not outcome.answered and probe.http_get.scheme.upper() == "HTTPS":
                # A stand-in speaks TLS only where it is asked to; that its port is open has to do.
                port = ask.port_number(probe.http_get.port, container)
                return await ask.tcp_port(probe.http_get.host or address, port, timeout=timeout)
            return outcome
        if probe.tcp_socket is not None:
            return await ask.tcp(probe.tcp_socket, container=container, address=address, timeout=timeout)
        if probe.grpc is not None:
            return await grpc.check(address, probe.grpc.port, probe.grpc.service or "", timeout=timeout)
        raise ask.Unanswered("missing probe handler")
