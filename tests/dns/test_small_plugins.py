"""Plugins that answer or change a little: what a client gets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.dns.chains import Answers, lines, serving, zone
from wherry.dns import message as m
from wherry.dns import records
from wherry.dns.message import Edns, Message
from wherry.dns.plugin import Keep, Reply, Request, ServeError
from wherry.dns.plugins.cancel import Cancel

ZONE = (
    "www.example. 60 IN A 10.0.0.1",
    "www.example. 60 IN A 10.0.0.2",
    "example. 60 IN SOA ns.example. host.example. 1 2 3 4 5",
)


def full(request: Request) -> Message:
    reply = zone(*ZONE)(request)
    if reply.answer:
        reply.authority.append(records.from_text("example. 60 IN NS ns.example."))
        reply.additional.append(records.from_text("ns.example. 60 IN A 10.0.0.9"))
    return reply


@pytest.mark.parametrize(
    ("client", "transport", "expected"),
    [
        ("192.0.2.7", "udp", ["a.b. 0 A 192.0.2.7", "_udp.a.b. 0 SRV 0 0 40000 ."]),
        ("2001:db8::7", "tcp", ["a.b. 0 AAAA 2001:db8::7", "_tcp.a.b. 0 SRV 0 0 40000 ."]),
        ("fe80::1%eth0", "tls", ["a.b. 0 AAAA fe80::1", "_tcp.a.b. 0 SRV 0 0 40000 ."]),
    ],
)
async def test_whoami(tmp_path: Path, client: str, transport: str, expected: list[str]) -> None:
    async with serving(". {\nwhoami\n}", tmp_path) as world:
        reply = await world.ask("a.b.", "MX", client=client, transport=transport)
    assert lines(reply.additional) == expected
    assert (reply.answer, reply.authoritative) == ([], True)


async def test_any(tmp_path: Path) -> None:
    async with serving(". {\nany\nwhoami\n}", tmp_path) as world:
        reply = await world.ask("a.b.", "ANY")
        assert lines(reply.answer) == ['a.b. 8482 HINFO "ANY obsoleted" "See RFC 8482"']
        assert (await world.ask("a.b.", "A")).answer == []


async def test_chaos(tmp_path: Path) -> None:
    async with serving(". {\nchaos v1 me you me\nwhoami\n}", tmp_path) as world:

        async def strings(name: str, klass: int = records.CH, kind: str = "TXT") -> list[str]:
            reply = await world.ask(name, kind, klass=klass)
            return sorted(records.rdata_text(record) for record in reply.answer if record.klass == records.CH)

        assert await strings("version.bind.") == await strings("VERSION.server.") == ['"v1"']
        assert await strings("authors.bind.") == ['"me"', '"you"']
        assert len(await strings("hostname.bind.")) == len(await strings("id.server.")) == 1
        assert await strings("version.bind.", records.IN) == await strings("version.bind.", kind="A") == []
        assert await strings("other.bind.") == []


LOCAL_SOA = "604800 SOA localhost. root.localhost. 1 0 0 0 604800"
LOCAL = [
    ("localhost.", "A", 0, ["localhost. 604800 A 127.0.0.1"], []),
    ("localhost.", "AAAA", 0, ["localhost. 604800 AAAA ::1"], []),
    ("localhost.", "MX", 0, [], [f"localhost. {LOCAL_SOA}"]),
    ("localhost.", "SOA", 0, [f"localhost. {LOCAL_SOA}"], []),
    ("127.in-addr.arpa.", "NS", 0, ["127.in-addr.arpa. 604800 NS localhost."], []),
    ("0.in-addr.arpa.", "A", 0, [], [f"0.in-addr.arpa. {LOCAL_SOA}"]),
    ("a.localhost.", "A", 0, ["a.localhost. 604800 A 127.0.0.1"], []),
    ("a.localhost.", "TXT", 0, [], [f"a.localhost. {LOCAL_SOA}"]),
    ("localhost.example.", "A", 0, ["localhost.example. 604800 A 127.0.0.1"], []),
    ("1.0.0.127.in-addr.arpa.", "PTR", 0, ["1.0.0.127.in-addr.arpa. 604800 PTR localhost."], []),
    ("1.0.0.127.in-addr.arpa.", "A", 0, [], [f"127.in-addr.arpa. {LOCAL_SOA}"]),
    ("2.0.0.127.in-addr.arpa.", "PTR", 3, [], [f"127.in-addr.arpa. {LOCAL_SOA}"]),
    ("localhosts.example.", "A", 0, [], []),
]


@pytest.mark.parametrize(("name", "kind", "rcode", "answer", "authority"), LOCAL)
async def test_local(tmp_path: Path, name: str, kind: str, rcode: int, answer: list[str], authority: list[str]) -> None:
    async with serving(". {\nlocal\nwhoami\n}", tmp_path) as world:
        reply = await world.ask(name, kind)
    assert (reply.rcode, lines(reply.answer), lines(reply.authority)) == (rcode, answer, authority)


async def test_local_without_the_prefix(tmp_path: Path) -> None:
    async with serving(". {\nlocal {\nlocalhost_prefix off\n}\nwhoami\n}", tmp_path) as world:
        assert (await world.ask("localhost.example.")).answer == []
        assert len((await world.ask("x.localhost.")).answer) == 1
        assert world.value("coredns_local_localhost_requests_total") == 1
        assert world.plugin("local").transparent


async def test_nsid_only_for_those_who_ask(tmp_path: Path) -> None:
    async with serving(". {\nnsid one two\nwhoami\n}", tmp_path) as world:
        asked = await world.ask("a.", edns=Edns(1232, options=[(m.NSID, b""), (m.COOKIE, b"12345678")]))
        assert asked.edns is not None
        assert sorted(asked.edns.options) == [(m.NSID, b"one two"), (m.COOKIE, b"12345678")]
        silent = await world.ask("a.", edns=Edns(1232))
        assert silent.edns is not None
        assert silent.edns.options == ()
        assert (await world.ask("a.")).edns is None


async def test_minimal(tmp_path: Path) -> None:
    async with serving(". {\nminimal\n}", tmp_path, end=Answers(full)) as world:
        reply = await world.ask("www.example.")
        assert (len(reply.answer), reply.authority, reply.additional) == (2, [], [])
        assert len((await world.ask("www.example.", "TXT")).authority) == 1


async def test_header(tmp_path: Path) -> None:
    seen: list[bool] = []

    def answer(request: Request) -> Message:
        seen.append(request.query.recursion_desired)
        return full(request)

    text = ". {\nheader {\nquery clear rd\nresponse set ra\n}\nheader {\nresponse clear AA\n}\n}"
    async with serving(text, tmp_path, end=Answers(answer)) as world:
        reply = await world.ask("www.example.")
    assert seen == [False]
    assert (reply.recursion_available, reply.authoritative) == (True, False)


@pytest.mark.parametrize(
    ("size", "expected"), [(4096, 1400), (1400, 1400), (1200, 1200)]
)  # fmt: skip
async def test_bufsize(tmp_path: Path, size: int, expected: int) -> None:
    end = Answers(full)
    async with serving(". {\nbufsize 1400\n}", tmp_path, end=end) as world:
        reply = await world.ask("www.example.", edns=Edns(size))
        assert reply.edns is not None
        assert reply.edns.size == expected
        assert end.asked[-1].limit == expected
        await world.ask("www.example.", edns=Edns(size), transport="tcp")
        assert end.asked[-1].limit == m.MAX_SIZE


async def test_erratic(tmp_path: Path) -> None:
    async with serving(". {\nerratic {\ndrop 3\ntruncate 2\nlarge\n}\n}", tmp_path) as world:
        plugin = world.plugin("erratic")
        assert not plugin.ready()
        assert await world.reply(world.query("a.")) is None
        reply = await world.ask("a.")
        assert (len(reply.answer), reply.truncated) == (30, False)
        reply = await world.ask("a.", "AAAA")
        assert (lines(reply.answer), reply.truncated) == (["a. 0 AAAA 2001:db8::53"], True)
        assert plugin.ready()
        assert await world.reply(world.query("a.")) is None
        assert (await world.ask("a.", "MX")).rcode == m.SERVFAIL
        assert not plugin.ready()


async def test_erratic_delays(tmp_path: Path) -> None:
    async with serving(". {\nerratic {\ndelay 1 1h\n}\ncancel 1ms\n}", tmp_path) as world:
        assert (await world.ask("a.")).rcode == m.SERVFAIL


async def test_cancel_lets_other_timeouts_through() -> None:
    async def failing(request: Request) -> Reply | None:
        raise TimeoutError

    query = Message(question=m.Question(b"\1a\0", records.A))
    with pytest.raises(TimeoutError):
        await Cancel(5).serve(Request(query, "192.0.2.7", 40000, "192.0.2.53", "udp", "dns://:53", b"\0"), failing)


def addresses(message: Message) -> list[str]:
    return [records.rdata_text(record) for record in message.answer]


MANY = tuple(f"www.example. 60 IN A 10.0.0.{number}" for number in range(1, 9))
MIXED = (
    "x.example. 60 IN MX 10 mx.example.", "x.example. 60 IN A 10.0.0.1", "x.example. 60 IN TXT \"t\"",
    "x.example. 60 IN CNAME y.example.",
)  # fmt: skip


async def test_loadbalance_shuffles_copies(tmp_path: Path) -> None:
    kept = [records.from_text(text) for text in MANY]

    def answer(request: Request) -> Message:
        reply = request.query.reply()
        reply.answer = kept
        return reply

    async with serving(". {\nloadbalance\n}", tmp_path, end=Answers(answer)) as world:
        orders = {tuple(addresses(await world.ask("www.example."))) for _ in range(50)}
        assert world.plugin("loadbalance").transparent
    assert len(orders) > 5
    assert {tuple(sorted(order)) for order in orders} == {tuple(f"10.0.0.{number}" for number in range(1, 9))}
    assert kept == [records.from_text(text) for text in MANY]


async def test_loadbalance_orders_types(tmp_path: Path) -> None:
    def answer(request: Request) -> Message:
        reply = request.query.reply()
        reply.answer = [records.from_text(text) for text in MIXED]
        return reply

    for options, order in (("", "CNAME TXT A MX"), ("{\nprefer 10.0.0.0/8\n}", "CNAME A MX TXT")):
        async with serving(f". {{\nloadbalance {options}\n}}", tmp_path, end=Answers(answer)) as world:
            reply = await world.ask("x.example.")
            assert " ".join(records.type_name(record.type) for record in reply.answer) == order
            reply = await world.ask("x.example.", "AXFR", transport="tcp")
            assert len(reply.answer) == 4


async def test_loadbalance_prefers_networks(tmp_path: Path) -> None:
    end = Answers(zone(*MANY))
    text = ". {\nloadbalance round_robin {\nprefer 10.0.0.4/31 10.0.0.2/32\n}\n}"
    async with serving(text, tmp_path, end=end) as world:
        for _ in range(20):
            first = addresses(await world.ask("www.example."))
            assert set(first[:2]) == {"10.0.0.4", "10.0.0.5"}
            assert first[2] == "10.0.0.2"
        assert not world.plugin("loadbalance").transparent


async def test_loadbalance_weighs(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_text("# names\nWWW.example\n10.0.0.1 255\n\n10.0.0.2 1\nother.\n::1 7\n")
    text = ". {\nloadbalance weighted {dir}/weights {\nreload 0\n}\n}"
    async with serving(text, tmp_path, end=Answers(zone(*MANY[:2]))) as world:
        firsts = [addresses(await world.ask("www.example."))[0] for _ in range(100)]
        assert firsts.count("10.0.0.1") > 80
        plugin = world.plugin("loadbalance")
        weights.write_text("www.example.\n10.0.0.2 255\n10.0.0.1 1\n")
        plugin.read()
        firsts = [addresses(await world.ask("www.example."))[0] for _ in range(100)]
        assert firsts.count("10.0.0.2") > 80


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.0.0.1 1", "line 1: missing domain name"),
        ("a\n10.0.0.1", "line 2: wrong domain name"),
        ("a\nb 1", "line 2: wrong IP address"),
        ("a\n::1 0", "line 2: wrong weight value"),
        ("a\n::1 256", "line 2: wrong weight value"),
        ("a\n::1 1 1", "line 2: could not parse weight line"),
        ("a..b", "line 1: "),
    ],
)
async def test_loadbalance_names_the_bad_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "weights").write_text(text)
    with pytest.raises(ValueError, match=words):
        async with serving(". {\nloadbalance weighted {dir}/weights\n}", tmp_path):
            pass


async def test_what_depends_on_the_client_is_not_kept(tmp_path: Path) -> None:
    class Kept(Answers):
        async def serve(self, request: Request, next):  # type: ignore[no-untyped-def]
            reply = await super().serve(request, next)
            return Reply(reply.message, reply.plugin, Keep(30, True))

    for options, edns, keeps in (
        ("loadbalance", None, True),
        ("loadbalance {\nprefer 10.0.0.0/8\n}", None, False),
        ("minimal\nany\nheader {\nresponse set ra\n}", None, True),
        ("nsid x", Edns(512), True),
        ("nsid x", Edns(512, options=[(m.NSID, b"")]), False),
        ("acl other {\nblock\n}", None, True),
        ("acl {\nblock type MX\n}", None, False),
    ):
        async with serving(f". {{\n{options}\n}}", tmp_path, end=Kept(zone(*MANY))) as world:
            reply = await world.reply(world.query("www.example.", edns=edns))
            assert reply is not None
            assert (reply.keep is not None) == keeps, options


async def test_errors_of_the_rest_of_the_chain_go_up(tmp_path: Path) -> None:
    async def answer(request: Request) -> Message:
        await asyncio.sleep(0)
        raise ServeError(m.REFUSED, "")

    text = ". {\nerrors\nlog\nloadbalance\nminimal\nheader {\nresponse set ra\n}\nnsid\nany\nlocal\nacl\ncancel\n}"
    async with serving(text, tmp_path, end=Answers(answer)) as world:
        assert (await world.ask("a.")).rcode == m.REFUSED
