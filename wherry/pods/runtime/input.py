"""The input of a running program container, for clients that attach to it."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from wherry.pods.runtime import descriptors, keeper

_END_OF_FILE = b"\x04"


class ProgramInput:
    """A duplicate of what the container's keeper holds. Close it when done; that alone changes nothing for the program.

    Several may exist of one container: the program then reads what they write in the order it arrives, and reads the
    end after `end` of one and `close` of the others.
    """

    def __init__(self, keeper_pid: int, *, tty: bool) -> None:
        """Take the duplicate. Raises OSError, `ProcessLookupError` when the input has ended."""
        self._keeper = keeper_pid
        self._tty = tty
        self._fd = keeper.duplicate(keeper_pid)

    async def write(self, data: bytes) -> None:
        """Write all of ``data``; what a program that closed its input does not take is dropped."""
        if self._fd >= 0:
            await descriptors.write(self._fd, data)

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; without a terminal nothing happens."""
        if self._tty and self._fd >= 0:
            size = struct.pack("HHHH", min(rows, 0xFFFF), min(columns, 0xFFFF), 0, 0)
            fcntl.ioctl(self._fd, termios.TIOCSWINSZ, size)

    def end(self) -> None:
        """End the program's input for good. A terminal stays open and gets its end-of-file character."""
        if self._fd < 0:
            return
        if self._tty:
            try:
                os.write(self._fd, _END_OF_FILE)
            except OSError:
                # The terminal is gone or its input is full; then the program is past reading it.
                return
            return
        self.close()
        keeper.end(self._keeper)

    def close(self) -> None:
        """Give the duplicate back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
