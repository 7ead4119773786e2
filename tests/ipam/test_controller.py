"""The controller against an API server: occupied first, exhaustion told and mended, nothing leaked by failures."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from wherry.ipam.controller import IpamController
from wherry.kube import kinds
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.objects import Event, Node, ObjectMeta
from wherry.kube.objects.cluster import NodeSpec
from wherry.kube.testing.apiserver import FakeApiServer
from wherry.kube.testing.tools import running


def node(name: str, *cidrs: str) -> Node:
    spec = NodeSpec(pod_cidr=cidrs[0] if cidrs else "", pod_cidrs=cidrs)
    return Node(metadata=ObjectMeta(name=name), spec=spec)


class Cluster:
    """A running controller and what is seen through a second set of informers."""

    def __init__(self, server: FakeApiServer, informers: Informers) -> None:
        self.server = server
        self.nodes = informers.informer(kinds.NODES)
        self.events = informers.informer(kinds.EVENTS)
        self._changed = asyncio.Event()
        self.nodes.add_handler(lambda *_: self._changed.set())
        self.events.add_handler(lambda *_: self._changed.set())

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def cidrs(self) -> dict[str, tuple[str, ...]]:
        return {one.name: one.spec.pod_cidrs for one in self.nodes.list()}

    def told(self, name: str) -> list[Event]:
        return [one for one in self.events.list() if one.involved_object.name == name]


@asynccontextmanager
async def cluster(server: FakeApiServer, *cidrs: str) -> AsyncIterator[Cluster]:
    async with server.client(retry_for=5.0) as client:
        informers, watching = Informers(client), Informers(client)
        recorder = EventRecorder(client, "cidrAllocator")
        controller = IpamController(
            client, informers, recorder, cluster_cidrs=[ip_network(one) for one in cidrs], mask_sizes={4: 24, 6: 64}
        )
        seen = Cluster(server, watching)
        async with running(informers.run(), watching.run(), recorder.run(), controller.run()):
            yield seen


async def test_nodes_that_have_ranges_are_occupied_first(server: FakeApiServer) -> None:
    server.put(kinds.NODES, node("new"))
    server.put(kinds.NODES, node("old", "10.42.0.0/24"))
    async with cluster(server, "10.42.0.0/22") as seen:
        await seen.until(lambda: seen.cidrs() == {"new": ("10.42.1.0/24",), "old": ("10.42.0.0/24",)})
    assert server.get(kinds.NODES, "new")["spec"]["podCIDR"] == "10.42.1.0/24"


async def test_dual_stack(server: FakeApiServer) -> None:
    server.put(kinds.NODES, node("a"))
    async with cluster(server, "10.42.0.0/16", "fd00:42::/56") as seen:
        await seen.until(lambda: seen.cidrs() == {"a": ("10.42.0.0/24", "fd00:42::/64")})
        server.put(kinds.NODES, node("b"))
        await seen.until(lambda: seen.cidrs().get("b") == ("10.42.1.0/24", "fd00:42:0:1::/64"))


async def test_exhaustion_is_told_and_mended_when_a_node_goes(server: FakeApiServer) -> None:
    for name in "ab":
        server.put(kinds.NODES, node(name))
    async with cluster(server, "10.42.0.0/23") as seen:
        await seen.until(lambda: all(seen.cidrs().get(name) for name in "ab"))
        server.put(kinds.NODES, node("c"))
        await seen.until(lambda: seen.told("c"))
        (event,) = seen.told("c")
        assert (event.type, event.reason) == ("Normal", "CIDRNotAvailable")
        assert event.message.startswith("Node c status is now: CIDRNotAvailable")
        assert seen.cidrs()["c"] == ()
        freed = seen.cidrs()["a"]
        server.remove(kinds.NODES, "a")
        await seen.until(lambda: seen.cidrs().get("c") == freed)


async def test_a_failing_write_leaks_no_range(server: FakeApiServer) -> None:
    async with cluster(server, "10.42.0.0/23") as seen:
        await server.watched(2)
        server.put(kinds.NODES, node("a"))
        server.fail_next(409, times=3)
        await seen.until(lambda: seen.cidrs().get("a") == ("10.42.0.0/24",))
        server.put(kinds.NODES, node("b"))
        await seen.until(lambda: seen.cidrs().get("b") == ("10.42.1.0/24",))


async def test_a_node_made_anew_is_served_again(server: FakeApiServer) -> None:
    server.put(kinds.NODES, node("a"))
    async with cluster(server, "10.42.0.0/22") as seen:
        await seen.until(lambda: seen.cidrs().get("a") == ("10.42.0.0/24",))
        server.remove(kinds.NODES, "a")
        server.put(kinds.NODES, node("a"))
        await seen.until(lambda: seen.cidrs().get("a") == ("10.42.1.0/24",))


async def test_an_odd_range_is_left_alone_and_told(server: FakeApiServer) -> None:
    server.put(kinds.NODES, node("odd", "192.0.2.0/24"))
    async with cluster(server, "10.42.0.0/22") as seen:
        await seen.until(lambda: seen.told("odd"))
        assert seen.told("odd")[0].reason == "CIDRNotUsable"
        assert seen.cidrs() == {"odd": ("192.0.2.0/24",)}


async def test_no_cluster_cidr_is_refused(server: FakeApiServer) -> None:
    async with server.client() as client:
        with pytest.raises(ValueError, match="no cluster CIDR"):
            IpamController(client, Informers(client), EventRecorder(client, "x"), cluster_cidrs=[])
