"""A child process on an event loop, started inside a network namespace, with its output in one stream.

asyncio's own subprocess calls await between the call and the fork, and so cannot be made from another namespace;
they also start a thread per child on Python 3.11. Here the fork happens inside `start`, and the end is seen by a
process file descriptor.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Self

from wherry.kernel import netns


class Child:
    """A running program; make one by `start`. Its standard error is part of its output."""

    def __init__(self, process: "subprocess.Popen[bytes]", on_end: Callable[[], None] | None) -> None:
        self._process = process
        self._on_end = on_end
        self._pidfd = -1
        self._input: asyncio.WriteTransport | None = None
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.output = bytearray()
        """What was printed, where `start` was not told to hand it on."""
        self.alive = True
        """False as soon as the output has ended."""

    @classmethod
    async def start(
        cls, argv: Sequence[str], *, netns_path: str | os.PathLike[str] | None = None,
        env: dict[str, str] | None = None,
        on_data: Callable[[bytes], None] | None = None, on_end: Callable[[], None] | None = None,
    ) -> Self:  # fmt: skip
        """Start `argv` in the namespace at `netns_path` (None: the calling thread's).

        `on_data` gets the output as it comes; `on_end` is called once, when it has ended. Raises OSError.
        """
        process = _spawn(argv, netns_path, env)
        child = cls(process, on_end)
        loop = asyncio.get_running_loop()
        take = on_data or child.output.extend
        try:
            child._input, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
            await loop.connect_read_pipe(lambda: _Output(take, child._output_ended), process.stdout)
        except BaseException:
            process.kill()
            process.wait()
            if child._input is not None:
                child._input.abort()
            raise
        return child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def write(self, data: bytes) -> None:
        """Queue bytes for the child's standard input; never blocks, and does nothing for a child that has ended."""
        if self._input is not None and not self._input.is_closing():
            self._input.write(data)

    def close_input(self) -> None:
        """End the child's standard input after what was written."""
        if self._input is not None:
            self._input.close()

    def kill(self) -> None:
        """Kill the child."""
        self._process.kill()

    async def ended(self) -> int:
        """Wait until the child has ended and all it printed is here; return its status, -N for signal N."""
        return await asyncio.shield(self._exit)

    def _output_ended(self) -> None:
        self.alive = False
        self.close_input()
        self._pidfd = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._exited)
        if self._on_end is not None:
            self._on_end()

    def _exited(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        if not self._exit.done():
            self._exit.set_result(self._process.wait())


def _spawn(
    argv: Sequence[str], netns_path: str | os.PathLike[str] | None, env: dict[str, str] | None
) -> "subprocess.Popen[bytes]":
    with netns.entered(netns_path):
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, bufsize=0,
            start_new_session=True,  # a terminal's Ctrl-C is for us, not for the child
        )  # fmt: skip


class _Output(asyncio.Protocol):
    def __init__(self, take: Callable[[bytes], object], ended: Callable[[], None]) -> None:
        self._take = take
        self._ended = ended

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._ended()
