"""Upstreams that lead back here are dropped, told of, and asked again later; the others and the process go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.dns.chains import Answers, World, serving, zone
from wherry.dns import records
from wherry.dns.corefile.load import load
from wherry.dns.plugin import Reply, Request
from wherry.dns.plugins import loop as plugin


class Upstreams(Answers):
    """Stands for `forward`: `back` leads back here, `dead` never answers, `late` answers the third time."""

    name = "end"

    def __init__(self, *addresses: str) -> None:
        super().__init__(zone("www.example. 60 IN A 10.0.0.1"))
        self.addresses = addresses
        self.leading = {"back", "late"}
        self.probes: dict[str, int] = {}
        self.events = asyncio.Queue[tuple[str, str]]()
        self.world: World | None = None
        self.names: set[bytes] = set()

    def upstreams(self) -> list[str]:
        return list(self.addresses)

    async def probe(self, address: str, request: Request) -> None:
        assert request.type == records.HINFO
        self.names.add(request.name)
        self.probes[address] = self.probes.get(address, 0) + 1
        if address == "dead" or (address == "late" and self.probes[address] < 3):
            raise TimeoutError
        if address in self.leading:
            assert self.world is not None
            reply = await self.world.reply(self.world.query(_text(request), "HINFO"))
            assert reply is not None
            assert reply.plugin == "loop"
        self.events.put_nowait(("probed", address))

    def drop(self, address: str, reason: str) -> None:
        assert reason
        self.events.put_nowait(("dropped", address))

    def restore(self, address: str) -> None:
        self.events.put_nowait(("restored", address))

    async def until(self, what: str, address: str) -> None:
        async with asyncio.timeout(30):
            while await self.events.get() != (what, address):
                pass


def _text(request: Request) -> str:
    from wherry.dns import names

    return names.to_text(request.name)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "_PAUSE", 0.0)
    monkeypatch.setattr(plugin, "_AGAIN", 0.0)


async def test_an_upstream_that_leads_back_is_dropped(tmp_path: Path) -> None:
    end = Upstreams("good", "back", "dead", "late")
    async with serving(". {\nloop\n}", tmp_path, end=end) as world:
        end.world = world
        await end.until("dropped", "back")
        await end.until("dropped", "late")
        assert {problem.reason for problem in world.problems} == {"UpstreamLoops"}
        assert "Loop (back) detected for zone '.'" in world.problems[0].text
        assert world.value("wherry_dns_looping_upstreams", to="back") == 1
        end.leading.clear()
        await end.until("restored", "back")
        assert world.value("wherry_dns_looping_upstreams", to="back") == 0
    assert end.probes["good"] == 1
    assert all(name.count(b".") == 0 and len(name) > 20 for name in end.names)


async def test_a_reload_knows_what_was_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "_AGAIN", 3600.0)
    end = Upstreams("back")
    async with serving(". {\nloop\n}", tmp_path, end=end) as world:
        end.world = world
        await end.until("dropped", "back")
        again = Upstreams("back", "good")
        again.world = world
        config = load(str(tmp_path / "Corefile"), world.config.process, strict=True)
        config.spawn = world.config.spawn
        config.blocks[0].plugins["end"] = again
        await config.blocks[0].plugins["loop"].start()
        assert again.events.empty()
        again.leading.clear()
        async with asyncio.timeout(30):
            assert await again.events.get() == ("dropped", "back")
        assert len(world.problems) == 1
        await again.until("restored", "back")


async def test_others_questions_pass(tmp_path: Path) -> None:
    end = Upstreams("good")
    async with serving("example {\nloop\n}", tmp_path, end=end) as world:
        end.world = world
        await end.until("probed", "good")
        assert (await world.ask("www.example.")).answer
        reply = await world.reply(world.query("1.2.example.", "HINFO"))
        assert isinstance(reply, Reply)
        assert reply.plugin == "end"
        assert world.problems == []
        ((zone_, kind),) = world.plugin("loop").excluded_zones()
        assert (zone_, kind) == (b"\x07example\0", records.HINFO)
    (name,) = end.names
    assert name.endswith(b"\x07example\0")
