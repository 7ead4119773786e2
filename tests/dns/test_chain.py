"""Routing a question to a block and through its plugins, with plugins made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.dns import message as m
from wherry.dns import names, records
from wherry.dns.chain import Router
from wherry.dns.corefile.model import Block, Directive, Key, Process, ServerConfig
from wherry.dns.errors import ServeError
from wherry.dns.http import HttpHub
from wherry.dns.message import Edns, Message, Question
from wherry.dns.metrics import Metrics
from wherry.dns.plugin import Base, Next, Reply, Request, Step


class Answering(Base):
    """Answers with a TXT record that says who it is."""

    def __init__(self, name: str, rcode: int = m.NOERROR) -> None:
        self.name = name
        self.rcode = rcode

    async def serve(self, request: Request, next: Next) -> Reply | None:
        reply = request.query.reply(self.rcode)
        reply.answer.append(records.txt(request.name, 5, self.name, request.view))
        request.note(f"from {self.name}")
        return Reply(reply, self.name)


class Passing(Base):
    """Passes on, as a plugin with a part in the chain does."""

    name = "passing"

    async def serve(self, request: Request, next: Next) -> Reply | None:
        return await next(request)


class Failing(Base):
    """Raises what it is given."""

    name = "failing"

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def serve(self, request: Request, next: Next) -> Reply | None:
        raise self.error


class Silent(Base):
    """Says nothing."""

    name = "silent"

    async def serve(self, request: Request, next: Next) -> Reply | None:
        return None


def report(problem: object) -> None:
    raise AssertionError(problem)


def block(*plugins: Base, zone: str = ".", directives: tuple[str, ...] = ()) -> Block:
    config = ServerConfig(Process(Metrics(), HttpHub(), report), Path("/"))
    key = Key("dns", names.from_text(zone), 53, f"dns://{zone}:53")
    lines = [Directive(name, [], [], "Corefile", 1) for name in directives]
    return Block([key], lines, "Corefile", 1, config, {plugin.name: plugin for plugin in plugins})


def router(*blocks: Block) -> Router:
    return Router("dns://:53", [(zone, block) for block in blocks for zone in block.zones])


def ask(router: Router, name: str, kind: int = records.TXT, client: str = "10.0.0.9") -> Request:
    query = Message(id=7, recursion_desired=True, question=Question(names.from_text(name), kind), edns=Edns(1232))
    return router.request(query, client=client, port=1053, local="10.0.0.1", local_port=53, transport="udp")


async def who(router: Router, name: str, kind: int = records.TXT, client: str = "10.0.0.9") -> str:
    reply = await router.handle(ask(router, name, kind, client))
    assert reply is not None
    return reply.plugin or m.rcode_name(reply.message.rcode)


@pytest.mark.parametrize(
    ("name", "kind", "served"),
    [
        ("www.example.org", records.TXT, "REFUSED"),
        ("cluster.local", records.TXT, "local"),
        ("WEB.Cluster.Local", records.TXT, "local"),
        ("xcluster.local", records.TXT, "REFUSED"),
        ("a.sub.cluster.local", records.TXT, "sub"),
        # The parent's side of a cut knows DS; a zone without parent here answers itself.
        ("sub.cluster.local", records.DS, "local"),
        ("a.sub.cluster.local", records.DS, "local"),
        ("cluster.local", records.DS, "local"),
    ],
)
async def test_the_longest_zone_serves(name: str, kind: int, served: str) -> None:
    one = router(
        block(Answering("local"), zone="cluster.local."), block(Answering("sub"), zone="sub.cluster.local.")
    )  # fmt: skip
    assert await who(one, name, kind) == served


async def test_the_root_serves_what_nobody_else_does() -> None:
    one = router(block(Answering("root")), block(Answering("local"), zone="cluster.local."))
    assert await who(one, "example.org") == "root"
    assert await who(one, ".") == "root"
    assert await who(one, "cluster.local", records.DS) == "local"


async def test_a_block_without_plugins_refuses() -> None:
    assert await who(router(block()), "example.org") == "REFUSED"


async def test_views_are_tried_in_their_order() -> None:
    inside, outside = block(Answering("inside")), block(Answering("outside"))
    inside.view = "in"
    inside.filters = [lambda request: request.client.startswith("10.")]
    one = router(inside, outside)
    assert await who(one, "example.org") == "inside"
    assert await who(one, "example.org", client="192.0.2.1") == "outside"
    reply = await one.handle(ask(one, "example.org"))
    assert reply is not None
    assert reply.message.answer[0].rdata.endswith(b"\x02in")


async def test_only_views_may_leave_nobody() -> None:
    never = block(Answering("never"))
    never.filters = [lambda request: False]
    assert await who(router(never), "example.org") == "REFUSED"


async def test_views_see_what_other_plugins_know_of_a_request() -> None:
    class Knowing(Passing):
        name = "knowing"

        def describe(self, request: Request) -> None:
            request.metadata["knowing/client"] = lambda: request.client

    seen = block(Knowing(), Answering("seen"), directives=("metadata",))
    seen.filters = [lambda request: request.metadata["knowing/client"]() == "10.0.0.9"]
    assert await who(router(seen), "example.org") == "seen"


async def test_the_first_plugin_that_answers_does() -> None:
    one = router(block(Passing(), Answering("first"), Answering("second")))
    assert await who(one, "example.org") == "first"


async def test_replies_carry_the_clients_edns() -> None:
    one = router(block(Answering("first")))
    reply = await one.handle(ask(one, "example.org"))
    assert reply is not None
    assert (reply.message.edns, reply.message.authoritative) == (Edns(1232), True)


@pytest.mark.parametrize(
    ("plugins", "rcode"),
    [
        ([Passing()], m.SERVFAIL),
        ([Failing(ServeError(m.REFUSED, "too many"))], m.REFUSED),
        ([Failing(ZeroDivisionError())], m.SERVFAIL),
    ],
)
async def test_what_cannot_be_answered_gets_a_bare_rcode(plugins: list[Base], rcode: int) -> None:
    one = router(block(*plugins))
    reply = await one.handle(ask(one, "example.org"))
    assert reply is not None
    assert (reply.message.rcode, reply.message.authoritative, reply.message.answer) == (rcode, False, [])
    assert reply.message.edns == Edns(1232)


async def test_a_block_in_debug_mode_fails_loudly() -> None:
    loud = block(Failing(ZeroDivisionError()))
    loud.debug = True
    with pytest.raises(ZeroDivisionError):
        await who(router(loud), "example.org")


async def test_silence_is_kept() -> None:
    one = router(block(Passing(), Silent(), Answering("never")))
    assert await one.handle(ask(one, "example.org")) is None


async def test_lookups_ask_all_of_the_server_but_not_for_ever() -> None:
    class Chasing(Base):
        name = "chasing"

        async def serve(self, request: Request, next: Next) -> Reply | None:
            target = Question(names.join([b"x", *names.labels(request.name)[-5:]]), records.TXT)
            return await one.lookup(request.asking(target))

    one = router(block(Chasing(), zone="cluster.local."), block(Answering("root")))
    assert await who(one, "cluster.local") == "SERVFAIL"
    request = ask(one, "cluster.local")
    assert await one.lookup(request.asking(Question(names.from_text("example.org"), records.TXT))) is not None


async def test_a_traced_request_tells_its_way() -> None:
    one = router(block(Passing(), Answering("first"), zone="example.org."))
    request = ask(one, "www.example.org")
    request.trace = []
    await one.handle(request)
    zone = names.from_text("example.org.")
    assert request.trace == [
        Step(zone, "passing", "passed on"),
        Step(zone, "first", "answered NOERROR", ("from first",)),
    ]
    assert ask(one, "example.org").notes is None
