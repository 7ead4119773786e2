"""The plugin `dns64`: IPv6 addresses for IPv4 ones."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from tests.dns.chains import SERVER, Answers, lines, read, serving, zone
from wherry.dns import names, records
from wherry.dns.corefile.errors import CorefileError
from wherry.dns.message import NOERROR, NXDOMAIN, SERVFAIL, Message
from wherry.dns.plugin import Keep, Reply, Request
from wherry.dns.plugins.dns64 import embed

V6 = "2001:db8::7"
THERE = zone(
    "four.lan. 900 A 192.0.2.1", "six.lan. 60 AAAA 2001:db8::1", "both.lan. 60 A 192.0.2.2",
    "both.lan. 60 AAAA 2001:db8::2", "alias.lan. 60 CNAME four.lan.",
)  # fmt: skip
MADE = ["four.lan. 600 AAAA 64:ff9b::c000:201"]


@pytest.mark.parametrize(
    ("prefix", "address"),
    [  # the table of RFC 6052 §2.4
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::c000:221"),
        ("64:ff9b::/96", "64:ff9b::c000:221"),
    ],
)
def test_addresses_within_prefixes(prefix, address) -> None:
    assert embed(IPv6Network(prefix), IPv4Address("192.0.2.33").packed) == IPv6Address(address)


@pytest.mark.parametrize(
    ("options", "name", "client", "answer"),
    [
        ("", "four.lan", V6, MADE),
        ("", "four.lan", "192.0.2.7", []),
        ("", "four.lan", "::ffff:192.0.2.7", []),
        ("{\n allow_ipv4\n }", "four.lan", "192.0.2.7", MADE),
        ("2001:db8:64::/96", "four.lan", V6, ["four.lan. 600 AAAA 2001:db8:64::c000:201"]),
        ("{\n prefix 2001:db8:64::/96\n }", "four.lan", V6, ["four.lan. 600 AAAA 2001:db8:64::c000:201"]),
        ("", "six.lan", V6, ["six.lan. 60 AAAA 2001:db8::1"]),
        ("", "both.lan", V6, ["both.lan. 60 AAAA 2001:db8::2"]),
        ("{\n translate_all\n }", "both.lan", V6, ["both.lan. 60 AAAA 64:ff9b::c000:202"]),
        ("", "none.lan", V6, []),
    ],
)
async def test_answers(tmp_path, options, name, client, answer) -> None:
    async with serving(f". {{\n dns64 {options}\n}}", tmp_path, end=Answers(THERE)) as world:
        reply = await world.ask(name, "AAAA", client=client)
        assert (reply.rcode, lines(reply.answer)) == (NOERROR, answer)
        translated = world.value("coredns_dns64_requests_translated_total", server=SERVER)
        assert translated == ((bool(answer) and "six" not in name and "db8::2" not in answer[0]) or name == "none.lan")


async def test_other_records_of_the_answer_stay_and_the_soa_bounds_the_ttl(tmp_path) -> None:
    def answer(request: Request) -> Message:
        reply = request.query.reply()
        if request.type == records.A:
            texts = ("alias.lan. 60 CNAME four.lan.", "four.lan. 60 A 192.0.2.1")
            reply.answer = [records.from_text(text) for text in texts]
        else:
            reply.authority = [records.from_text("lan. 30 SOA ns.lan. root.lan. 1 2 3 4 5")]
        return reply

    async with serving(". {\n dns64\n}", tmp_path, end=Answers(answer)) as world:
        reply = await world.ask("alias.lan", "AAAA", client=V6)
        assert lines(reply.answer) == ["alias.lan. 60 CNAME four.lan.", "four.lan. 30 AAAA 64:ff9b::c000:201"]
        assert not reply.authoritative


@pytest.mark.parametrize("rcode", [NXDOMAIN, SERVFAIL])
async def test_what_has_no_address_stays_as_it_is(tmp_path, rcode) -> None:
    end = Answers(zone(rcode=rcode))
    async with serving(". {\n dns64\n}", tmp_path, end=end) as world:
        assert (await world.ask("a.lan", "AAAA", client=V6)).rcode == rcode
        assert len(end.asked) == (1 if rcode == NXDOMAIN else 2)


async def test_fronts_do_not_keep_what_depends_on_the_family(tmp_path) -> None:
    class Kept(Answers):
        async def serve(self, request, next):
            return Reply((await super().serve(request, next)).message, "end", Keep(9, True))

    for options, kept in (("", False), ("{\n allow_ipv4\n }", True)):
        async with serving(f". {{\n dns64 {options}\n}}", tmp_path, end=Kept(THERE)) as world:
            assert world.plugin("dns64").excluded_zones() == {(names.ROOT, records.AAAA)}
            reply = await world.reply(world.query("six.lan", "AAAA"))
            assert (reply.keep is not None) == kept
            assert (await world.reply(world.query("four.lan", "A"))).keep is not None


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("dns64 64:ff9b::/97", "multiple of 8", 2),
        ("dns64 64:ff9b::/24", "multiple of 8", 2),
        ("dns64 192.0.2.0/24", "not IPv6", 2),
        ("dns64 a b", "Wrong argument count", 2),
        ("dns64 {\n prefix nonsense\n }", "invalid prefix", 3),
        ("dns64 {\n surprise\n }", "unknown property", 3),
    ],
)
def test_errors_name_the_line(tmp_path, text, words, line) -> None:
    with pytest.raises(CorefileError, match=words) as caught:
        read(f". {{\n {text}\n}}", tmp_path)
    assert caught.value.line == line
