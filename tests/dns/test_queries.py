"""What the back does with octets that a front hands over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tests.dns.test_chain import block
from wherry.dns import message as m
from wherry.dns import names, records
from wherry.dns.chain import Router
from wherry.dns.front.protocol import Answer, Query
from wherry.dns.message import Edns, Message, Question
from wherry.dns.metrics import Metrics
from wherry.dns.plugin import Base, Keep, Next, Reply, Request
from wherry.dns.server import queries as module
from wherry.dns.server.queries import Queries

LABEL = "dns://:53"
NAME = names.from_text("web.example.")


class Doing(Base):
    """Answers as a function says."""

    name = "doing"

    def __init__(self, answer: Callable[[Request], Reply | None]) -> None:
        self.answer = answer

    async def serve(self, request: Request, next: Next) -> Reply | None:
        return self.answer(request)


class Waiting(Base):
    """Answers once it may."""

    name = "waiting"

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.asked = asyncio.Event()

    async def serve(self, request: Request, next: Next) -> Reply | None:
        self.asked.set()
        await self.may.wait()
        return Reply(request.query.reply(), self.name)


class Counting(Base):
    """Stands for the plugin that has queries counted."""

    name = "prometheus"


def queries(*plugins: Base, metrics: Metrics | None = None) -> tuple[Queries, Router]:
    made = Queries((metrics or Metrics()).traffic)
    router = Router(LABEL, [(names.ROOT, block(*plugins))])
    made.serve({made.number(LABEL, 53): router})
    return made, router


def query(wire: bytes | None = None, transport: str = "udp") -> Query:
    asked = Message(id=7, question=Question(NAME, records.A), edns=Edns(1232))
    return Query(0, transport, "10.0.0.9", 1053, "10.0.0.1", m.encode(asked) if wire is None else wire)


def many(request: Request) -> Reply:
    reply = request.query.reply()
    reply.answer = [records.Record(NAME, records.A, 5, bytes([10, 0, 0, i])) for i in range(200)]
    return Reply(reply, "doing", Keep(5.0, True, b"tag", "success"))


async def test_answers_fit_their_client_and_say_how_long_they_may_be_kept() -> None:
    metrics = Metrics()
    made, _ = queries(Counting(), Doing(many), metrics=metrics)
    answer = await made.answer(query())
    assert isinstance(answer, Answer)
    assert len(answer.wire) <= 1232
    assert m.decode(answer.wire).truncated
    assert answer[1:9] == (5.0, True, b"tag", ".", "", m.NOERROR, "doing", "success")
    over_tcp = await made.answer(query(transport="tcp"))
    assert isinstance(over_tcp, Answer)
    assert len(m.decode(over_tcp.wire).answer) == 200
    exposed = metrics.expose().decode()
    assert (
        'coredns_dns_responses_total{plugin="doing",rcode="NOERROR",server="dns://:53",view="",zone="."} 2.0' in exposed
    )


async def test_a_server_that_is_gone_refuses_and_what_is_no_query_is_told_so() -> None:
    made, _ = queries(Doing(many))
    made.serve({})
    refused = await made.answer(query())
    assert isinstance(refused, Answer)
    assert m.decode(refused.wire).rcode == m.REFUSED
    assert await made.answer(query()._replace(server=3)) == Answer(b"")
    assert await made.answer(query(b"\x00" * 5)) == Answer(b"")
    assert made.number(LABEL, 53) == 0
    assert made.number("dns://:54", 54) == 1


async def test_silence_is_nothing_to_send() -> None:
    made, _ = queries(Doing(lambda request: None))
    assert await made.answer(query()) == Answer(b"")


async def test_several_messages_are_sent_one_by_one() -> None:
    def transfer(request: Request) -> Reply:
        return Reply(request.query.reply(), "doing", following=(many(request).message for _ in range(2)))

    made, _ = queries(Doing(transfer))
    answers = await made.answer(query(transport="tcp"))
    assert isinstance(answers, Iterator)
    assert [len(m.decode(answer.wire).answer) for answer in answers] == [0, 200, 200]


async def test_drained_waits_for_what_is_under_way() -> None:
    waiting = Waiting()
    made, router = queries(waiting)
    async with asyncio.TaskGroup() as group:
        answering = group.create_task(made.answer(query()))
        await waiting.asked.wait()
        draining = group.create_task(made.drained([router]))
        await asyncio.sleep(0)
        assert not draining.done()
        waiting.may.set()
    assert answering.done()


async def test_what_a_plugin_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GIVE_UP", 0.01)
    made, router = queries(Waiting())
    answer = await made.answer(query())
    assert isinstance(answer, Answer)
    assert m.decode(answer.wire).rcode == m.SERVFAIL
    await made.drained([router])
