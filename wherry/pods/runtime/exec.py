"""Commands run inside a container on request: `kubectl exec` and exec probes.

The command is a child of the agent, so it ends with the agent and nothing has to pass through the runtime process.
`open_session` gives an `ExecSession`, whose streams are plain file descriptors driven by the event loop.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

from wherry.kernel import netns
from wherry.pods.model import ContainerSpec, ContainerState
from wherry.pods.runtime import descriptors, join, launch
from wherry.pods.runtime.programs import Programs

_SET_UP_SECONDS = 1.0
"""Longest wait for a container that is still being set up; one whose program is bwrap itself is joined after it."""


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
        self._exit: asyncio.Future[int] | None = None

    async def __aenter__(self) -> ExecSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def read_stdout(self, limit: int = 65536) -> bytes:
        """The next bytes of standard output (of both streams on a terminal); empty at the end."""
        return await descriptors.read(self._stdout, limit)

    async def read_stderr(self, limit: int = 65536) -> bytes:
        """The next bytes of standard error; empty at the end, and at once on a terminal."""
        return await descriptors.read(self._stderr, limit)

    async def write_stdin(self, data: bytes) -> None:
        """Write all of ``data``; what a command that closed its input does not take is dropped."""
        if self._stdin is not None:
            await descriptors.write(self._stdin, data)

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
        if self._exit is None:
            loop = asyncio.get_running_loop()
            self._exit = loop.create_future()
            loop.add_reader(self._pidfd, self._reap, loop, self._exit)
        code = await asyncio.shield(self._exit)
        return 128 - code if code < 0 else code

    def _reap(self, loop: asyncio.AbstractEventLoop, exited: asyncio.Future[int]) -> None:
        loop.remove_reader(self._pidfd)
        exited.set_result(self._process.wait())

    async def close(self) -> None:
        """Kill the command if it runs, reap it and close the streams."""
        if self._pidfd < 0:
            return
        self.kill()
        await self.wait()
        for fd in {self._stdin, self._stdout, self._stderr, self._pidfd}:
            if fd is not None:
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
    return await asyncio.to_thread(_open, spec, state, list(argv), programs, tty, stdin, size)


def _open(
    spec: ContainerSpec,
    state: ContainerState,
    argv: list[str],
    programs: Programs,
    tty: bool,
    stdin: bool,
    size: tuple[int, int] | None,
) -> ExecSession:
    """Make the streams and start the command; runs in a worker thread."""
    ours: list[int] = []
    theirs: list[int] = []
    try:
        if not state.stand_in:
            _wait_until_running(state.pid, programs)
        if tty:
            master, slave = os.openpty() if state.stand_in else join.open_terminal(state.pid)
            ours.append(master)
            theirs.append(slave)
            streams = (slave, slave, slave)
        else:
            reader, out = os.pipe2(os.O_CLOEXEC)
            ours.append(reader)
            theirs.append(out)
            reader, errors = os.pipe2(os.O_CLOEXEC)
            ours.append(reader)
            theirs.append(errors)
            if stdin:
                source, writer = os.pipe2(os.O_CLOEXEC)
                ours.append(writer)
            else:
                source = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            theirs.append(source)
            streams = (source, out, errors)
        for fd in ours:
            os.set_blocking(fd, False)
        process = _start(spec, state, argv, programs, tty, streams)
        if tty:
            session = ExecSession(process, stdin=ours[0] if stdin else None, stdout=ours[0], stderr=None, tty=True)
            session.resize(*(size or (24, 80)))
        else:
            session = ExecSession(process, stdin=ours[2] if stdin else None, stdout=ours[0], stderr=ours[1], tty=False)
        ours.clear()
        return session
    except (launch.LaunchError, OSError) as error:
        if isinstance(error, FileNotFoundError) and error.filename == argv[0]:
            raise ExecFailed(f'exec: "{argv[0]}": executable file not found in $PATH') from error
        if isinstance(error, OSError) and error.filename == argv[0]:
            raise ExecFailed(f'exec: "{argv[0]}": {(error.strerror or "").lower()}') from error
        text = str(error)
        raise ExecFailed(text if text.startswith("exec: ") else f"exec: {text}") from error
    finally:
        for fd in ours + theirs:
            os.close(fd)


def _start(
    spec: ContainerSpec,
    state: ContainerState,
    argv: list[str],
    programs: Programs,
    tty: bool,
    streams: tuple[int, int, int],
) -> subprocess.Popen[bytes]:
    extra = {"TERM": "xterm"} if tty else {}
    if argv[0] == "tar" and not launch.has_all_ids():
        # `kubectl cp` unpacks with the ids that its files have where they come from; there is only one here.
        extra["TAR_OPTIONS"] = "--no-same-owner"
    environ = {**extra, **launch.environment(spec)}
    stdin, stdout, stderr = streams
    if state.stand_in:
        process, _ = launch.start(
            spec,
            argv,
            programs=programs,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            prefix=join.helper(tty=True, env=environ) if tty else [],
            follow_parent=True,
            extra_env=extra,
        )
        return process
    cwd = spec.cwd or "/"
    if tty or join.credentials(state.pid).own_user_namespace:
        return subprocess.Popen(
            [*join.helper(tty=tty, pid=state.pid, cwd=cwd, env=environ), *argv],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={name: value for name, value in environ.items() if not name.startswith(launch.LOADER)},
        )

    def inside() -> subprocess.Popen[bytes]:
        return join.spawn(state.pid, argv, env=environ, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr)

    return netns.run_in(netns.THIS_THREAD, inside)


def _wait_until_running(pid: int, programs: Programs) -> None:
    """Until bwrap has become the program: before that the container has no root directory to join.

    The kernel tells nobody of an exec, so this looks every millisecond; set-up takes a few. Runs in a worker thread.
    """
    bwrap = os.stat(programs.bwrap)
    deadline = time.monotonic() + _SET_UP_SECONDS
    while time.monotonic() < deadline:
        now = os.stat(f"/proc/{pid}/exe")
        if (now.st_dev, now.st_ino) != (bwrap.st_dev, bwrap.st_ino):
            return
        time.sleep(0.001)
