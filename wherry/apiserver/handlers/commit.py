"""The last step of a write: wait for the disk, and let reserved addresses follow the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wherry.apiserver.kinds.model import Transaction
from wherry.apiserver.storage import Entry


async def commit(write: Callable[[], asyncio.Future[Entry]], transaction: Transaction | None) -> Entry:
    """Start the write and wait until it is on disk; the transaction follows it even when the client goes meanwhile."""
    try:
        future = write()
    except BaseException:
        if transaction is not None:
            transaction.revert()
        raise

    def settle(done: asyncio.Future[Entry]) -> None:
        failed = done.cancelled() or done.exception() is not None
        if transaction is not None:
            if failed:
                transaction.revert()
            else:
                transaction.commit()

    future.add_done_callback(settle)
    return await asyncio.shield(future)
