"""Applying packaged components at start, and removing what is disabled."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest

from wherry.addons import ownership, packaged
from wherry.addons.controller import PackagedAddons
from wherry.kube import kinds
from wherry.kube.errors import NotFound
from wherry.kube.testing.apiserver import FakeApiServer
from wherry.kube.testing.tools import config_map, running

VALUES = packaged.variables(cluster_domain="cluster.local", cluster_dns=[ip_address("10.43.0.10")])


async def start(server: FakeApiServer, folder: Path, *, disabled: dict[str, str] | None = None) -> None:
    """One start of a server, as far as add-ons go."""
    packaged.stage(folder, VALUES, disabled=tuple(disabled or ()))
    async with server.client() as client:
        addons = PackagedAddons(client, folder, values=VALUES, disabled=disabled)
        async with running(addons.run()):
            async with asyncio.timeout(20):
                await addons.done.wait()


def owned(server: FakeApiServer) -> set[tuple[str, str]]:
    """Kind and name of every object that carries the add-on's mark."""
    wanted = ownership.digest("coredns")
    return {
        (obj["kind"], obj["metadata"]["name"])
        for obj in server.store.objects.values()
        if (obj["metadata"].get("labels") or {}).get(ownership.HASH) == wanted
    }


async def test_promise_1_dns_is_deployed_when_a_server_starts(server: FakeApiServer, tmp_path: Path) -> None:
    """The mission's first promise."""
    await start(server, tmp_path)
    assert owned(server) >= {("Deployment", "coredns"), ("Service", "kube-dns"), ("ConfigMap", "coredns")}


async def test_promise_2_disabled_dns_is_removed_and_it_is_said(
    server: FakeApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The mission's second promise: what an earlier start deployed goes, what others made stays."""
    await start(server, tmp_path)
    server.put(kinds.CONFIG_MAPS, config_map("coredns-custom", "kube-system"))
    await start(server, tmp_path, disabled={"coredns": "deploy another DNS"})
    assert owned(server) == set()
    assert not (tmp_path / "coredns.yaml").exists()
    assert server.get(kinds.CONFIG_MAPS, "coredns-custom", "kube-system")
    assert "deploy another DNS" in caplog.text
    # Again, with nothing there any more; and back.
    await start(server, tmp_path, disabled={"coredns": "deploy another DNS"})
    await start(server, tmp_path)
    assert owned(server)


async def test_what_a_manifest_has_no_more_is_removed_and_what_others_wrote_stays(
    server: FakeApiServer, tmp_path: Path
) -> None:
    await start(server, tmp_path)
    stale = config_map("old", "kube-system", labels={ownership.HASH: ownership.digest("coredns")})
    server.put(kinds.CONFIG_MAPS, stale)
    theirs = server.get(kinds.CONFIG_MAPS, "coredns", "kube-system")
    theirs = theirs | {"data": theirs["data"] | {"NodeHosts": "10.0.0.1 a\n", "Corefile": "edited"}}
    server.put(kinds.CONFIG_MAPS.as_dict(), theirs)
    await start(server, tmp_path)
    with pytest.raises(NotFound):
        server.get(kinds.CONFIG_MAPS, "old", "kube-system")
    data = server.get(kinds.CONFIG_MAPS, "coredns", "kube-system")["data"]
    assert data["NodeHosts"] == "10.0.0.1 a\n"
    assert data["Corefile"].startswith(".:53 {")


async def test_what_cannot_be_changed_is_made_anew(server: FakeApiServer, tmp_path: Path) -> None:
    await start(server, tmp_path)
    before = server.get(kinds.SERVICE_ACCOUNTS, "coredns", "kube-system")["metadata"]["uid"]
    server.fail_next(422)  # the first object of the manifest
    await start(server, tmp_path)
    assert server.get(kinds.SERVICE_ACCOUNTS, "coredns", "kube-system")["metadata"]["uid"] != before


async def test_a_server_that_is_away_is_waited_for(server: FakeApiServer, tmp_path: Path) -> None:
    server.fail_next(503, times=3)
    await start(server, tmp_path)
    assert ("Deployment", "coredns") in owned(server)
