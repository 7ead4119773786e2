"""Reading a container's log file, to its present end or for as long as the container runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from wherry.pods.api.backend import End
from wherry.pods.api.inotify import DirectoryWatch
from wherry.pods.api.logformat import LogFormatter, LogOptions, tail_offset

_BLOCK = 64 * 1024


def log_size(path: Path) -> int:
    """Return where in a log what is written from now on begins."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


async def read_log(path: Path, options: LogOptions, *, ended: End) -> AsyncGenerator[bytes, None]:
    """Yield pieces of output; with `follow` until `ended` has happened and everything written before was sent.

    A log that does not exist yet is empty. Rotation is followed: the rest of the old file comes before the new one.
    """
    formatter = LogFormatter(options)
    if not options.follow:
        file = _open(path)
        if file >= 0:
            try:
                _seek_tail(file, options)
                async for piece in _drain(file, formatter):
                    yield piece
            finally:
                os.close(file)
        return
    with DirectoryWatch(str(path.parent)) as watch:
        unsubscribe = ended.subscribe(watch.wake)
        try:
            async for piece in _follow(path, options, formatter, watch, ended):
                yield piece
        finally:
            unsubscribe()


async def _follow(
    path: Path, options: LogOptions, formatter: LogFormatter, watch: DirectoryWatch, ended: End
) -> AsyncIterator[bytes]:
    file = _open(path)
    try:
        if file >= 0:
            _seek_tail(file, options)
        while True:
            # Asked before reading: what was written until then is read below.
            last = bool(ended)
            if file < 0:
                file = _open(path)
            if file >= 0:
                async for piece in _drain(file, formatter):
                    yield piece
                if _replaced(file, path):
                    os.close(file)
                    file = _open(path)
                    continue
            if last or formatter.full:
                return
            await watch.wait()
    finally:
        if file >= 0:
            os.close(file)


async def _drain(file: int, formatter: LogFormatter) -> AsyncIterator[bytes]:
    while not formatter.full and (data := os.read(file, _BLOCK)):
        if output := formatter.feed(data):
            yield output
        # A long log is sent piece by piece; others have their turn in between.
        await asyncio.sleep(0)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _seek_tail(file: int, options: LogOptions) -> None:
    if options.start:
        # The log may have been rotated since that was its size.
        os.lseek(file, min(options.start, os.fstat(file).st_size), os.SEEK_SET)
    if options.tail_lines is not None:
        size = os.fstat(file).st_size
        start = tail_offset(lambda offset, count: os.pread(file, count, offset), size, options.tail_lines)
        os.lseek(file, start, os.SEEK_SET)


def _replaced(file: int, path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(file)
    return (found.st_dev, found.st_ino) != (mine.st_dev, mine.st_ino)
