"""Creates that wait a moment for another object which a controller is about to make."""

from __future__ import annotations

import asyncio
import contextlib

from wherry.apiserver.core import Core
from wherry.apiserver.kinds.model import Awaited
from wherry.apiserver.storage import Event, EventType


async def appear(core: Core, wanted: Awaited) -> None:
    """Return once the object is there, or when the time is over: what its absence means is up to admission."""
    bucket = core.registry.bucket(wanted.group, wanted.plural)
    key = f"{wanted.namespace}/{wanted.name}" if wanted.namespace else wanted.name
    if bucket.head(key) is not None:
        return
    made: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def see(event: Event) -> None:
        if event.entry.key == key and event.type is not EventType.DELETED and not made.done():
            made.set_result(None)

    bucket.listeners.append(see)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wanted.seconds):
                await made
    finally:
        bucket.listeners.remove(see)
