"""Messages against dnspython, both ways; sizes and truncation; what is refused."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rdata
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.dns import message as m
from wherry.dns import names, records
from wherry.dns.errors import DnsError, MessageError
from wherry.dns.message import Edns, Message, Question
from wherry.dns.records import Record

WORDS = st.sampled_from(["a", "B", "web", "default", "svc", "cluster", "local", "_http", r"x\.y", r"\001"])
NAMES = st.lists(WORDS, max_size=5).map(lambda words: names.from_text(".".join(words) + "."))
TTLS = st.integers(0, 2**31 - 1)
SHORT = st.integers(0, 65535)
RECORDS = st.one_of(
    st.builds(records.a, NAMES, TTLS, st.ip_addresses(v=4)),
    st.builds(records.aaaa, NAMES, TTLS, st.ip_addresses(v=6)),
    st.builds(records.cname, NAMES, TTLS, NAMES),
    st.builds(records.ns, NAMES, TTLS, NAMES),
    st.builds(records.ptr, NAMES, TTLS, NAMES),
    st.builds(records.mx, NAMES, TTLS, SHORT, NAMES),
    st.builds(records.srv, NAMES, TTLS, SHORT, SHORT, SHORT, NAMES),
    st.builds(lambda name, to, n: records.soa(name, n, to, name, n, n, n, n, n), NAMES, NAMES, TTLS),
    st.builds(records.txt, NAMES, TTLS, st.binary(max_size=255), st.text(max_size=60)),
    st.builds(Record, NAMES, st.just(65000), TTLS, st.binary(max_size=40), st.just(1)),
)
SECTIONS = st.lists(RECORDS, max_size=3)
EDNS = st.builds(
    Edns,
    SHORT,
    st.booleans(),
    st.just(0),
    st.lists(st.tuples(st.integers(65001, 65100), st.binary(max_size=9)), max_size=3),
)
MESSAGES = st.builds(
    Message, id=SHORT, response=st.booleans(), opcode=st.just(0), authoritative=st.booleans(), truncated=st.booleans(),
    recursion_desired=st.booleans(), recursion_available=st.booleans(), authentic=st.booleans(),
    checking_disabled=st.booleans(), rcode=st.integers(0, 10), answer=SECTIONS, authority=SECTIONS,
    additional=SECTIONS, question=st.builds(Question, NAMES, st.just(1), st.just(1)), edns=st.none() | EDNS,
)  # fmt: skip


def judged(wire: bytes) -> dns.message.Message:
    return dns.message.from_wire(wire, one_rr_per_rrset=True)


def rows(section: list[dns.rrset.RRset]) -> list[tuple[bytes, int, int, bytes]]:
    return [(s.name.to_wire(), s.rdtype, s.ttl, r.to_wire()) for s in section for r in s]


@given(MESSAGES)
@settings(max_examples=40)
def test_dnspython_reads_what_we_build(message: Message) -> None:
    wire = m.encode(message)
    judge = judged(wire)
    assert judge.id == message.id
    assert judge.rcode() == message.rcode
    assert bool(judge.flags & dns.flags.AA) == message.authoritative
    assert bool(judge.flags & dns.flags.CD) == message.checking_disabled
    for ours, theirs in (
        (message.answer, judge.answer),
        (message.authority, judge.authority),
        (message.additional, judge.additional),
    ):
        assert [(r.name, r.type, r.ttl, r.rdata) for r in ours] == rows(theirs)
    if message.edns is not None:
        assert judge.payload == message.edns.size
        assert [(o.otype, o.to_wire()) for o in judge.options] == list(message.edns.options)
    assert m.decode(wire) == message


@given(MESSAGES)
@settings(max_examples=40)
def test_we_read_what_dnspython_builds(message: Message) -> None:
    judge = judged(m.encode(message))
    judge.use_edns(False)
    again = m.decode(judge.to_wire())
    # dnspython gathers records of one name and type, wherever they stood.
    for ours, theirs in ((message.answer, again.answer), (message.authority, again.authority)):
        assert {names.fold(r.name) + r.rdata for r in ours} == {names.fold(r.name) + r.rdata for r in theirs}


@given(MESSAGES, st.integers(512, 800))
@settings(max_examples=40)
def test_no_reply_is_larger_than_allowed_and_edns_stays(message: Message, limit: int) -> None:
    message.answer = message.answer * 8
    wire = m.encode(message, limit)
    again = m.decode(wire)
    assert len(wire) <= limit
    assert again.edns == message.edns
    whole = message.answer + message.authority + message.additional
    kept = again.answer + again.authority + again.additional
    assert kept == whole[: len(kept)]
    assert again.truncated == (message.truncated or len(kept) < len(whole))


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_octets_are_a_message_or_an_error(octets: bytes) -> None:
    for wire in (octets, b"\x00\x01\x01\x00\x00\x01\x00\x01\x00\x01\x00\x01" + octets):
        try:
            message = m.decode(wire)
        except MessageError:
            continue
        m.encode(message)


def replies(count: int, *, edns: Edns | None = None) -> Message:
    name = names.from_text("many.default.svc.cluster.local.")
    return Message(
        response=True, question=Question(name, records.A), edns=edns,
        answer=[Record(name, records.A, 5, bytes([10, 0, 0, i])) for i in range(count)],
    )  # fmt: skip


def test_forty_addresses_become_as_many_as_fit() -> None:
    message = m.decode(m.encode(replies(40), 512))
    assert len(message.answer) == 29  # 12 + 36 + 29 * 16 = 512
    assert message.truncated


def test_owners_point_at_the_question() -> None:
    assert m.encode(replies(1))[12 + 36 :][:2] == b"\xc0\x0c"


def test_services_lose_their_glue_before_their_records() -> None:
    name = names.from_text("_http._tcp.db.default.svc.cluster.local.")
    message = Message(question=Question(name, records.SRV), response=True)
    for i in range(12):
        target = names.from_text(f"db-{i}.db.default.svc.cluster.local.")
        message.answer.append(records.srv(name, 5, 0, 8, 80, target))
        message.additional.append(Record(target, records.A, 5, bytes([10, 0, 0, i])))
    cut = m.decode(m.encode(message, 512))
    assert (len(cut.answer), cut.additional, cut.truncated) == (8, [], True)
    roomy = m.decode(m.encode(message, 800))
    assert (len(roomy.answer), roomy.truncated) == (12, True)
    assert 0 < len(roomy.additional) < 12


def test_targets_of_services_are_never_compressed_but_may_be_pointed_at() -> None:
    name = names.from_text("web.example.")
    target = names.from_text("a.web.example.")
    message = Message(question=Question(name, records.SRV), answer=[records.srv(name, 5, 0, 1, 80, target)],
                      additional=[Record(target, records.A, 5, b"\x0a\x00\x00\x01")])  # fmt: skip
    wire = m.encode(message)
    assert target in wire
    assert wire.count(target) == 1
    assert m.decode(wire) == message


def test_pointers_reach_no_further_than_they_can() -> None:
    name = names.from_text("x.example.")
    filler = Record(name, 65000, 5, b"\x00" * 16_400)
    late = names.from_text("late.other.")
    message = Message(question=Question(name, 1), answer=[filler, *[Record(late, 1, 5, b"\x0a\x00\x00\x01")] * 2])
    assert m.decode(m.encode(message)) == message


HEADER = b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"


@pytest.mark.parametrize(
    "name",
    [b"\xc0\x0c", b"\x01a\xc0\x0c", b"\xc0\x20", b"\x40a\x00", b"\x80", b"\x3fabc", b"", b"\x01a", b"\xc0",
     (b"\x3f" + b"x" * 63) * 4 + b"\x00", (b"\x3f" + b"x" * 63) * 3 + b"\x3e" + b"x" * 62 + b"\x00"],
)  # fmt: skip
def test_names_that_lead_nowhere_are_refused(name: bytes) -> None:
    with pytest.raises(MessageError):
        m.decode(HEADER + name + b"\x00\x01\x00\x01" * (name[-1:] != b"a"))


def test_the_longest_name_is_read() -> None:
    name = (b"\x3f" + b"x" * 63) * 3 + b"\x3d" + b"x" * 61 + b"\x00"
    assert len(name) == 255
    assert m.decode(HEADER + name + b"\x00\x01\x00\x01").question == Question(name, 1)
    deep = b"\x01x" * 127 + b"\x00"
    assert m.decode(HEADER + deep + b"\x00\x01\x00\x01").question == Question(deep, 1)


def test_counts_may_promise_more_than_comes_and_the_rest_is_ignored() -> None:
    query = m.encode(Message(question=Question(names.ROOT, 1)))
    assert m.decode(query[:11] + b"\x02" + query[12:] + b"").question == Question(names.ROOT, 1)
    assert m.decode(query + b"trailing").question == Question(names.ROOT, 1)


@pytest.mark.parametrize(
    "line",
    ["example. 60 IN A 192.0.2.1", "example. 60 IN AAAA 2001:db8::1", "example. 60 IN MX 10 mail.example.",
     'example. 60 IN TXT "a b" "c"', "example. 60 IN CAA 0 issue \"ca.example\"",
     'example. 60 IN NAPTR 1 2 "u" "" "" x.example.',
     "example. 60 IN HTTPS 1 . alpn=\"h2\"", "example. 60 IN SOA ns.example. root.example. 1 2 3 4 5"],
)  # fmt: skip
def test_records_are_read_and_spelled_as_in_master_files(line: str) -> None:
    record = records.from_text(line)
    text = f"{names.to_text(record.name)} {record.ttl} IN {records.type_name(record.type)} {records.rdata_text(record)}"
    assert text == line
    message = Message(question=Question(record.name, record.type), answer=[record])
    assert m.decode(m.encode(message)) == message


@pytest.mark.parametrize("line", ["example.", "example. 60", "example. IN", "example. IN A x", "example. IN WRONG x"])
def test_lines_that_are_no_record_are_refused(line: str) -> None:
    with pytest.raises(DnsError, match="is no"):
        records.from_text(line)
    with pytest.raises(DnsError):
        records.txt(names.ROOT, 5, "x" * 256)


def test_types_have_names() -> None:
    assert records.type_number("https") == 65
    assert records.type_number("TYPE65280") == 65280
    assert records.type_name(65280) == "TYPE65280"
    assert records.class_number("ch") == 3
    with pytest.raises(DnsError):
        records.type_number("TYPE65536")
