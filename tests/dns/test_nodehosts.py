"""`NodeHosts`: every address and name of every node, and the lines of others left alone."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from wherry.dns.nodehosts import WRITTEN, NodeHosts, hosts
from wherry.kube import kinds
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.objects import Node, NodeAddress, NodeStatus, ObjectMeta
from wherry.kube.testing.apiserver import FakeApiServer
from wherry.kube.testing.tools import config_map, running


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    # A unix socket's path may have at most 107 bytes; tmp_path can be longer.
    with tempfile.TemporaryDirectory(prefix="wherry-") as directory:
        async with FakeApiServer(Path(directory) / "api.sock") as fake:
            yield fake


def node(name: str, *internal: str, external: str = "", host: str = "") -> Node:
    addresses = [NodeAddress("InternalIP", each) for each in internal]
    addresses += [NodeAddress("ExternalIP", external)] if external else []
    addresses += [NodeAddress("Hostname", host or name)]
    return Node(metadata=ObjectMeta(name=name), status=NodeStatus(addresses=tuple(addresses)))


@pytest.mark.parametrize(
    ("current", "nodes", "before", "text"),
    [
        ("", [node("b", "10.0.0.2"), node("a", "10.0.0.1")], (), "10.0.0.1 a\n10.0.0.2 b\n"),
        ("", [node("a", "10.0.0.1", "fd00::1")], (), "10.0.0.1 a\nfd00::1 a\n"),
        ("", [node("a", "10.0.0.1", external="192.0.2.1", host="box")], (), "10.0.0.1 a box\n192.0.2.1 a box\n"),
        # The node's own address again as external one; a host name that is an address.
        ("", [node("a", "10.0.0.1", external="10.0.0.1", host="10.0.0.1")], (), "10.0.0.1 a\n"),
        # Another address than before.
        ("10.0.0.9 a\n", [node("a", "10.0.0.1")], (), "10.0.0.1 a\n"),
        # Lines of others stay, after ours; comments too; what no hosts file would read goes.
        ("1.2.3.4 host.k3d.internal x\nnonsense\n# mine\n", [node("a", "10.0.0.1")], (),
         "10.0.0.1 a\n1.2.3.4 host.k3d.internal x\n# mine\n"),
        # A node that went while nobody looked.
        ("10.0.0.1 a\n10.0.0.2 b\n1.2.3.4 c\n", [node("a", "10.0.0.1")], ("a", "b"), "10.0.0.1 a\n1.2.3.4 c\n"),
        ("10.0.0.1 a\n", [], ("a",), ""),
        ("", [node("a")], (), ""),
    ],
)  # fmt: skip
def test_lines(current: str, nodes: list[Node], before: tuple[str, ...], text: str) -> None:
    assert hosts(current, nodes, before) == text
    assert hosts(text, list(reversed(nodes)), [each.name for each in nodes]) == text


async def written(server: FakeApiServer, text: str) -> None:
    async with asyncio.timeout(10), server.client() as client:
        events = client.watch(kinds.CONFIG_MAPS, namespace="kube-system", resource_version="1")
        if server.get(kinds.CONFIG_MAPS, "coredns", "kube-system").get("data", {}).get("NodeHosts") == text:
            return
        async for event in events:
            if event.object.data.get("NodeHosts") == text:
                await events.aclose()
                return


async def test_it_follows_the_nodes_and_writes_nothing_twice(server: FakeApiServer) -> None:
    server.put(kinds.NODES, node("a", "10.0.0.1"))
    server.put(kinds.CONFIG_MAPS, config_map("coredns", "kube-system", Corefile=". {}", NodeHosts="1.2.3.4 other\n"))
    async with server.client() as client:
        informers = Informers(client)
        async with running(informers.run(), NodeHosts(client, informers).run()):
            await written(server, "10.0.0.1 a\n1.2.3.4 other\n")
            server.put(kinds.NODES, node("b", "10.0.0.2", "fd00::2"))
            await written(server, "10.0.0.1 a\n10.0.0.2 b\nfd00::2 b\n1.2.3.4 other\n")
            stored = server.get(kinds.CONFIG_MAPS, "coredns", "kube-system")
            assert stored["metadata"]["annotations"][WRITTEN] == "a b"
            assert stored["data"]["Corefile"] == ". {}"
            server.remove(kinds.NODES, "a")
            await written(server, "10.0.0.2 b\nfd00::2 b\n1.2.3.4 other\n")
    writes = [path for method, path in server.requests if method == "PATCH"]
    assert len(writes) == 3


async def test_a_config_map_that_is_missing_is_told_once_and_waited_for(
    server: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.put(kinds.NODES, node("a", "10.0.0.1"))
    async with server.client() as client:
        informers = Informers(client)
        controller = NodeHosts(client, informers)
        async with running(informers.run()):
            await controller.prepare()
            for _ in range(4):
                await controller.reconcile(Key("kube-system", "coredns"))
            async with running(controller.run()):
                server.put(kinds.CONFIG_MAPS, config_map("coredns", "kube-system"))
                await written(server, "10.0.0.1 a\n")
    assert len([record for record in caplog.records if "no such ConfigMap" in record.message]) == 1
