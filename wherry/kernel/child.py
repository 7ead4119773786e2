"""A child process on an event loop, started inside a network namespace, with its output in one stream.

asyncio's own subprocess calls await between the call and the fork, and so cannot be made from another namespace;
they also start a thread per child on Python 3.11. Here nothing is awaited until the child runs, so that a cancelled
caller cannot leave a half-made one; its end is seen by a process file descriptor.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from wherry.kernel import netns

_READ_BYTES: Final = 1 << 16


class Child:
    """A running program in the namespace at `netns_path` (None: the calling thread's), for one event loop.

    Its standard error is part of its output. `on_data` gets that as it comes (without it, `output` collects it);
    `on_end` is called once, when it has ended. Making one raises OSError.
    """

    def __init__(
        self, argv: Sequence[str], *, netns_path: str | os.PathLike[str] | None = None,
        env: dict[str, str] | None = None,
        on_data: Callable[[bytes], None] | None = None, on_end: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.output = bytearray()
        """What was printed, where nobody wanted to be handed it."""
        self.alive = True
        """False as soon as the output has ended."""
        self._take = on_data or self.output.extend
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._pending = bytearray()
        self._closing = False
        with netns.entered(netns_path):
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, bufsize=0,
                start_new_session=True,  # a terminal's Ctrl-C is for us, not for the child
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        self._loop.add_reader(self._stdout.fileno(), self._readable)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def write(self, data: bytes) -> None:
        """Queue bytes for the child's standard input; never blocks, and does nothing for a child that has ended."""
        if not self._stdin.closed and not self._closing:
            waiting = bool(self._pending)
            self._pending += data
            if not waiting:
                self._writable()

    def close_input(self) -> None:
        """End the child's standard input after what was written."""
        self._closing = True
        if not self._pending:
            self._stdin.close()

    def kill(self) -> None:
        """Kill the child."""
        self._process.kill()

    async def ended(self) -> int:
        """Wait until the child has ended and all it printed is here; return its status, -N for signal N."""
        return await asyncio.shield(self._exit)

    def _writable(self) -> None:
        number = self._stdin.fileno()
        try:
            del self._pending[: os.write(number, self._pending)]
        except BlockingIOError:
            self._loop.add_writer(number, self._writable)
            return
        except BrokenPipeError:  # What the child's end means is told by its output's end.
            self._pending.clear()
            self._closing = True
        if self._pending:
            self._loop.add_writer(number, self._writable)
            return
        self._loop.remove_writer(number)
        if self._closing:
            self._stdin.close()

    def _readable(self) -> None:
        data = os.read(self._stdout.fileno(), _READ_BYTES)
        if data:
            self._take(data)
            return
        self.alive = False
        self._loop.remove_reader(self._stdout.fileno())
        self._stdout.close()
        if not self._stdin.closed:
            self._loop.remove_writer(self._stdin.fileno())
            self._stdin.close()
        pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(pidfd, self._exited, pidfd)
        if self._on_end is not None:
            self._on_end()

    def _exited(self, pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        self._exit.set_result(self._process.wait())
