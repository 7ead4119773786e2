"""From CRI log entries to what `kubectl logs` shows, without I/O.

An entry is `<RFC 3339 time> <stdout|stderr> <F|P> <text>`; text of entries marked `P` goes on in the next entry of the
same stream. See `wherry.pods.runtime.logs`, which writes them.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from wherry.kube.times import parse_time

_BLOCK = 64 * 1024


class LogOptions(msgspec.Struct, frozen=True):
    """What of a log is wanted, as `PodLogOptions` says."""

    follow: bool = False
    tail_lines: int | None = None
    since: float | None = None
    """Only entries of this moment or later, seconds since the epoch."""
    timestamps: bool = False
    limit_bytes: int | None = None
    start: int = 0
    """Only what the file has beyond this offset, in bytes."""
    stream: str = ""
    """`stdout` or `stderr`; empty means both."""


class LogFormatter:
    """Takes pieces of a log file, in any slicing, and gives back pieces of output, up to the byte limit."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._pending = b""
        self._left = options.limit_bytes
        self._line_open = False
        self._since_reached = options.since is None

    @property
    def full(self) -> bool:
        """Whether no more output may follow."""
        return self._left is not None and self._left <= 0

    def feed(self, data: bytes) -> bytes:
        """Return the output that these bytes of the file complete."""
        *entries, self._pending = (self._pending + data).split(b"\n")
        output = b"".join([self._entry(entry) for entry in entries])
        if self._left is None:
            return output
        output = output[: max(0, self._left)]
        self._left -= len(output)
        return output

    def _entry(self, entry: bytes) -> bytes:
        parts = entry.split(b" ", 3)
        if len(parts) != 4:
            # A torn entry, as a crash in the middle of a write leaves; nothing of it can be told apart.
            return b""
        stamp, stream, tag, text = parts
        if self._options.stream and stream.decode(errors="replace") != self._options.stream:
            return b""
        if not self._since_reached:
            since = self._options.since
            if since is not None and _seconds(stamp) < since:
                return b""
            self._since_reached = True
        prefix = stamp + b" " if self._options.timestamps and not self._line_open else b""
        self._line_open = not tag.startswith(b"F")
        return prefix + text + (b"" if self._line_open else b"\n")


def _seconds(stamp: bytes) -> float:
    # Nine digits of fraction are more than `datetime` reads.
    whole, _, fraction = stamp.decode().rstrip("Z").partition(".")
    return parse_time(whole) + float(f"0.{fraction}" if fraction else 0)


def tail_offset(read: Callable[[int, int], bytes], size: int, lines: int) -> int:
    """Return where in a log of `size` bytes the last `lines` lines begin; `read(offset, count)` gives bytes of it.

    The file is read backwards, so the cost is that of the lines wanted and not of the file.
    """
    if lines <= 0:
        return size
    position = size
    rest = b""
    seen = 0
    start = size
    while position > 0:
        count = min(_BLOCK, position)
        position -= count
        block = read(position, count) + rest
        entries = block.split(b"\n")
        rest = entries[0]
        # Entries are taken from the end; the first of the block may go on in the block before.
        offset = position + len(block)
        for index in range(len(entries) - 1, 0, -1):
            entry = entries[index]
            offset -= len(entry)
            if entry and _ends_line(entry):
                seen += 1
                if seen > lines:
                    return start
            elif entry and start == size:
                seen += 1  # the last line, not finished yet, is a line too
            if entry:
                start = offset
            offset -= 1
    if rest and _ends_line(rest):
        seen += 1
        if seen > lines:
            return start
    return 0


def _ends_line(entry: bytes) -> bool:
    parts = entry.split(b" ", 3)
    return len(parts) == 4 and parts[2].startswith(b"F")
