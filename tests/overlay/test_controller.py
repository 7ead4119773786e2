"""The controller with an API server: two nodes' controllers make each other's pods reachable, and live with trouble."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from wherry.kernel.netlink import Netlink
from wherry.kernel.nft import Nft
from wherry.kernel.testing import Lan
from wherry.kube import kinds
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.objects import Node, ObjectMeta
from wherry.kube.objects.cluster import NodeAddress, NodeSpec, NodeStatus
from wherry.kube.testing.apiserver import FakeApiServer
from wherry.kube.testing.tools import running
from wherry.overlay import annotations as notes
from wherry.overlay.apply import OverlayKernel
from wherry.overlay.controller import OverlayController
from wherry.overlay.model import Backend

pytestmark = pytest.mark.netns
PEER = {
    "backend_type": "vxlan",
    "public_ip": "172.30.0.11",
    "backend_data": '{"VNI":1,"VtepMAC":"0a:00:00:00:00:02"}',
}


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    with tempfile.TemporaryDirectory(prefix="wherry-") as directory:
        async with FakeApiServer(Path(directory) / "api.sock") as fake:
            yield fake


def node(number: int, *, address: str = "", ranged: bool = True, **annotations: str) -> Node:
    cidrs = (f"10.42.{number}.0/24",) if ranged else ()
    published = {f"flannel.alpha.coreos.com/{key.replace('_', '-')}": text for key, text in annotations.items()}
    return Node(
        metadata=ObjectMeta(name=f"node-{number}", annotations=published),
        spec=NodeSpec(pod_cidr=cidrs[0] if cidrs else "", pod_cidrs=cidrs),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address or f"172.30.0.{9 + number}"),)),
    )


@asynccontextmanager
async def overlay(
    server: FakeApiServer, number: int, netns_path: str, backend: Backend = "vxlan"
) -> AsyncIterator[OverlayController]:
    nft = Nft(netns_path)
    async with server.client(retry_for=5.0) as client:
        informers = Informers(client)
        recorder = EventRecorder(client, "overlay", f"node-{number}")
        controller = OverlayController(
            client, informers, recorder, node=f"node-{number}", backend=backend, nft=nft,
            cluster_cidrs=[ip_network("10.42.0.0/16")], kernel=OverlayKernel(netns_path),
        )  # fmt: skip
        async with running(informers.run(), recorder.run(), controller.run()):
            yield controller
    await nft.close()


def routes(netns_path: str) -> set[str]:
    with Netlink(netns_path) as link:
        return {str(one.dst) for one in link.route_list() if one.kind == "unicast" and one.protocol != 2}


async def until(condition: Callable[[], object]) -> None:
    """The kernel's state cannot be waited on here; ask often, it costs little."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_two_nodes_find_each_other(server: FakeApiServer, lan: Lan) -> None:
    paths = {number: lan.join(f"node-{number}", f"172.30.0.{9 + number}/24") for number in (1, 2)}
    for number in paths:
        server.put(kinds.NODES, node(number))
    async with overlay(server, 1, paths[1]) as one, overlay(server, 2, paths[2]):
        await until(lambda: routes(paths[1]) == {"10.42.2.0/24"} and routes(paths[2]) == {"10.42.1.0/24"})
        assert one.ready.is_set()
        published = server.get(kinds.NODES, "node-1")["metadata"]["annotations"]
        with Netlink(paths[1]) as link:
            assert notes.vtep(published, 4, vni=1) == link.link_get("flannel.1").mac
        server.remove(kinds.NODES, "node-2")
        await until(lambda: routes(paths[1]) == set())


async def test_a_node_without_a_range_waits_and_a_vanished_one_stays_as_it_is(server: FakeApiServer, lan: Lan) -> None:
    path = lan.join("node-1", "172.30.0.10/24")
    server.put(kinds.NODES, node(1, ranged=False))
    server.put(kinds.NODES, node(2, **PEER))
    async with overlay(server, 1, path) as controller:
        await server.watched()
        assert not controller.ready.is_set()
        assert routes(path) == set()
        server.put(kinds.NODES, node(1))
        await until(lambda: routes(path) == {"10.42.2.0/24"})
        server.remove(kinds.NODES, "node-1")
        server.put(kinds.NODES, node(3))
        await until(lambda: controller._nodes.get(node(3).key))
        assert routes(path) == {"10.42.2.0/24"}


async def test_a_restart_repairs_and_keeps(server: FakeApiServer, lan: Lan) -> None:
    path = lan.join("node-1", "172.30.0.10/24")
    server.put(kinds.NODES, node(1))
    server.put(kinds.NODES, node(2, **PEER))
    async with overlay(server, 1, path) as controller:
        await asyncio.wait_for(controller.ready.wait(), 5)
    with Netlink(path) as link:
        index = link.link_get("flannel.1").index
        link.route_del("10.42.2.0/24")
        async with overlay(server, 1, path) as controller:
            await asyncio.wait_for(controller.ready.wait(), 5)
            assert routes(path) == {"10.42.2.0/24"}
            assert link.link_get("flannel.1").index == index


async def test_problems_are_told_once(server: FakeApiServer, lan: Lan) -> None:
    path = lan.join("node-1", "172.30.0.10/24")
    server.put(kinds.NODES, node(1))
    server.put(kinds.NODES, node(2, backend_type="host-gw", public_ip="198.51.100.1"))
    async with overlay(server, 1, path, "host-gw"):
        await until(lambda: [one for place, one in server.store.objects.items() if place[0] == "events"])
        server.put(kinds.NODES, node(3, backend_type="host-gw", public_ip="172.30.0.12"))
        await until(lambda: routes(path) == {"10.42.3.0/24"})
    (event,) = [one for place, one in server.store.objects.items() if place[0] == "events"]
    assert (event["reason"], event["involvedObject"]["name"]) == ("OverlayProblem", "node-1")
    assert "not on this node's network segment" in event["message"]


async def test_none_removes_what_was_there_and_is_ready(server: FakeApiServer, lan: Lan) -> None:
    path = lan.join("node-1", "172.30.0.10/24")
    server.put(kinds.NODES, node(1))
    async with overlay(server, 1, path) as controller:
        await asyncio.wait_for(controller.ready.wait(), 5)
    async with overlay(server, 1, path, "none") as controller:
        await asyncio.wait_for(controller.ready.wait(), 5)
        with Netlink(path) as link:
            assert not [one for one in link.link_list() if one.kind == "vxlan"]
