"""The plugin `rewrite`: what is asked instead, and what becomes of the reply."""

import pytest

from tests.dns.chains import Answers, lines, read, serving
from wherry.dns import names, records
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.errors import ServeError
from wherry.dns.message import NOERROR, NXDOMAIN, SERVFAIL, Edns, Message
from wherry.dns.plugin import Keep, Reply, Request


def echo(*texts: str, rcode: int = 0):
    """Answers with records whose text may hold the name asked for (`@@`)."""

    def answer(request: Request) -> Message:
        reply = request.query.reply(rcode)
        reply.answer = [records.from_text(text.replace("@@", names.to_text(request.name))) for text in texts]
        reply.authority = [records.from_text("example.org. 9 NS ns.example.org.")]
        return reply

    return Answers(answer)


async def asked(rules: str, directory, name: str, kind: str = "A", *texts: str, **more) -> tuple[str, str, list[str]]:
    """The name and type that come through the rules, and the answer as the client gets it."""
    end = echo(*(texts or ("@@ 60 A 192.0.2.1",)))
    async with serving(". {\n" + rules + "\n}", directory, end=end) as world:
        reply = await world.ask(name, kind, **more)
        assert names.to_text(reply.question.name) == name + "."
        (request,) = end.asked
        return names.to_text(request.name), records.type_name(request.type), lines(reply.answer)


@pytest.mark.parametrize(
    ("rule", "name", "through", "owner"),
    [
        ("name app.example.com svc.lan", "app.example.com", "svc.lan.", "app.example.com."),
        ("name exact App.example.com. svc.lan.", "APP.example.com", "svc.lan.", "app.example.com."),
        ("name app.example.com svc.lan", "b.example.com", "b.example.com.", "b.example.com."),
        ("stop name prefix foo. bar.", "foo.lan", "bar.lan.", "bar.lan."),
        ("name prefix foo. bar. answer auto", "foo.lan", "bar.lan.", "foo.lan."),
        ("name suffix .schmoogle.com. .google.com.", "a.schmoogle.com", "a.google.com.", "a.google.com."),
        ("name suffix .schmoogle.com .google.com answer auto", "a.schmoogle.com", "a.google.com.", "a.schmoogle.com."),
        ("name substring us-west.example.org consul", "ftp.us-west.example.org", "ftp.consul.", "ftp.consul."),
        (r"name regex (.*)-(us-west-1)\.example\.org {1}.service.{2}.consul", "ftp-us-west-1.example.org",
         "ftp.service.us-west-1.consul.", "ftp.service.us-west-1.consul."),
        (r"name regex (.*)\.my\.lan\.$ {1}.default.svc.cluster.local answer auto", "web.my.lan",
         "web.default.svc.cluster.local.", "web.my.lan."),
        (r"name regex (.*)-(us)\.rocks {1}.{2}.consul answer name (.*)\.(us)\.consul {1}-{2}.rocks", "ftp-us.rocks",
         "ftp.us.consul.", "ftp-us.rocks."),
        (r"name regex ^(?:a|b)\.x {0}.lan", "b.x", "b.x.lan.", "b.x.lan."),
    ],
)  # fmt: skip
async def test_names(tmp_path, rule, name, through, owner) -> None:
    assert await asked("rewrite " + rule, tmp_path, name) == (through, "A", [f"{owner} 60 A 192.0.2.1"])


async def test_the_first_match_is_the_last_unless_it_continues(tmp_path) -> None:
    rules = "rewrite continue name a.lan b.lan\nrewrite name b.lan c.lan\nrewrite name c.lan d.lan"
    assert await asked(rules, tmp_path, "a.lan") == ("c.lan.", "A", ["a.lan. 60 A 192.0.2.1"])
    rules = "rewrite continue {\n ttl exact a.lan 5\n}\nrewrite type A TXT"
    assert await asked(rules, tmp_path, "a.lan", "A", '@@ 60 TXT "x"') == ("a.lan.", "TXT", ['a.lan. 5 TXT "x"'])


async def test_rules_may_stand_in_a_block(tmp_path) -> None:
    rules = r"""rewrite stop {
        name regex (.*)-(us)\.rocks {1}.service.{2}.consul
        answer name (.*)\.service\.(us)\.consul {1}-{2}.rocks
        answer value (.*)\.service\.consul {1}.rocks
    }"""
    records_there = ("@@ 60 CNAME x.service.consul.", "x.service.consul. 60 MX 10 mx.service.consul.")
    assert (await asked(rules, tmp_path, "ftp-us.rocks", "A", *records_there))[2] == [
        "ftp-us.rocks. 60 CNAME x.rocks.",
        "x.service.consul. 60 MX 10 mx.rocks.",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("SRV 0 1 80 a.b.lan.", "SRV 0 1 80 a.x.lan."),
        ("PTR b.lan.", "PTR x.lan."),
        ("NS b.lan.", "NS x.lan."),
        ("DNAME b.lan.", "DNAME x.lan."),
        ("SOA b.lan. root.b.lan. 1 2 3 4 5", "SOA x.lan. root.b.lan. 1 2 3 4 5"),
        ('NAPTR 1 2 "s" "SIP+D2U" "" b.lan.', 'NAPTR 1 2 "s" "SIP+D2U" "" x.lan.'),
        ("TXT b.lan.", 'TXT "b.lan."'),
    ],
)
async def test_values_are_mapped_back_with_the_name(tmp_path, text, value) -> None:
    found = await asked("rewrite name exact x.lan b.lan", tmp_path, "x.lan", "ANY", f"@@ 60 {text}")
    assert found[2] == [f"x.lan. 60 {value}"]


