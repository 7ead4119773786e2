"""Commands run inside a container on request: `kubectl exec` and exec probes.

The command is a child of the agent, so it ends with the agent and nothing has to pass through the runtime process.
`open_session` gives an `ExecSession`, whose streams are plain file descriptors driven by the event loop.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Sequence

from wherry.pods.model import ContainerSpec, ContainerState
from wherry.pods.runtime import launch
from wherry.pods.runtime.programs import Programs

NOT_FOUND_CODE = 127
"""Exit code the kubelet reports for a command that does not exist."""


class ExecFailed(Exception):
    """The command could not be started; the text is what the user should read."""


class ExecSession:
    """A running command. Close it (``async with``) when done: what still runs is killed then."""

    def __init__(
        self, process: subprocess.Popen[bytes], *, stdin: int | None, stdout: int, stderr: int | None, tty: bool
    ) -> None:
        self._process = process
        self._stdin = stdin
        self._stdout: int | None = stdout
        self._stderr = stderr
        self._tty = tty
        self._pidfd = os.pidfd_open(process.pid)
        self._exited: asyncio.Future[int] | None = None

    async def __aenter__(self) -> ExecSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def read_stdout(self, limit: int = 65536) -> bytes:
        """The next bytes of standard output (of both streams on a terminal); empty at the end."""
        return await _read(self._stdout, limit)

    async def read_stderr(self, limit: int = 65536) -> bytes:
        """The next bytes of standard error; empty at the end, and at once on a terminal."""
        return await _read(self._stderr, limit)

    async def write_stdin(self, data: bytes) -> None:
        """Write all of ``data``; what a command that closed its input does not take is dropped."""
        view = memoryview(data)
        while view and self._stdin is not None:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                await _ready(self._stdin, write=True)
            except OSError:
                # EPIPE from a pipe, EIO from a terminal: the command does not read any more, which is its right.
                return

    def close_stdin(self) -> None:
        """Signal end of input (on a terminal: send its end-of-file character)."""
        if self._stdin is None:
            return
        if self._tty:
            try:
                os.write(self._stdin, b"\x04")
            except OSError:
                # The terminal is gone or its input is full; then the command is past reading it.
                return
            return
        os.close(self._stdin)
        self._stdin = None

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; without a terminal nothing happens."""
        if self._tty and self._stdout is not None:
            size = struct.pack("HHHH", min(rows, 0xFFFF), min(columns, 0xFFFF), 0, 0)
            fcntl.ioctl(self._stdout, termios.TIOCSWINSZ, size)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the command if it still runs."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            # It ended by itself, which is what was wanted.
            return

    async def wait(self) -> int:
        """The exit code, 128 + signal number for a killed command. May be awaited any number of times."""
        if self._process.returncode is None:
            await _ready(self._pidfd, write=False)
            self._process.wait()
        code = self._process.returncode
        return 128 - code if code < 0 else code

    async def close(self) -> None:
        """Kill the command if it runs, reap it and close the streams."""
        if self._pidfd < 0:
            return
        self.kill()
        await self.wait()
        for fd in {self._stdin, self._stdout, self._stderr, self._pidfd} - {None}:
            os.close(fd)
        self._stdin = self._stdout = self._stderr = None
        self._pidfd = -1


async def open_session(
    spec: ContainerSpec,
    state: ContainerState,
    argv: Sequence[str],
    *,
    programs: Programs,
    tty: bool = False,
    stdin: bool = False,
    size: tuple[int, int] | None = None,
) -> ExecSession:
    """Start ``argv`` in the container. Raises `ExecFailed`."""
    if not argv:
        raise ExecFailed("no command was given")
    theirs: list[int] = []
    ours: list[int] = []
    try:
        session = await asyncio.to_thread(_start, spec, state, argv, programs, tty, stdin, size, ours, theirs)
    except BaseException:
        _close(ours)
        raise
    finally:
        _close(theirs)
    return session
