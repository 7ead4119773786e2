"""The plugin `cache`: what it keeps, for how long, and what it does when that time is over."""

import asyncio

import pytest

from tests.dns.chains import SERVER, Answers, Clock, lines, serving, zone
from wherry.dns import names, records
from wherry.dns.chain import Router
from wherry.dns.errors import ServeError
from wherry.dns.message import NOERROR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, Edns, Message, Question
from wherry.dns.plugin import Request
from wherry.dns.plugins.cache.clamp import Clamp
from wherry.dns.plugins.cache.classify import Kind, answers, cacheable, classify

SOA = "example. 400 SOA ns.example. root.example. 1 2 3 4 400"
LABELS = {"server": SERVER, "zones": ".", "view": ""}
FOUND = zone("a.example. 100 A 192.0.2.1", SOA, rcode=NXDOMAIN)


def table(
    answer: list[str], authority: list[str], *, rcode: int = NOERROR, name: str = "a.example", kind: str = "A"
) -> Message:
    message = Message(id=1, question=Question(names.from_text(name), records.type_number(kind))).reply(rcode)
    message.answer = [records.from_text(text) for text in answer]
    message.authority = [records.from_text(text) for text in authority]
    return message


A, CNAME, LOST = "a.example. 30 A 192.0.2.1", "a.example. 30 CNAME b.example.", "b.example. 30 CNAME c.example."


@pytest.mark.parametrize(
    ("message", "kind", "kept"),
    [
        (table([A], []), Kind.SUCCESS, True),
        (table([CNAME, "b.example. 30 A 192.0.2.1"], []), Kind.SUCCESS, True),
        (table([CNAME, LOST], []), Kind.SUCCESS, False),
        (table([CNAME, LOST], [SOA]), Kind.NODATA, True),
        (table([CNAME, "a.example. 30 CNAME c.example.", "c.example. 30 A 192.0.2.1"], []), Kind.SUCCESS, False),
        (table([CNAME, "b.example. 30 CNAME a.example."], []), Kind.SUCCESS, False),
        (table([CNAME], [], kind="CNAME"), Kind.SUCCESS, True),
        (table([A], [], kind="ANY"), Kind.SUCCESS, True),
        (table([], []), Kind.SUCCESS, True),
        (table([], [SOA]), Kind.NODATA, True),
        (table([], ["example. 30 NS ns.example."]), Kind.DELEGATION, True),
        (table([], [SOA], rcode=NXDOMAIN), Kind.NXDOMAIN, True),
        (table([], [], rcode=NXDOMAIN), Kind.NXDOMAIN, False),
        (table([CNAME], [SOA], rcode=NXDOMAIN), Kind.OTHER, False),
        (table([], [], rcode=SERVFAIL), Kind.FAILURE, True),
        (table([], [], rcode=NOTIMP), Kind.FAILURE, True),
        (table([], [], rcode=REFUSED), Kind.OTHER, False),
        (table([A], []).copy(truncated=True), Kind.SUCCESS, False),
    ],
)
def test_kinds_of_replies(message, kind, kept) -> None:
    assert classify(message, 0.0) is kind
    assert cacheable(message, kind) is kept


def test_signatures_out_of_their_time_are_not_kept() -> None:
    signed = table([A, "a.example. 30 RRSIG A 8 2 30 20260201000000 20260101000000 1 example. AAAA"], [])
    signed.edns = Edns(1232, dnssec_ok=True)
    within, after = 1768000000.0, 1780000000.0
    assert (classify(signed, within), classify(signed, after)) == (Kind.SUCCESS, Kind.OTHER)
    signed.edns = Edns(1232)
    assert classify(signed, after) is Kind.SUCCESS
    assert answers(signed)


@pytest.mark.parametrize(
    ("lowest", "denial", "seconds"),
    [(0, False, 5), (7, False, 7), (9999, False, 3600), (9999, True, 1800), (None, True, 5), (None, False, 5)],
)
def test_bounds_of_ttls(lowest, denial, seconds) -> None:
    assert Clamp((b"\0",)).seconds(b"\1a\0", lowest, denial=denial) == seconds
    assert Clamp((b"\1b\0",)).seconds(b"\1a\0", lowest, denial=denial) is None


