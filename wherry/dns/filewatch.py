"""Hearing of changes of files by inotify, however they are changed: written, renamed over, or swapped by a volume.

A ConfigMap volume replaces the link `..data` beside the files; nothing is written to the files themselves. So
directories are watched, those that names and their links lie in. Waiting costs nothing.
"""

import asyncio
import ctypes
import os
import struct
from collections.abc import Iterable

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _OVERFLOW = 0x400, 0x800, 0x4000
_MASK = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_ANY = "*"
_EVENT = struct.Struct("iIII")


class FileWatch:
    """Watches files until closed; `wait` returns after a change of one of them. Belongs to the running event loop."""

    def __init__(self) -> None:
        """Raise OSError where the kernel gives no further watch."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"inotify_init1: {os.strerror(number)}")
        self._names: dict[int, set[str]] = {}
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def watch(self, paths: Iterable[str]) -> None:
        """Watch these absolute paths from now on; a name with `*` or `?` stands for all names of its directory.

        What does not exist is waited for. Directories are looked up anew at each call: call it after a change.
        """
        wanted: dict[str, set[str]] = {}
        for path in paths:
            for name in {path, os.path.realpath(path)}:
                directory, base = os.path.split(name)
                while not os.path.isdir(directory) and directory != "/":
                    directory, base = os.path.split(directory)
                wanted.setdefault(directory, set()).add(_ANY if "*" in base or "?" in base else base)
                if os.path.isfile(name):
                    # A file that is mounted by itself is written through another directory.
                    wanted.setdefault(name, set()).add(_ANY)
        names: dict[int, set[str]] = {}
        for place, bases in wanted.items():
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(place), _MASK)
            if number >= 0:  # else it went away just now, and its parent's event brings us back
                names.setdefault(number, set()).update(bases)
        for number in self._names.keys() - names.keys():
            self._libc.inotify_rm_watch(self._fd, number)
        self._names = names

    async def wait(self) -> None:
        """Return when something changed since the last return."""
        await self._changed.wait()
        self._changed.clear()

    def _readable(self) -> None:
        try:
            events = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        place = 0
        while place < len(events):
            number, mask, _, length = _EVENT.unpack_from(events, place)
            place += _EVENT.size
            name = os.fsdecode(events[place : place + length].rstrip(b"\0"))
            place += length
            wanted = self._names.get(number, set())
            if (
                mask & (_OVERFLOW | _DELETE_SELF | _MOVE_SELF)
                or wanted & {_ANY, name}
                or (wanted and name.startswith(".."))
            ):
                self._changed.set()
