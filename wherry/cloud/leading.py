"""Parts of which only one process of a cluster may run at a time: they run while this one holds their lease."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from wherry.kube.client import Client
from wherry.kube.lease import LeaderElector, LeaseTimes

TIMES = LeaseTimes(lease_duration=15.0, renew_deadline=10.0, retry_period=5.0)
"""Another takes over 15 s after a leader vanished, as with Kubernetes' defaults; renewed less often than their 2 s."""


class Runnable(Protocol):
    """Something that runs until cancelled, and may be run again after that."""

    async def run(self) -> None:
        """Run until cancelled."""


class Led:
    """Runs parts whenever it is the leader, and stands by otherwise.

    ``identity`` must differ between processes that may run at the same time. One that stays the same over restarts of
    a process lets it go on at once where the process before it was killed.
    """

    def __init__(
        self,
        client: Client,
        parts: Sequence[Runnable],
        *,
        lease: str,
        namespace: str,
        identity: str,
        times: LeaseTimes = TIMES,
    ) -> None:
        self._parts = tuple(parts)
        self.elector = LeaderElector(client, lease, identity, namespace=namespace, times=times)

    async def run(self) -> None:
        """Lead or stand by, until cancelled."""
        while True:
            await self.elector.run(self._work)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            for part in self._parts:
                group.create_task(part.run(), name=f"leader: {type(part).__name__}")
            # Parts that have ended have done what there was; whoever does it again must wait until this leader goes.
            await asyncio.Event().wait()