async def test_a_reply_is_kept_and_its_ttl_falls(tmp_path) -> None:
    clock, end = Clock(), Answers(FOUND)
    async with serving(". {\n cache 30\n}", tmp_path, clock=clock, end=end) as world:
        assert lines((await world.ask("a.example")).answer) == ["a.example. 30 A 192.0.2.1"]
        clock.now += 12.5
        reply = await world.reply(world.query("A.example", rd=False))
        assert lines(reply.message.answer) == ["a.example. 18 A 192.0.2.1"]
        assert reply.plugin == "cache"
        assert reply.keep.seconds == pytest.approx(17.5)
        assert (reply.keep.countdown, reply.keep.credit) == (True, "success")
        assert reply.message.question.name == b"\x01A\x07example\x00"
        assert not reply.message.recursion_desired
        assert len(end.asked) == 1
        assert end.asked[0].query.authentic, "what is kept must tell whether it was validated"
        clock.now += 17.5
        await world.ask("a.example")
        assert len(end.asked) == 2
        assert world.value("coredns_cache_requests_total", **LABELS) == 3
        assert world.value("coredns_cache_misses_total", **LABELS) == 2
        assert world.value("coredns_cache_hits_total", type="success", **LABELS) == 1
        assert world.value("coredns_cache_entries", type="success", **LABELS) == 1
        world.plugin("cache").credit(SERVER, "success", 40)
        assert world.value("coredns_cache_hits_total", type="success", **LABELS) == 41
        assert world.value("coredns_cache_requests_total", **LABELS) == 43


async def test_do_and_cd_have_entries_of_their_own_and_ad_is_for_who_asks(tmp_path) -> None:
    def validated(request: Request) -> Message:
        reply = FOUND(request)
        reply.authentic = True
        reply.authoritative = False
        reply.recursion_available = True
        return reply

    end = Answers(validated)
    async with serving(". {\n cache\n}", tmp_path, end=end) as world:
        fresh = await world.ask("a.example")
        assert (fresh.authentic, fresh.authoritative, fresh.recursion_available) == (False, False, True)
        kept = await world.ask("a.example", ad=True)
        assert (kept.authentic, kept.authoritative, kept.recursion_available) == (True, True, True)
        assert len(end.asked) == 1
        assert (await world.ask("a.example", edns=Edns(1232, dnssec_ok=True))).authentic
        assert len(end.asked) == 2


@pytest.mark.parametrize(
    ("authoritative", "options", "kept"), [(True, (), True), (False, (), False), (True, ((10, b"cookie"),), False)]
)
async def test_fronts_repeat_what_the_store_would_say(tmp_path, authoritative, options, kept) -> None:
    def answer(request: Request) -> Message:
        return FOUND(request).copy(authoritative=authoritative, edns=Edns(1232, options=options))

    async with serving(". {\n cache\n}", tmp_path, end=Answers(answer)) as world:
        query = world.query("a.example", edns=Edns(1232))
        first, second = await world.reply(query), await world.reply(query)
        assert (first.message.authoritative, first.message.edns.options) == (authoritative, options)
        assert (first.keep is not None) == kept
        assert (second.message.authoritative, second.message.edns.options) == (True, ())
        assert second.keep is not None


async def test_denials_failures_and_what_is_not_kept(tmp_path) -> None:
    clock = Clock()
    answer = {"nx.example.": table([], [SOA], rcode=NXDOMAIN), "fail.example.": table([], [], rcode=SERVFAIL),
              "no.example.": table([], [], rcode=REFUSED)}  # fmt: skip

    def choose(request: Request) -> Message:
        found = answer[names.to_text(request.folded)]
        return found.copy(id=request.query.id, question=request.question)

    end = Answers(choose)
    async with serving(". {\n cache\n}", tmp_path, clock=clock, end=end) as world:
        for name, times in (("nx.example", 1), ("fail.example", 1), ("no.example", 2)):
            end.asked.clear()
            first, second = await world.ask(name), await world.ask(name)
            assert (first.rcode, len(end.asked)) == (second.rcode, times), name
        assert lines((await world.ask("nx.example")).authority) == [
            "example. 400 SOA ns.example. root.example. 1 2 3 4 400"
        ]
        clock.now += 5
        end.asked.clear()
        await world.ask("fail.example")
        await world.ask("nx.example")
        assert len(end.asked) == 1, "a failure is kept for five seconds"
    async with serving(". {\n cache {\n servfail 0s\n disable denial nx.example\n }\n}", tmp_path, end=end) as world:
        end.asked.clear()
        for name in ("fail.example", "nx.example") * 2:
            await world.ask(name)
        assert len(end.asked) == 4


