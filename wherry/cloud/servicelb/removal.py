"""Taking every trace of ServiceLB out of a cluster, when it starts with ServiceLB disabled."""

from __future__ import annotations

import asyncio

from wherry.cloud.servicelb import writer
from wherry.cloud.servicelb.controller import clear_status
from wherry.cloud.servicelb.model import SERVICE_NAME, held, owner
from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.controller import Controller
from wherry.kube.keys import Key
from wherry.kube.objects import Service

_EVERYTHING = Key("", "everything")


class ServiceLbRemoval(Controller):
    """Removes DaemonSets, finalizers, statuses and service accounts once, tried again until it went well.

    Which Services were served is known by their DaemonSets, which go last: a status and a finalizer without one may be
    another load balancer's. A finalizer on a Service that never got an address is taken for ours too.
    """

    name = "servicelb-removal"

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self.done = asyncio.Event()

    async def prepare(self) -> None:
        """Ask for the one thing to do; anew by whoever becomes the leader."""
        self.queue.add(_EVERYTHING)

    async def reconcile(self, key: Key) -> None:
        """Remove all there is."""
        client = self._client
        found = await client.list(writer.DAEMON_SETS, label_selector=SERVICE_NAME)
        served = {owner(each["metadata"].get("labels") or {}) for each in found.items}
        for service in (await client.list(kinds.SERVICES)).items:
            if (service.namespace, service.name) in served or _unserved(service):
                await self._let_go(service)
        await writer.delete(client, found.items)
        await writer.remove_accounts(client, keep=None)
        if found.items:
            self._log.info("removed the load balancers of %d Services", len(served))
        self.done.set()

    async def _let_go(self, service: Service) -> None:
        if service.spec.load_balancer_class is not None:
            return
        await writer.release(self._client, await clear_status(self._client, service))


def _unserved(service: Service) -> bool:
    return held(service) and service.spec.load_balancer_class is None and not service.status.load_balancer.ingress
