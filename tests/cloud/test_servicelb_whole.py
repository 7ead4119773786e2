"""ServiceLB on the real API server with all workload controllers: what is left when its settings change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.workloads.world import World, running, world
from wherry.cloud.servicelb.controller import NAME, ServiceLb
from wherry.cloud.servicelb.model import SERVICE_NAME, LbSettings
from wherry.cloud.servicelb.removal import ServiceLbRemoval
from wherry.kube import kinds
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Service

NODES = {"a": "10.0.0.1", "b": "10.0.0.2"}


@asynccontextmanager
async def servicelb(w: World, namespace: str) -> AsyncIterator[None]:
    """A server that runs ServiceLB with that namespace, and then ends."""
    informers, recorder = Informers(w.client), EventRecorder(w.client, NAME)
    controller = ServiceLb(w.client, informers, recorder, settings=LbSettings(namespace=namespace))
    async with running(informers.run(), recorder.run(), controller.run()):
        yield


def service(w: World) -> Service:
    found: Service | None = w.services.get(Key("default", "web"))
    assert found is not None
    return found


def shown(w: World) -> list[str]:
    return [one.ip for one in service(w).status.load_balancer.ingress]


def homes(found: list[Any]) -> list[str]:
    """The namespaces of what belongs to load balancers."""
    return sorted(one.namespace for one in found if SERVICE_NAME in one.labels)


async def test_promise_23_a_changed_namespace_moves_everything_and_disabling_removes_it() -> None:
    async with world() as w:
        for name, address in NODES.items():
            await w.add_node(name)
            status = {"addresses": [{"type": "InternalIP", "address": address}]}
            await w.client.patch(kinds.NODES, name, {"status": status}, subresource="status", type="strategic")
        await w.add_service("web", type="LoadBalancer")
        for namespace in ("kube-system", "balancers", "kube-system"):
            async with servicelb(w, namespace):
                # One port of each node: the pods of before must go for those of now to run.
                await w.until(lambda: homes(w.daemon_sets.list()) == [namespace])  # noqa: B023
                await w.until(
                    lambda: (
                        homes(w.pods.list()) == [namespace] * 2  # noqa: B023
                        and all(pod.ready and not pod.deleting for pod in w.pods.list())
                    )
                )
                await w.until(lambda: shown(w) == [*NODES.values()])
                await w.until(
                    lambda: [one.namespace for one in w.accounts.list() if one.name == "svclb"] == [namespace]  # noqa: B023
                )
        assert service(w).metadata.finalizers
        removal = ServiceLbRemoval(w.client)
        async with running(removal.run()):
            await removal.done.wait()
            await w.until(lambda: not homes(w.daemon_sets.list()) and not w.pods.list())
            await w.until(lambda: not shown(w) and not service(w).metadata.finalizers)
            await w.until(lambda: all(one.name != "svclb" for one in w.accounts.list()))
        assert service(w).status.conditions == ()