@pytest.mark.parametrize(
    ("rule", "ttl"), [("30", 30), ("30-", 60), ("90-", 90), ("-30", 30), ("10-20", 20), ("50-70", 60)]
)
async def test_ttls(tmp_path, rule, ttl) -> None:
    for kind in ("a.lan", "exact a.lan.", "prefix a.l", "suffix lan", "substring a.lan", r"regex ^a\."):
        found = await asked(f"rewrite ttl {kind} {rule}", tmp_path, "a.lan")
        assert found[2] == [f"a.lan. {60 if kind == 'prefix a.l' else ttl} A 192.0.2.1"], kind


async def test_rcodes_also_of_failures(tmp_path) -> None:
    def fail(request: Request) -> Message:
        raise ServeError(SERVFAIL, "away")

    rule = ". {\n rewrite rcode suffix lan SERVFAIL NOERROR\n rewrite rcode regex . 3 0\n}"
    async with serving(rule, tmp_path, end=Answers(fail)) as world:
        assert (await world.ask("a.lan")).rcode == NOERROR
        assert (await world.ask("a.org")).rcode == SERVFAIL
    async with serving(rule, tmp_path, end=echo(rcode=NXDOMAIN)) as world:
        assert (await world.ask("a.org")).rcode == NOERROR
        assert (await world.ask("a.lan")).rcode == NXDOMAIN, "its rule is the last and says nothing of NXDOMAIN"


async def test_targets_of_cnames_are_asked_for_anew(tmp_path) -> None:
    corefile = ". {\n rewrite continue cname exact old.lan new.lan\n}"
    there = {
        b"\1a\3lan\0": ["a.lan. 60 CNAME old.lan.", "old.lan. 60 A 192.0.2.1"],
        b"\3new\3lan\0": ["new.lan. 60 A 192.0.2.2"],
    }

    def answer(request: Request) -> Message:
        reply = request.query.reply()
        reply.answer = [records.from_text(text) for text in there.get(request.folded, ())]
        return reply

    async with serving(corefile, tmp_path, end=Answers(answer)) as world:
        assert lines((await world.ask("a.lan")).answer) == ["a.lan. 60 CNAME new.lan.", "new.lan. 60 A 192.0.2.2"]
        assert lines((await world.ask("new.lan")).answer) == ["new.lan. 60 A 192.0.2.2"]


@pytest.mark.parametrize(
    ("rule", "keep"),
    [
        ("name a.lan b.lan", Keep(30, True, b"t")),
        ("ttl a.lan 5", Keep(1, False, b"t")),
        ("cname x.lan y.lan", None),
    ],
)
async def test_how_long_fronts_may_repeat_a_reply(tmp_path, rule, keep) -> None:
    class Kept(Answers):
        async def serve(self, request, next):
            return Reply((await super().serve(request, next)).message, "end", Keep(30, True, b"t"))

    end = Kept(echo("@@ 60 A 192.0.2.1").answer)
    async with serving(f". {{\n rewrite {rule}\n}}", tmp_path, end=end) as world:
        assert (await world.reply(world.query("a.lan"))).keep == keep


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        ("local set 0xffee 0x61626364", (), ((0xFFEE, b"abcd"),)),
        ("local set 65518 abcd", ((0xFFEE, b"x"), (3, b"")), ((0xFFEE, b"abcd"), (3, b""))),
        ("local append 0xffee abcd", ((0xFFEE, b"x"),), ((0xFFEE, b"x"),)),
        ("local replace 0xffee abcd", (), ()),
        ("local unset 0xffee", ((0xFFEE, b"x"), (0xFFEE, b"y")), ()),
        ("nsid set", ((3, b"me"),), ((3, b""),)),
        ("nsid unset", ((3, b"me"),), ()),
        ("subnet set 24 56", (), ((8, b"\0\1\x18\0\xc0\0\2"),)),
        ("local set 0xffee {client_ip}", (), ((0xFFEE, bytes((192, 0, 2, 7))),)),
        ("local set 0xffee {qname}", (), ((0xFFEE, b"a.lan."),)),
        ("local set 0xffee {qtype}", (), ((0xFFEE, b"\0\1"),)),
        ("local set 0xffee {protocol}", (), ((0xFFEE, b"udp"),)),
        ("local set 0xffee {client_port}", (), ((0xFFEE, (40000).to_bytes(2, "big")),)),
        ("local set 0xffee {some/label}", (), ()),
    ],
)
async def test_edns_options(tmp_path, rule, before, after) -> None:
    end = echo("@@ 60 A 192.0.2.1")
    async with serving(f". {{\n rewrite edns0 {rule}\n}}", tmp_path, end=end) as world:
        await world.ask("a.lan", edns=Edns(1232, options=before))
        edns = end.asked[0].query.edns
        assert (edns.size, edns.options) == (1232, after)
        await world.ask("a.lan")
        assert end.asked[1].query.edns is None or end.asked[1].query.edns.size == 4096


