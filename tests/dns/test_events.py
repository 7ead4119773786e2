"""Problems of a configuration become events on the ConfigMap they come from."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from wherry.dns.corefile.model import Problem
from wherry.dns.events import Announcer, about
from wherry.kube import kinds
from wherry.kube.endpoint import ConfigError, Endpoint
from wherry.kube.testing.apiserver import FakeApiServer
from wherry.kube.testing.tools import running

BAD = Problem("BadCustomFile", "/etc/coredns/custom/a.override is left out until it changes: Unknown directive 'x'")
LOOP = Problem("UpstreamLoops", "upstream 10.0.0.1:53 leads back here")


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    # A unix socket's path may have at most 107 bytes; tmp_path can be longer.
    with tempfile.TemporaryDirectory(prefix="wherry-") as directory:
        async with FakeApiServer(Path(directory) / "api.sock") as fake:
            yield fake


async def test_events_in_a_pod(server: FakeApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = server.endpoint
    object.__setattr__(endpoint, "namespace", "kube-system")
    monkeypatch.setattr(Endpoint, "in_cluster", lambda: endpoint)
    announcer = Announcer()
    announcer.tell(BAD)
    announcer.tell(LOOP)
    async with server.client() as client, asyncio.timeout(10), running(announcer.run(host="coredns-1")):
        seen: dict[str, str] = {}
        async with aclosing(client.watch(kinds.EVENTS)) as events:
            async for event in events:
                seen[event.object.reason] = event.object.involved_object.name
                if len(seen) == 2:
                    break
    assert seen == {"BadCustomFile": "coredns-custom", "UpstreamLoops": "coredns"}
    assert event.object.source.host == "coredns-1"
    assert event.object.involved_object.namespace == "kube-system"


async def test_nothing_outside_of_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    def outside() -> Endpoint:
        raise ConfigError("not in a pod")

    monkeypatch.setattr(Endpoint, "in_cluster", outside)
    announcer = Announcer()
    for _ in range(1000):
        announcer.tell(BAD)
    await announcer.run()


def test_the_object_is_the_config_map() -> None:
    assert (about(BAD, "kube-system").kind, about(BAD, "x").namespace) == ("ConfigMap", "x")
