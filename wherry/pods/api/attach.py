"""Being attached to a running container: its output from now on, and its input.

Output is read from the log, into which the runtime writes it as it comes. So any number of clients may be attached,
stand-ins are no special case, and a client stays attached while the runtime process is restarted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Literal

from wherry.pods.api.backend import End, Input, Log
from wherry.pods.api.logformat import LogOptions
from wherry.pods.api.logs import read_log


class Attachment:
    """One attached client. Closing it leaves the container running.

    ``once`` is the container's stdinOnce: its input then ends with this client's; without it the end of the client's
    input ends the attachment, as with other runtimes, since no more is to be expected of the client. ``start`` is the
    offset in the log from which on output is sent.
    """

    def __init__(self, log: Log, *, source: Input | None, once: bool, tty: bool, start: int) -> None:
        self._input = source
        self._once = once
        self._tty = tty
        self._over = End()
        self._unsubscribe = log.ended.subscribe(self._over.happen)
        self._stdout, self._stderr = (self._follow(log, start, stream) for stream in ("stdout", "stderr"))

    def _follow(self, log: Log, start: int, stream: Literal["stdout", "stderr"]) -> AsyncGenerator[bytes, None]:
        return read_log(log.path, LogOptions(follow=True, start=start, stream=stream), ended=self._over)

    async def read_stdout(self, limit: int = 0) -> bytes:
        """Return the next output, empty at the end; it comes in the pieces the log has, of whatever size."""
        return await anext(self._stdout, b"")

    async def read_stderr(self, limit: int = 0) -> bytes:
        """Return the next errors, empty at the end."""
        return await anext(self._stderr, b"")

    async def write_stdin(self, data: bytes) -> None:
        """Write to the container's input; dropped where it has none."""
        if self._input is not None:
            await self._input.write(data)

    def close_stdin(self) -> None:
        """Take in that the client has no more input."""
        if self._input is None:
            return
        if self._once:
            self._input.end()
        else:
            self._over.happen()

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the container's terminal, if it has one."""
        if self._input is not None:
            self._input.resize(rows, columns)

    async def wait(self) -> int:
        """Return 0 once the container or the attachment has ended: the container's exit code is the pod's affair."""
        over = asyncio.Event()
        unsubscribe = self._over.subscribe(over.set)
        try:
            await over.wait()
        finally:
            unsubscribe()
        return 0

    async def close(self) -> None:
        """Free what is held. The input of a container with stdinOnce ends here; a terminal can be attached to again."""
        self._unsubscribe()
        if self._input is not None:
            if self._once and not self._tty:
                self._input.end()
            self._input.close()
        await self._stdout.aclose()
        await self._stderr.aclose()