async def test_edns_options_are_reverted_in_the_reply(tmp_path) -> None:
    def answer(request: Request) -> Message:
        reply = request.query.reply()
        reply.edns = request.query.edns
        return reply

    for before, after in (((), ()), (((0xFFEE, b"mine"),), ((0xFFEE, b"mine"),))):
        async with serving(
            ". {\n rewrite edns0 local set 0xffee ours revert\n}", tmp_path, end=Answers(answer)
        ) as world:
            assert (await world.ask("a.lan", edns=Edns(1232, options=before))).edns.options == after


async def test_a_name_that_is_none_is_a_failure(tmp_path) -> None:
    async with serving(". {\n rewrite name regex (.*) {1}{1}{1}{1}\n}", tmp_path, end=echo()) as world:
        assert (await world.ask("a" * 60)).rcode == SERVFAIL


async def test_hostile_names_take_no_time(tmp_path) -> None:
    async with serving(
        r". {" "\n" r" rewrite name regex ^(([a-z])+.)+[A-Z]([a-z])+$ x" "\n}", tmp_path, end=echo()
    ) as world:
        await world.ask(".".join(["a" * 60] * 4))


def test_what_fronts_hand_over(tmp_path) -> None:
    def of(rule: str):
        config, _ = read(f". {{\n rewrite {rule}\n}}", tmp_path)
        plugin = config.blocks[0].plugins["rewrite"]
        zones = {(names.to_text(zone), kind) for zone, kind in plugin.excluded_zones()}
        return {names.to_text(name) for name in plugin.excluded()}, zones

    assert of("name App.example.com x.lan") == ({"app.example.com."}, set())
    assert of("name suffix .example.com .lan") == (set(), {("example.com.", 0)})
    assert of("name suffix example.com lan") == (set(), {("com.", 0)})
    assert of("name substring a b") == of(r"name regex a b") == of("cname a b") == (set(), {(".", 0)})
    assert of("type AAAA A") == (set(), {(".", records.AAAA)})
    assert of("ttl a.lan 5") == ({"a.lan."}, set())
    assert of("edns0 nsid set") == (set(), set())


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("", "no rule type"),
        ("continue", "must begin with a rule type"),
        ("name a", "too few arguments"),
        ("name fuzzy a b", "name matching is there, not 'fuzzy'"),
        ("name exact a b answer", "exceeded the number of arguments"),
        ("name exact a b reply auto", "exceeded the number of arguments"),
        ("name regex (a) {1}{2}", "more groups"),
        ("name regex (?=a) b", "invalid regex pattern"),
        (r"name regex (a)\1 b", "invalid regex pattern"),
        ("name regex (a b", "missing"),
        (f"name regex {'a' * 10001} b", "too long: 10001 > 10000"),
        ("name regex a b answer name x y answer auto", "cannot be combined"),
        ("name regex a b answer value x", "2 arguments required"),
        ("answer name a b", "must begin with a name rule"),
        ("type A", "exactly two arguments"),
        ("type A B", "invalid type"),
        ("class IN XX", "invalid class"),
        ("ttl a.lan soon", "invalid TTL"),
        ("ttl a.lan -", "invalid TTL"),
        ("ttl a.lan 9-5", "invalid TTL"),
        ("rcode a.lan SERVFAIL", "takes"),
        ("rcode a.lan SERVFAIL 24", "invalid RCODE '24'"),
        ("cname a", "takes"),
        ("cname fuzzy a b", "unknown cname rewrite type"),
        ("edns0 local", "too few arguments"),
        ("edns0 local change 1 a", "invalid action"),
        ("edns0 other set", "invalid rule type"),
        ("edns0 local set 70000 a", "not within"),
        ("edns0 local set 1 0xzz", "hexadecimal"),
        ("edns0 local set 1 {nonsense}", "unsupported variable"),
        ("edns0 subnet set 33 56", "whole number from 0 to 32"),
        ("surprise a b", "invalid rule type 'surprise'"),
    ],
)
def test_errors_name_the_line(tmp_path, rule, words) -> None:
    with pytest.raises(CorefileError, match=words) as caught:
        read(f". {{\n rewrite {rule}\n}}", tmp_path)
    assert caught.value.line == 2
