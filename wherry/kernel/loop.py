"""Running a process's one coroutine: on uvloop, until it ends or the process is told to."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

import uvloop


def configure_logging(*, debug: bool) -> None:
    """Send log records to standard error, one line each, in UTC with milliseconds."""
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    # One line for each request that a library makes is noise even when debugging our own code.
    for library in ("asyncio", "aiohttp.access"):
        logging.getLogger(library).setLevel(logging.WARNING)


def run(main: Coroutine[Any, Any, None], *, debug: bool) -> None:
    """Run ``main`` until it ends, cancelling it on SIGTERM or SIGINT. What it raises is raised."""
    configure_logging(debug=debug)
    # A controller's caches live for ever; looking through them for garbage at every 700 allocations is wasted.
    gc.set_threshold(50_000, 20, 50)

    async def guarded() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        told = False

        def tell() -> None:
            nonlocal told
            told = True
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, tell)
        try:
            await main
        except asyncio.CancelledError:
            if not told:
                raise

    uvloop.run(guarded())
