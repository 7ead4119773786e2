"""Leader election with a Lease: of several candidates one works, the others stand by.

A candidate judges a lease by how long ago *it saw* the record change, on its own monotonic clock, so clocks of
different machines need not agree. The leader that cannot renew within ``renew_deadline`` stops working before anyone
else may take over after ``lease_duration``.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wherry.kube.client import Client
from wherry.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from wherry.kube.kinds import LEASES
from wherry.kube.objects import Lease, LeaseSpec, ObjectMeta
from wherry.kube.times import format_micro_time

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds: how long a lease holds without renewal, how long its holder tries to renew, pause between tries."""

    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0

    def __post_init__(self) -> None:
        if not self.lease_duration > self.renew_deadline > self.retry_period > 0:
            raise ValueError("lease_duration > renew_deadline > retry_period > 0 must hold")


@dataclass(frozen=True, slots=True)
class Observed:
    """A lease record and when (monotonic seconds) this candidate first saw it in this form."""

    spec: LeaseSpec
    at: float

    def update(self, spec: LeaseSpec, now: float) -> Observed:
        """The record seen now; the time stays when nothing changed."""
        return self if spec == self.spec else Observed(spec, now)


def may_take(observed: Observed, identity: str, now: float) -> bool:
    """Whether a candidate may write itself into the lease: it is its own, free, or not renewed in time."""
    spec = observed.spec
    if not spec.holder_identity or spec.holder_identity == identity:
        return True
    return now >= observed.at + (spec.lease_duration_seconds or 0)


def claim(spec: LeaseSpec, identity: str, times: LeaseTimes, wall: float) -> dict[str, object]:
    """The lease record that takes or renews the lease for ``identity`` at wall-clock seconds ``wall``."""
    stamp = format_micro_time(wall)
    same = spec.holder_identity == identity
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": max(1, round(times.lease_duration)),
        "renewTime": stamp,
        "acquireTime": spec.acquire_time if same and spec.acquire_time else stamp,
        "leaseTransitions": (spec.lease_transitions or 0) + (0 if same or not spec.acquire_time else 1),
    }


class LeaderElector:
    """One candidate. ``await elector.run(work)`` waits to be leader, works, and ends when leadership is lost."""

    def __init__(
        self,
        client: Client,
        name: str,
        identity: str,
        *,
        namespace: str = "kube-system",
        times: LeaseTimes | None = None,
    ) -> None:
        self._client = client
        self._name = name
        self._namespace = namespace
        self.identity = identity
        self._times = times or LeaseTimes()
        self._observed: Observed | None = None
        self.leading = False

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Be leader once: wait for the lease, run ``work``, cancel it when the lease is lost.

        Returns when the work ended or the lease was lost; gives the lease back when leaving for any other reason.
        """
        while True:
            if await self._try():
                break
            await asyncio.sleep(self._times.retry_period * random.uniform(1.0, 1.2))
        _log.info("%s: %s is leader", self._name, self.identity)
        self.leading = True
        try:
            async with asyncio.TaskGroup() as group:
                renewal = group.create_task(self._keep(), name=f"renew lease {self._name}")
                worker = group.create_task(_run(work), name=f"leader {self._name}")
                await asyncio.wait((renewal, worker), return_when=asyncio.FIRST_COMPLETED)
                renewal.cancel()
                worker.cancel()
        finally:
            self.leading = False
            await self._release()

    async def _keep(self) -> None:
        """Renew until that failed for the renew deadline."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while loop.time() - renewed < self._times.renew_deadline:
            await asyncio.sleep(self._times.retry_period)
            try:
                async with asyncio.timeout_at(renewed + self._times.renew_deadline):
                    if await self._try():
                        renewed = loop.time()
                    elif self._observed is not None and self._observed.spec.holder_identity != self.identity:
                        break
            except TimeoutError:
                break
        _log.warning("%s: %s lost the lease", self._name, self.identity)

    async def _try(self) -> bool:
        """Take or renew the lease once; False when another holds it or the server does not answer."""
        try:
            lease = await self._read()
            now = asyncio.get_running_loop().time()
            observed = self._observed.update(lease.spec, now) if self._observed else Observed(lease.spec, now)
            self._observed = observed
            if not may_take(observed, self.identity, now):
                return False
            patch = {
                "metadata": {"resourceVersion": lease.metadata.resource_version},
                "spec": claim(lease.spec, self.identity, self._times, time.time()),
            }
            written = await self._client.patch(LEASES, self._name, patch, namespace=self._namespace)
        except Conflict:
            return False
        except ApiError as error:
            _log.info("%s: %s", self._name, error)
            return False
        self._observed = Observed(written.spec, asyncio.get_running_loop().time())
        return True

    async def _read(self) -> Lease:
        try:
            return await self._client.get(LEASES, self._name, namespace=self._namespace)
        except NotFound:
            lease = Lease(metadata=ObjectMeta(name=self._name, namespace=self._namespace))
            try:
                return await self._client.create(LEASES, lease)
            except AlreadyExists:
                return await self._client.get(LEASES, self._name, namespace=self._namespace)

    async def _release(self) -> None:
        """Let another take over at once, if the lease is still ours."""
        try:
            async with asyncio.timeout(self._times.retry_period):
                lease = await self._client.get(LEASES, self._name, namespace=self._namespace)
                if lease.spec.holder_identity != self.identity:
                    return
                patch = {
                    "metadata": {"resourceVersion": lease.metadata.resource_version},
                    "spec": {"holderIdentity": "", "leaseDurationSeconds": 1},
                }
                await self._client.patch(LEASES, self._name, patch, namespace=self._namespace)
        except (ApiError, TimeoutError) as error:
            _log.info("%s: lease not given back: %s", self._name, error)


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()
