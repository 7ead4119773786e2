"""Stopping the containers of one pod: the preStop hook, the signal, and what is left of the grace period."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wherry.kube.objects.containers import LifecycleHandler
from wherry.pods.compile import Stop
from wherry.pods.context import Context
from wherry.pods.hooks import HookFailed, run_hook
from wherry.pods.record import lost_now
from wherry.pods.runtime.client import RuntimeUnavailable, UnknownContainer

if TYPE_CHECKING:
    from wherry.pods.actions import PodActions
    from wherry.pods.worker import PodWorker

MINIMUM = 2.0
"""Seconds a container has between its signal and SIGKILL at least, whatever used its grace period up."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0


class _Hook:
    """A preStop hook under way."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.done = asyncio.Event()


class Stopper:
    """The ends of one pod's containers, as far as it is the node that ends them."""

    def __init__(self, context: Context, worker: PodWorker, actions: PodActions) -> None:
        self._context = context
        self._worker = worker
        self._actions = actions
        self._hooks: dict[str, _Hook] = {}

    async def stop(self, action: Stop, *, first: bool) -> None:
        """Run the preStop hook, then tell the runtime to end the container; its exit is reported by itself."""
        context, container = self._context, action.container
        attempt = self._worker.record.find(action.id)
        if attempt is None or not attempt.running:
            return
        if first:
            context.event(self._worker.pod, "Normal", "Killing", action.message, container=container)
        if action.kill:
            await self._tell(action, minimum=0.0)
            return
        hook = container.lifecycle.pre_stop if container.lifecycle is not None else None
        if hook is not None:
            await self._pre_stop(action, hook, stand_in=attempt.state.stand_in)
        if not action.held:
            await self._tell(action, minimum=MINIMUM)

    def ended(self, container_id: str) -> None:
        """Give up a hook whose container has ended."""
        hook = self._hooks.get(container_id)
        if hook is not None and hook.task is not None:
            hook.task.cancel()

    async def _pre_stop(self, action: Stop, handler: LifecycleHandler, *, stand_in: bool) -> None:
        """Wait for the hook, which runs once, until the deadline."""
        left = action.deadline - self._context.clock()
        hook = self._hooks.get(action.id)
        if hook is None:
            if left <= 0:
                return
            hook = self._hooks[action.id] = _Hook()
            work = self._run_hook(action, handler, hook, stand_in=stand_in, timeout=left)
            hook.task = self._worker.spawn(work, f"preStop of {action.container.name}")
        try:
            async with asyncio.timeout(max(0.0, left)):
                await hook.done.wait()
        except TimeoutError:
            return  # the hook has used the grace period up

    async def _run_hook(
        self, action: Stop, handler: LifecycleHandler, hook: _Hook, *, stand_in: bool, timeout: float
    ) -> None:
        pod, container = self._worker.pod, action.container
        try:
            await run_hook(
                handler,
                pod=pod,
                container=container,
                address=self._actions.address,
                stand_in=stand_in,
                run_command=self._actions.command_runner(action.id),
                timeout=timeout,
            )
        except HookFailed:
            # The text may hold what a server answered, so it is not told to all who may read events.
            self._context.event(pod, "Warning", "FailedPreStopHook", "PreStopHook failed", container=container)
        finally:
            hook.done.set()

    async def _tell(self, action: Stop, *, minimum: float) -> None:
        pause = _FIRST_PAUSE
        while True:
            grace = max(action.deadline - self._context.clock(), minimum)
            try:
                self._worker.notice(await self._context.runtime.stop(action.id, grace=grace))
                return
            except UnknownContainer:
                attempt = self._worker.record.find(action.id)
                if attempt is not None and attempt.running:
                    self._worker.notice(lost_now(attempt.state, self._context.clock()))
                return
            except RuntimeUnavailable:
                # The runtime is being restarted; it adopts the container and then takes the order.
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
