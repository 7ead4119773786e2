"""What an agent tells of its node's interfaces."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from wherry.agent.interfaces import NodeInterfaces
from wherry.cloud.servicelb.binding import INTERFACES
from wherry.kernel.netlink import Netlink
from wherry.kube.informer import Informers
from wherry.kube.kinds import NODES
from wherry.kube.objects import Node, ObjectMeta
from wherry.kube.testing.apiserver import FakeApiServer
from wherry.kube.testing.tools import running


@pytest.mark.netns
async def test_addresses_are_told_as_they_change() -> None:
    followed: list[Mapping[str, Sequence[str]]] = []

    async def follow(found: Mapping[str, Sequence[str]]) -> None:
        followed.append(found)

    with tempfile.TemporaryDirectory(prefix="wherry-") as directory, Netlink() as link:
        link.link_add_bridge("br-a", up=True)
        link.addr_add("br-a", "192.0.2.1", 24)
        async with FakeApiServer(Path(directory) / "api.sock") as server, server.client() as client:
            server.put(NODES, Node(metadata=ObjectMeta(name="n1", annotations={INTERFACES: "old", "other": "kept"})))
            informers = Informers(client)
            nodes = informers.informer(NODES, field_selector="metadata.name=n1")
            changed = asyncio.Event()
            nodes.add_handler(lambda *_: changed.set())

            async def until(expected: dict[str, list[str]]) -> None:
                async with asyncio.timeout(10):
                    while True:
                        changed.clear()
                        (node,) = nodes.list() or (Node(),)
                        if node.metadata.annotations.get(INTERFACES) == json.dumps(expected, separators=(",", ":")):
                            assert node.metadata.annotations["other"] == "kept"
                            return
                        await changed.wait()

            part = NodeInterfaces(client, nodes, node="n1", follow=follow)
            async with running(informers.run(), part.run()):
                await until({"br-a": ["192.0.2.1"]})
                link.addr_add("br-a", "fd00::1", 64)
                await until({"br-a": ["192.0.2.1", "fd00::1"]})
                # Somebody takes it away.
                server.put(NODES, Node(metadata=ObjectMeta(name="n1", annotations={"other": "kept"})))
                await until({"br-a": ["192.0.2.1", "fd00::1"]})
    assert followed[0] == {"br-a": ("192.0.2.1",)}
    assert followed[-1] == {"br-a": ("192.0.2.1", "fd00::1")}
