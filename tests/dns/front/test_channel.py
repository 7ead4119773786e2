"""Either end of a channel may die and come again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.dns.cluster import change_of, key, service
from tests.dns.front.serving import SERVER, WITHIN, Pair, ask, back, echo, pair, question, serving, start, udp, within
from wherry.dns import records as r
from wherry.dns.front import peer, protocol
from wherry.dns.front.protocol import Answer, Query
from wherry.dns.kubernetes.zone import Change
from wherry.dns.message import NXDOMAIN, decode, encode

pytestmark = pytest.mark.netns
LOCAL = question("web.default.svc.cluster.local")
DISTANT = question("www.example.com", r.TXT)


def process(channel: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "wherry.dns.front", str(channel.fileno())], pass_fds=[channel.fileno()]
    )


async def ended(child: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(child.wait, WITHIN)


def close(channel: Pair) -> None:
    for end in channel:
        end.close()


async def test_a_front_that_comes_again_has_lost_no_query() -> None:
    channel = pair()
    front = process(channel[0])
    async with back([channel[1]]) as fronts:
        await fronts.configure([udp()], [SERVER])
        assert (await ask(LOCAL)).answer
        os.kill(front.pid, signal.SIGKILL)
        await ended(front)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(ask(LOCAL)), tasks.create_task(ask(DISTANT))
            fronts.change(1, [change_of(service("new", "10.43.0.99")).pack()])
            front = process(channel[0])
        assert all(reply.result().answer for reply in waiting)
        assert (await fronts.stop(5)) is not None
        assert await ended(front) == 0
    close(channel)


async def test_cluster_names_are_answered_while_the_back_is_away() -> None:
    channel = pair()
    front = start(channel[0])
    async with back([channel[1]]) as fronts:
        await fronts.configure([udp()], [SERVER])
        assert (await ask(LOCAL)).answer
    assert (await ask(LOCAL)).answer
    assert (await ask(question("db.default.svc.cluster.local"))).answer
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(ask(DISTANT))
        assert (await ask(LOCAL)).answer
        async with back([channel[1]]) as fronts:
            # The new back is there, but has no configuration yet.
            assert (await ask(LOCAL)).answer
            later = tasks.create_task(ask(DISTANT))
            assert (await ask(question("dual.default.svc.cluster.local"))).answer
            assert not later.done()
            await fronts.configure([udp()], [SERVER])
            assert (await waiting).answer  # the query waited in the channel
            assert (await later).answer
            assert (await ask(LOCAL)).answer
            await fronts.stop(5)
    await asyncio.to_thread(front.join, WITHIN)
    close(channel)


async def test_a_front_ends_when_nobody_holds_the_other_end() -> None:
    channel = pair()
    front = process(channel[0])
    async with back([channel[1]]):
        pass
    assert front.poll() is None
    close(channel)
    assert await ended(front) == 0


async def test_changes_reach_fronts_at_once_and_a_new_zone_when_it_is_ready() -> None:
    async with serving(udp(), count=2) as fronts:
        new = question("new.default.svc.cluster.local")
        assert (await ask(new)).rcode == NXDOMAIN
        fronts.change(1, [change_of(service("new", "10.43.0.99")).pack()])
        await fronts.counts()  # an answer means that they have read everything before
        for _ in range(4):
            assert (await ask(new)).answer
        fronts.change(1, [Change(services=((key("new"), b""),)).pack()])
        await fronts.counts()
        assert (await ask(new)).rcode == NXDOMAIN


async def test_a_front_that_does_not_read_costs_little_and_is_told_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "UNREAD", 100_000)
    channel = pair()
    front = process(channel[0])
    async with back([channel[1]]) as fronts:
        await fronts.configure([udp()], [SERVER])
        os.kill(front.pid, signal.SIGSTOP)
        large = service("large", *(f"10.44.{number // 250}.{number % 250}" for number in range(250)))
        for number in range(3000):
            fronts.change(1, [change_of(large).pack(), Change(serial=number).pack()])
        os.kill(front.pid, signal.SIGCONT)
        assert (await ask(LOCAL)).answer
        assert (await ask(DISTANT)).answer
        await fronts.stop(5)
        assert await ended(front) == 0
    close(channel)


async def test_kept_answers_are_dropped_when_the_back_says_so() -> None:
    asked = []

    async def keeping(query: Query) -> Answer:
        asked.append(query)
        reply = await echo(query)
        return reply._replace(seconds=60, tag=b"tag", zone=".", plugin="forward")

    async with serving(udp(), serve=keeping) as fronts:
        for _ in range(3):
            await ask(DISTANT)
        assert len(asked) == 1
        fronts.drop(b"other")
        await fronts.counts()
        await ask(DISTANT)
        assert len(asked) == 1
        fronts.drop(b"tag")
        await fronts.counts()
        await ask(DISTANT)
        assert len(asked) == 2


async def test_many_queries_at_once_are_handed_over_in_few_messages() -> None:
    messages = []

    async def counting(query: Query) -> Answer:
        messages.append(query)
        return Answer(encode(decode(query.wire).reply()))

    async with serving(udp(), serve=counting):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", 5353))
            for number in range(150):
                client.send(question(f"{number}.example", number=number))
            loop = asyncio.get_running_loop()
            seen = {decode(await within(loop.sock_recv(client, 512))).id for _ in range(150)}
        assert seen == set(range(150))


async def test_a_defect_of_a_front_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    def defect(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async with serving(udp()) as fronts:
        fronts.on_fault = told.put_nowait
        monkeypatch.setattr("wherry.dns.front.zones.answer", defect)
        await ask(LOCAL)
        assert "ZeroDivisionError" in await within(told.get())


def test_plans_cross_the_channel_whole() -> None:
    for plan in (SERVER, SERVER._replace(read=1.0, queries=5), protocol.ServerPlan("tls://:853")):
        kind, packed = protocol.unpack(protocol.pack(protocol.PLAN, plan.pack()))
        assert kind == protocol.PLAN
        assert protocol.ServerPlan.unpack(packed) == plan
