"""The probers of one pod: one for each running container that has probes, for as long as it runs."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from wherry.kube.objects import Container
from wherry.pods.context import Context
from wherry.pods.probes.prober import Prober
from wherry.pods.state import Attempt, ProbeResults

if TYPE_CHECKING:
    from wherry.pods.worker import PodWorker


class ProbeWatch:
    """Starts and ends the probers of one pod; what they find goes into its record."""

    def __init__(self, context: Context, worker: PodWorker) -> None:
        self._context = context
        self._worker = worker
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def manage(self) -> None:
        """Bring the probers in line with what runs."""
        record = self._worker.record
        wanted = self._wanted()
        for id_ in [id_ for id_ in self._tasks if id_ not in wanted]:
            self._tasks.pop(id_).cancel()
            record.probers.pop(id_, None)
        for id_, (container, attempt) in wanted.items():
            if id_ not in self._tasks:
                self._start(container, attempt)
        if record.ending is not None:
            for prober in record.probers.values():
                prober.end_restarts()

    def close(self) -> None:
        """End all of them."""
        for task in self._tasks.values():
            task.cancel()

    @property
    def undecided(self) -> bool:
        """Whether a first answer is about to change the pod's status."""
        return any(prober.first_answers for prober in self._worker.record.probers.values())

    def _wanted(self) -> dict[str, tuple[Container, Attempt]]:
        record, spec = self._worker.record, self._worker.pod.spec
        found: dict[str, tuple[Container, Attempt]] = {}
        if record.sandbox is None:
            return found
        for container in (*spec.init_containers, *(spec.containers or ())):
            if not (container.readiness_probe or container.liveness_probe or container.startup_probe):
                continue
            attempts = record.attempts.get(container.name)
            if attempts and attempts[-1].running and attempts[-1].state.id not in record.hooks:
                found[attempts[-1].state.id] = (container, attempts[-1])
        return found

    def _start(self, container: Container, attempt: Attempt) -> None:
        record, id_ = self._worker.record, attempt.state.id
        prober = Prober(
            container,
            address=self._worker.actions.address,
            stand_in=attempt.state.stand_in,
            started_at=attempt.state.started_at,
            run_command=self._worker.actions.command_runner(id_),
            changed=self._worker.wake,
            tell=partial(self._tell, container),
            seed=record.seeds.pop(id_, ProbeResults()),
            clock=self._context.clock,
        )
        record.probers[id_] = prober
        self._tasks[id_] = self._worker.spawn(prober.run(), f"probes of {container.name}")

    def _tell(self, container: Container, reason: str, message: str) -> None:
        self._context.event(self._worker.pod, "Warning", reason, message, container=container)
