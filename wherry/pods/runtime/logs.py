"""Container logs in the CRI format: ``<RFC 3339 time with nanoseconds> stdout|stderr F|P <text>``, one entry a line.

An entry marked ``P`` is part of a line whose rest follows in the next entry of the same stream; the kubelet joins
them. Output is written as it arrives, an unfinished line as ``P`` at once, so nothing waits in memory and nothing is
lost when this process is killed. Source: the CRI logging design (kubernetes/design-proposals, kubelet-cri-logging).
"""

from __future__ import annotations

import glob
import os
import sys
import time
from typing import Literal

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, ...] = ("stdout", "stderr")

MAX_SIZE = 10 * 1024 * 1024
"""A log is rotated when it has grown past this (kubelet's containerLogMaxSize)."""
MAX_FILES = 5
"""Files kept per container, the current one included (kubelet's containerLogMaxFiles)."""
MAX_ENTRY = 16 * 1024
"""Longer lines are split into ``P`` entries, as containerd does."""


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with nine digits of fraction."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


def entries(stream: Stream, data: bytes, nanoseconds: int) -> bytes:
    """The log entries for a piece of output; a last line without its newline becomes a ``P`` entry."""
    head = f"{timestamp(nanoseconds)} {stream} ".encode()
    out = bytearray()
    *lines, rest = data.split(b"\n")
    for line in lines:
        while len(line) > MAX_ENTRY:
            out += head + b"P " + line[:MAX_ENTRY] + b"\n"
            line = line[MAX_ENTRY:]
        out += head + b"F " + line + b"\n"
    while rest:
        out += head + b"P " + rest[:MAX_ENTRY] + b"\n"
        rest = rest[MAX_ENTRY:]
    return bytes(out)


def tail(path: str, limit: int, lines: int) -> str:
    """The last output in a log: at most ``limit`` bytes and ``lines`` lines (terminationMessagePolicy)."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4 * limit - MAX_ENTRY))
            raw = file.read()
    except FileNotFoundError:
        return ""
    text = bytearray()
    for entry in raw.splitlines():
        parts = entry.split(b" ", 3)
        if len(parts) == 4 and parts[2] in (b"F", b"P"):
            text += parts[3] + (b"\n" if parts[2] == b"F" else b"")
    kept = b"".join(bytes(text).splitlines(keepends=True)[-lines:])[-limit:]
    return kept.decode("utf-8", "replace")


class ContainerLog:
    """The log file of one container. ``keep_open`` for programs; stand-ins open it for each write."""

    __slots__ = ("_fd", "_keep_open", "_path", "_size", "_warned")

    def __init__(self, path: str, *, keep_open: bool) -> None:
        self._path = path
        self._keep_open = keep_open
        self._fd = -1
        self._size = -1
        self._warned = False

    def write(self, stream: Stream, data: bytes) -> None:
        """Append output. When the disk refuses, the output is dropped and the first time said on our stderr."""
        try:
            self._append(entries(stream, data, time.time_ns()))
        except OSError as error:
            if not self._warned:
                self._warned = True
                print(f"log {self._path}: {error}; output is dropped", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Release the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, data: bytes) -> None:
        if self._fd < 0:
            self._fd = self._open()
        if self._size + len(data) > MAX_SIZE and self._size > 0:
            self._rotate()
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._size += len(data)
        if not self._keep_open:
            self.close()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags, 0o640)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            fd = os.open(self._path, flags, 0o640)
        if self._size < 0:
            self._size = os.fstat(fd).st_size
        return fd

    def _rotate(self) -> None:
        """Rename as the kubelet does (``0.log.20060102-150405``), drop the oldest, start a new file."""
        self.close()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        os.rename(self._path, f"{self._path}.{stamp}")
        for old in sorted(glob.glob(glob.escape(self._path) + ".*"))[: -(MAX_FILES - 1)]:
            os.unlink(old)
        self._size = -1
        self._fd = self._open()
