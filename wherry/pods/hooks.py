"""Lifecycle hooks: what runs after a container's start and before its stop."""

from __future__ import annotations

import asyncio
import json

from wherry.kube.objects import Container, Pod
from wherry.kube.objects.containers import LifecycleHandler
from wherry.pods.probes import ask


class HookFailed(Exception):
    """The hook did not succeed; the text says how, in the kubelet's words."""


async def run_hook(
    handler: LifecycleHandler,
    *,
    pod: Pod,
    container: Container,
    address: str,
    stand_in: bool,
    run_command: ask.RunCommand,
    timeout: float,
) -> None:
    """Run a hook for at most `timeout` seconds. Raises `HookFailed`.

    An HTTP hook succeeds with any answer, as under the kubelet. A stand-in has no programs, so its exec hooks are
    passed over. `tcpSocket` is accepted by the API for old times' sake and fails, by definition.
    """
    meta = pod.metadata
    who = f'for Container "{container.name}" in Pod "{meta.name}_{meta.namespace}({meta.uid})" failed'
    try:
        async with asyncio.timeout(timeout):
            await _run(handler, who, container, address, stand_in, run_command, timeout)
    except TimeoutError as error:
        raise HookFailed(f"the lifecycle hook {who} - error: it did not end within {timeout:g} s") from error


async def _run(
    handler: LifecycleHandler,
    who: str,
    container: Container,
    address: str,
    stand_in: bool,
    run_command: ask.RunCommand,
    timeout: float,
) -> None:
    if handler.sleep is not None:
        await asyncio.sleep(handler.sleep.seconds)
    elif handler.http_get is not None:
        what = f"HTTP lifecycle hook ({handler.http_get.path}) {who}"
        try:
            outcome = await ask.http(
                handler.http_get, container=container, address=address, timeout=timeout, agent=ask.HOOK_AGENT
            )
        except ask.Unanswered as error:
            raise HookFailed(f"{what} - error: {error}") from error
        if not outcome.answered:
            raise HookFailed(f"{what} - error: {outcome.message}")
    elif handler.exec is not None:
        if not stand_in:
            await _execute(handler.exec.command, who, run_command, timeout)
    else:
        raise HookFailed("Cannot run handler: invalid handler: it names neither exec, httpGet nor sleep")


async def _execute(argv: tuple[str, ...], who: str, run_command: ask.RunCommand, timeout: float) -> None:
    what = f"Exec lifecycle hook ([{' '.join(argv)}]) {who}"
    try:
        code, output = await run_command(argv, timeout)
    except ask.Unanswered as error:
        raise HookFailed(f'{what} - error: {error}, message: ""') from error
    if code != 0:
        text = output[: ask.LONGEST_MESSAGE].decode(errors="replace")
        why = f"command '{' '.join(argv)}' exited with {code}: {text}"
        raise HookFailed(f"{what} - error: {why}, message: {json.dumps(text)}")
