"""Running a command in a container to its end, for exec probes and hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from wherry.pods.interfaces import Runtime
from wherry.pods.probes.ask import LONGEST_MESSAGE, Unanswered
from wherry.pods.runtime.client import RuntimeRefused, RuntimeUnavailable, UnknownContainer
from wherry.pods.runtime.exec import ExecFailed


async def run_command(runtime: Runtime, container_id: str, argv: tuple[str, ...], timeout: float) -> tuple[int, bytes]:
    """Return exit code and the first of the output, both streams together.

    Raises TimeoutError after `timeout` seconds (the command is killed then), `Unanswered` when it cannot be run at all.
    """
    try:
        session = await runtime.exec(container_id, argv)
    except ExecFailed as error:
        raise Unanswered(f"failed to exec in container: {error}") from error
    except (RuntimeUnavailable, RuntimeRefused, UnknownContainer) as error:
        raise Unanswered(str(error)) from error
    output = bytearray()
    try:
        async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
            for read in (session.read_stdout, session.read_stderr):
                group.create_task(_drain(read, output))
            code = await session.wait()
    finally:
        await session.close()
    return code, bytes(output)


async def _drain(read: Callable[[], Awaitable[bytes]], output: bytearray) -> None:
    while data := await read():
        output += data[: max(0, LONGEST_MESSAGE - len(output))]
