"""Standard input, output and error of a program container.

Output goes through FIFOs that the program itself holds open for reading and writing: without a reader it never gets
SIGPIPE, what it writes waits. Input comes through a FIFO whose writing end a keeper holds. With a terminal all three
are one pseudo terminal, whose master the keeper holds; while no runtime process reads it, a program that writes more
than the terminal buffers (about 4 KiB) waits for the next one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import termios
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from msgspec import Struct

from wherry.pods.runtime import keeper, logs
from wherry.pods.runtime.loop import READ, Loop
from wherry.pods.runtime.programs import Programs

_CHUNK = 64 * 1024
_HEAD = 512
"""Bytes of standard error kept to recognise a failed start."""
_FIRST_SIZE = (24, 80)
"""Rows and columns of a terminal until somebody attaches."""


class Ends(Struct, frozen=True):
    """The program's ends, and the process id of the keeper (0: there is none)."""

    stdin: int
    stdout: int
    stderr: int
    keeper: int = 0


class Streams:
    """Our side: what the program writes goes to its log. ``path`` gives the FIFOs' paths by their suffixes."""

    def __init__(self, loop: Loop, path: Callable[[str], str], log: logs.ContainerLog, *, tty: bool) -> None:
        self._loop = loop
        self._path = path
        self._log = log
        self._tty = tty
        self._readers: dict[logs.Stream, int] = {}
        self.head = b""
        """How standard error begins, or what appears on the terminal."""

    def open(self, opened: ExitStack, *, stdin: bool, programs: Programs) -> Ends:
        """Make everything anew; what is the program's is closed by ``opened``. Raises OSError."""
        if self._tty:
            return self._open_terminal(opened, programs)
        outputs = {}
        for stream in logs.STREAMS:
            os.mkfifo(self._path(f".{stream}"), 0o600)
            reader = self._open_reader(stream)
            outputs[stream] = os.open(self._path(f".{stream}"), os.O_RDWR | os.O_CLOEXEC)
            opened.callback(os.close, outputs[stream])
            self._watch(stream, reader)
        holder = 0
        if stdin:
            os.mkfifo(self._path(".stdin"), 0o600)
            source = os.open(self._path(".stdin"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            opened.callback(os.close, source)
            writer = os.open(self._path(".stdin"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            opened.callback(os.close, writer)
            os.set_blocking(source, True)  # it was opened so only because nobody wrote yet
            holder = keeper.start(writer, programs=programs)
        else:
            source = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            opened.callback(os.close, source)
        return Ends(stdin=source, stdout=outputs["stdout"], stderr=outputs["stderr"], keeper=holder)

    def adopt(self, holder: int) -> None:
        """Go on with what an earlier runtime process opened."""
        if not self._tty:
            for stream in logs.STREAMS:
                self._watch(stream, self._open_reader(stream))
            return
        try:
            self._watch("stdout", keeper.duplicate(holder))
        except OSError as error:
            # Without a master the terminal hangs up, and the program learns of it by itself.
            print(f"terminal of {self._path('')}: {error}", file=sys.stderr, flush=True)

    def drain(self) -> None:
        """Write to the log what is there."""
        for stream in logs.STREAMS:
            while self._pump(stream):
                continue

    def close(self) -> None:
        """Stop reading."""
        for reader in self._readers.values():
            self._loop.forget(reader)
            os.close(reader)
        self._readers.clear()

    def _open_terminal(self, opened: ExitStack, programs: Programs) -> Ends:
        master, terminal = os.openpty()
        opened.callback(os.close, terminal)
        os.set_blocking(master, False)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *_FIRST_SIZE, 0, 0))
        self._watch("stdout", master)
        return Ends(stdin=terminal, stdout=terminal, stderr=terminal, keeper=keeper.start(master, programs=programs))

    def _open_reader(self, stream: logs.Stream) -> int:
        return os.open(self._path(f".{stream}"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def _watch(self, stream: logs.Stream, reader: int) -> None:
        self._readers[stream] = reader
        self._loop.watch(reader, READ, partial(self._readable, stream))

    def _readable(self, stream: logs.Stream, _: int) -> None:
        self._pump(stream)

    def _pump(self, stream: logs.Stream) -> bool:
        """Move one piece of output to the log; False when there is no more for now."""
        reader = self._readers.get(stream)
        if reader is None:
            return False
        try:
            data = os.read(reader, _CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # how a terminal reports that nobody has its other side open any more
                raise
            data = b""
        if not data:
            self._loop.forget(reader)
            os.close(self._readers.pop(stream))
            return False
        if (self._tty or stream == "stderr") and len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]
        self._log.write(stream, data)
        return True
