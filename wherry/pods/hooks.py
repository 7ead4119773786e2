"""Lifecycle hooks: what runs after a container's start and before its stop."""

from __future__ import annotations

import asyncio

from wherry.kube.objects import Container
from wherry.kube.objects.containers import LifecycleHandler
from wherry.pods.probes import ask


class HookFailed(Exception):
    """The hook did not succeed; the text goes into the event."""


async def run_hook(
    handler: LifecycleHandler,
    *,
    container: Container,
    address: str,
    stand_in: bool,
    run_command: ask.RunCommand,
    timeout: float,
) -> None:
    """Run a hook for at most `timeout` seconds. Raises `HookFailed`.

    An HTTP hook succeeds with any answer, as under the kubelet. A stand-in has no programs, so its exec hooks are
    passed over. `tcpSocket` is accepted by the API and does nothing, by definition.
    """
    try:
        async with asyncio.timeout(timeout):
            await _run(handler, container, address, stand_in, run_command, timeout)
    except TimeoutError as error:
        raise HookFailed(f"the hook did not end within {timeout:g} s") from error
    except ask.Unanswered as error:
        raise HookFailed(str(error)) from error


async def _run(
    handler: LifecycleHandler,
    container: Container,
    address: str,
    stand_in: bool,
    run_command: ask.RunCommand,
    timeout: float,
) -> None:
    if handler.sleep is not None:
        await asyncio.sleep(handler.sleep.seconds)
    elif handler.http_get is not None:
        outcome = await ask.http(handler.http_get, container=container, address=address, timeout=timeout)
        if not outcome.answered and not outcome.success:
            raise HookFailed(outcome.message)
    elif handler.exec is not None and not stand_in:
        code, output = await run_command(handler.exec.command, timeout)
        if code != 0:
            text = output[: ask.LONGEST_MESSAGE].decode(errors="replace").strip()
            words = " ".join(handler.exec.command)
            raise HookFailed(f"command '{words}' exited with {code}: {text}")