async def test_a_failure_does_not_hide_an_answer(tmp_path) -> None:
    clock = Clock()
    failing = False

    def answer(request: Request) -> Message:
        return request.query.reply(SERVFAIL) if failing else FOUND(request)

    async with serving(". {\n cache {\n prefetch 1 1m 90%\n }\n}", tmp_path, clock=clock, end=Answers(answer)) as world:
        await world.ask("a.example")
        failing = True
        clock.now += 20
        await world.ask("a.example")  # starts the refresh that fails
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (await world.ask("a.example")).rcode == NOERROR


async def test_errors_pass_and_are_not_kept(tmp_path) -> None:
    def fail(request: Request) -> Message:
        raise ServeError(SERVFAIL, "upstream is away")

    end = Answers(fail)
    async with serving(". {\n cache\n}", tmp_path, end=end) as world:
        for _ in range(2):
            assert (await world.ask("a.example")).rcode == SERVFAIL
        assert len(end.asked) == 2


async def test_the_clusters_own_answers_pass_with_their_ttls_clamped(tmp_path) -> None:
    class Owner(Answers):
        def answers(self, request: Request) -> bool:
            return request.folded.endswith(b"\x07cluster\x00")

    owner = Owner(
        zone("svc.cluster. 0 A 10.43.0.1", "cluster. 0 SOA ns.cluster. a.cluster. 1 2 3 4 0", rcode=3), "kubernetes"
    )
    async with serving(". {\n cache 30\n}", tmp_path) as world:
        world.config.blocks[0].plugins["kubernetes"] = owner
        world.router = Router(SERVER, [(names.ROOT, world.config.blocks[0])])
        await world.plugin("cache").start()
        for _ in range(2):
            assert lines((await world.ask("svc.cluster")).answer) == ["svc.cluster. 5 A 10.43.0.1"]
            assert (await world.ask("none.cluster")).rcode == NXDOMAIN
        assert len(owner.asked) == 4
        assert world.value("coredns_cache_entries", type="denial", **LABELS) == 0


async def test_identical_questions_in_flight_are_asked_once(tmp_path) -> None:
    gate = asyncio.Event()

    async def slow(request: Request) -> Message:
        await gate.wait()
        return FOUND(request)

    end = Answers(slow)
    async with serving(". {\n cache\n}", tmp_path, end=end) as world:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(world.ask("a.example"))
            others = [group.create_task(world.ask("A.EXAMPLE")) for _ in range(20)]
            apart = group.create_task(world.ask("a.example", transport="tcp"))
            await end.until(2)
            first.cancel()
            await asyncio.sleep(0)
            gate.set()
        assert len(end.asked) == 3, "one for each transport, and one after the first client gave up"
        assert all(task.result().answer for task in (*others, apart))


async def test_identical_questions_that_fail_fail_together(tmp_path) -> None:
    gate = asyncio.Event()

    async def slow(request: Request) -> Message:
        await gate.wait()
        raise ServeError(SERVFAIL, "away")

    end = Answers(slow)
    async with serving(". {\n cache\n}", tmp_path, end=end) as world, asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.ask("a.example")) for _ in range(5)]
        await end.until(1)
        gate.set()
        assert [(await task).rcode for task in tasks] == [SERVFAIL] * 5
        assert len(end.asked) == 1


