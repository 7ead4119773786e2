"""Waiting for a directory to change, by inotify: following a log costs nothing while nothing is written."""

from __future__ import annotations

import asyncio
import ctypes
import os
from types import TracebackType
from typing import Self

_MODIFY, _CREATE, _MOVED_FROM = 0x2, 0x100, 0x40
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


class DirectoryWatch:
    """A context manager; `wait` returns after the next change, `wake` makes it return without one."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._changed = asyncio.Event()
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = _libc.inotify_init1(_FLAGS)
        if self._fd < 0:
            raise self._error("inotify_init1")
        if _libc.inotify_add_watch(self._fd, os.fsencode(self._directory), _MODIFY | _CREATE | _MOVED_FROM) < 0:
            error = self._error("inotify_add_watch")
            os.close(self._fd)
            raise error
        asyncio.get_running_loop().add_reader(self._fd, self._readable)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    async def wait(self) -> None:
        """Return when something changed since the last return."""
        await self._changed.wait()
        self._changed.clear()

    def wake(self) -> None:
        """Make `wait` return."""
        self._changed.set()

    def _readable(self) -> None:
        try:
            os.read(self._fd, 65536)
        except BlockingIOError:
            return
        self._changed.set()

    def _error(self, call: str) -> OSError:
        number = ctypes.get_errno()
        return OSError(number, f"{call}: {os.strerror(number)}", self._directory)
