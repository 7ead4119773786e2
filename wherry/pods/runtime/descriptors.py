"""Reading and writing descriptors that do not block, on the event loop."""

from __future__ import annotations

import asyncio
import errno
import os


async def read(fd: int | None, limit: int) -> bytes:
    """The next bytes; empty at the end, and at once without a descriptor."""
    while fd is not None:
        try:
            return os.read(fd, limit)
        except BlockingIOError:
            await _ready(fd, write=False)
        except OSError as error:
            if error.errno == errno.EIO:  # how a terminal reports that nobody has its other side open any more
                return b""
            raise
    return b""


async def write(fd: int, data: bytes) -> None:
    """Write all of ``data``; what a program that closed its input does not take is dropped."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _ready(fd, write=True)
        except OSError:
            # EPIPE from a pipe, EIO from a terminal: the program does not read any more, which is its right.
            return


async def _ready(fd: int, *, write: bool) -> None:
    """Wait until a descriptor can be written or read."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    if write:
        loop.add_writer(fd, wake)
    else:
        loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        if write:
            loop.remove_writer(fd)
        else:
            loop.remove_reader(fd)