async def turns() -> None:
    """Let tasks run that need nothing but turns."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_popular_answers_are_fetched_before_they_expire(tmp_path) -> None:
    clock, end = Clock(), Answers(FOUND)
    async with serving(". {\n cache {\n prefetch 2 10s 20%\n }\n}", tmp_path, clock=clock, end=end) as world:
        keeps = []
        for _ in range(3):
            reply = await world.reply(world.query("a.example"))
            keeps.append(reply.keep and reply.keep.seconds)
        assert keeps == [None, None, 10.0], "fronts may repeat what is popular, but not through its last fifth"
        clock.now += 79
        reply = await world.reply(world.query("a.example"))
        assert reply.keep is None, "after a pause it is not popular any more"
        clock.now += 1
        assert lines((await world.ask("a.example")).answer) == ["a.example. 20 A 192.0.2.1"]
        await turns()
        assert len(end.asked) == 2
        assert end.asked[1].transport == "tcp"
        assert lines((await world.ask("a.example")).answer) == ["a.example. 100 A 192.0.2.1"]
        assert world.value("coredns_cache_prefetch_total", **LABELS) == 1


async def test_stale_answers_at_once(tmp_path) -> None:
    clock, end = Clock(), Answers(FOUND)
    async with serving(
        ". {\n cache 10 {\n serve_stale 30s immediate 7s\n }\n}", tmp_path, clock=clock, end=end
    ) as world:
        await world.ask("a.example")
        clock.now += 12
        reply = await world.reply(world.query("a.example"))
        assert lines(reply.message.answer) == ["a.example. 7 A 192.0.2.1"]
        assert reply.keep is None
        await turns()
        assert len(end.asked) == 2
        assert lines((await world.ask("a.example")).answer) == ["a.example. 10 A 192.0.2.1"]
        assert world.value("coredns_cache_served_stale_total", **LABELS) == 1
        clock.now += 41
        await world.ask("a.example")
        assert world.value("coredns_cache_served_stale_total", **LABELS) == 1, "too old"


@pytest.mark.parametrize("failure", [REFUSED, SERVFAIL, None])
async def test_stale_answers_only_where_a_new_one_cannot_be_had(tmp_path, failure) -> None:
    clock = Clock()
    working = True

    def answer(request: Request) -> Message | None:
        if working:
            return FOUND(request)
        if failure is None:
            raise ServeError(SERVFAIL, "away")
        return request.query.reply(failure)

    end = Answers(answer)
    async with serving(
        ". {\n cache 10 {\n serve_stale 1h verify 0 30s 20s\n }\n}", tmp_path, clock=clock, end=end
    ) as world:
        await world.ask("a.example")
        clock.now += 12
        working = False
        assert lines((await world.ask("a.example")).answer) == ["a.example. 30 A 192.0.2.1"]
        assert len(end.asked) == 2
        clock.now += 19
        await world.ask("a.example")
        assert len(end.asked) == 2, "no second attempt before the recheck time"
        clock.now += 1
        working = True
        assert lines((await world.ask("a.example")).answer) == ["a.example. 10 A 192.0.2.1"]
        assert len(end.asked) == 3


async def test_a_slow_verification_goes_on_behind_the_stale_answer(tmp_path) -> None:
    clock, gate = Clock(), asyncio.Event()
    gate.set()

    async def slow(request: Request) -> Message:
        await gate.wait()
        return FOUND(request)

    end = Answers(slow)
    async with serving(". {\n cache 10 {\n serve_stale 1h verify 1ms\n }\n}", tmp_path, clock=clock, end=end) as world:
        await world.ask("a.example")
        clock.now += 12
        gate.clear()
        assert lines((await world.ask("a.example")).answer) == ["a.example. 0 A 192.0.2.1"]
        gate.set()
        await turns()
        assert lines((await world.ask("a.example")).answer) == ["a.example. 10 A 192.0.2.1"]
        assert len(end.asked) == 2


async def test_prefer_positive_keeps_the_last_good_answer(tmp_path) -> None:
    clock = Clock()
    replies = {"now": FOUND}
    end = Answers(lambda request: replies["now"](request))
    corefile = ". {\n cache 10 {\n serve_stale 1h\n serve_stale_policy prefer_positive\n }\n}"
    async with serving(corefile, tmp_path, clock=clock, end=end) as world:
        await world.ask("a.example")
        for rcode, authority in ((NXDOMAIN, [records.from_text(SOA)]), (NOERROR, [])):
            replies["now"] = lambda request, rcode=rcode, authority=authority: request.query.reply(rcode).copy(
                authority=authority
            )
            clock.now += 12
            assert lines((await world.ask("a.example")).answer) == ["a.example. 0 A 192.0.2.1"]
            await turns()
        clock.now += 1
        assert lines((await world.ask("a.example")).answer) == ["a.example. 0 A 192.0.2.1"]
        replies["now"] = zone("a.example. 100 A 192.0.2.2")
        clock.now += 12
        await world.ask("a.example")
        await turns()
        assert lines((await world.ask("a.example")).answer) == ["a.example. 10 A 192.0.2.2"]


async def test_keepttl_and_zones(tmp_path) -> None:
    clock, end = Clock(), Answers(FOUND)
    async with serving(". {\n cache 30 a.example {\n keepttl\n }\n}", tmp_path, clock=clock, end=end) as world:
        await world.ask("a.example")
        clock.now += 29
        reply = await world.reply(world.query("a.example"))
        assert lines(reply.message.answer) == ["a.example. 30 A 192.0.2.1"]
        assert (reply.keep.seconds, reply.keep.countdown) == (1, False)
        assert lines((await world.ask("b.example", "SOA")).authority or []) == [
            "example. 400 SOA ns.example. root.example. 1 2 3 4 400"
        ]
        await world.ask("b.example")
        await world.ask("b.example")
        assert len(end.asked) == 4
