"""What is no query, and what it is answered with: the rules measured on CoreDNS."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.dns import message as m
from wherry.dns import names
from wherry.dns.acceptance import SILENCE, accept, bare, echo, finish, limit_of
from wherry.dns.message import Edns, Message, Question
from wherry.dns.records import Record

NAME = names.from_text("Web.default.svc.cluster.local.")
QUERY = Message(id=7, recursion_desired=True, question=Question(NAME, 1))


def with_counts(*counts: int, bits: int = 0x0100) -> bytes:
    wire = m.encode(QUERY)
    return wire[:2] + struct.pack("!HHHHH", bits, *counts) + wire[12:]


def header(rcode: int, bits: int = 0x8100) -> bytes:
    return b"\x00\x07" + struct.pack("!HHHHH", bits | rcode, 0, 0, 0, 0)


def test_a_query_is_one() -> None:
    assert accept(m.encode(QUERY)) == QUERY
    assert accept(m.encode(QUERY) + b"and more") == QUERY


@pytest.mark.parametrize("wire", [b"", b"\x00" * 11, with_counts(1, 0, 0, 0, bits=0x8100)])
def test_what_is_too_short_or_a_response_gets_silence(wire: bytes) -> None:
    assert accept(wire) == SILENCE


@pytest.mark.parametrize("opcode", [1, 2, 3, 5, 6, 15])
def test_other_opcodes_are_not_implemented(opcode: int) -> None:
    wire = with_counts(1, 0, 0, 0, bits=opcode << 11 | 0x0100)
    assert accept(wire) == header(m.NOTIMP, 0x8100 | opcode << 11)


def test_a_notification_is_let_in() -> None:
    accepted = accept(with_counts(1, 0, 0, 0, bits=m.NOTIFY << 11))
    assert isinstance(accepted, Message)
    assert accepted.opcode == m.NOTIFY


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (2, 0, 0, 0), (1, 2, 0, 0), (1, 0, 2, 0), (1, 0, 0, 3)])
def test_odd_counts_get_a_bare_header(counts: tuple[int, int, int, int]) -> None:
    assert accept(with_counts(*counts)) == header(m.FORMERR)


@pytest.mark.parametrize(
    "name",
    [b"\xc0\x0c", b"\xc0\x02", b"\xc0\xff", b"\x40a\x00", b"\x80\x00", (b"\x3f" + b"x" * 63) * 4 + b"\x00", b"\x09abc"],
)
def test_bad_names_get_a_bare_header(name: bytes) -> None:
    wire = m.encode(QUERY)[:12] + name + b"\x00\x01\x00\x01"
    assert accept(wire) == header(m.FORMERR)


def test_bad_edns_gets_the_question_back() -> None:
    query = m.encode(QUERY)
    opt = b"\x00" + struct.pack("!HHIH", 41, 1232, 0, 3) + b"\x00\x03\x00"
    reply = accept(query[:11] + b"\x01" + query[12:] + opt)
    assert isinstance(reply, bytes)
    assert m.decode(reply) == QUERY.reply(m.FORMERR).copy(authoritative=False)


def test_other_classes_are_refused_unless_somebody_may_know_them() -> None:
    query = QUERY.copy(question=Question(NAME, 16, 3), edns=Edns(1232))
    reply = accept(m.encode(query))
    assert isinstance(reply, bytes)
    refused = m.decode(reply)
    assert (refused.rcode, refused.question, refused.authoritative) == (m.REFUSED, query.question, False)
    assert refused.edns == Edns(1232)
    assert accept(m.encode(query), other_classes=True) == query


def test_unknown_versions_of_edns_are_told_so() -> None:
    reply = accept(m.encode(QUERY.copy(edns=Edns(1232, version=1))))
    assert isinstance(reply, bytes)
    assert m.decode(reply).rcode == m.BADVERS
    assert m.decode(reply).edns == Edns(0)


def test_a_header_that_promises_a_question_fails() -> None:
    reply = accept(m.encode(QUERY)[:12])
    assert reply == header(m.SERVFAIL)


@given(st.binary(max_size=120), st.integers(0, 0x7FFF), st.tuples(*[st.integers(0, 3)] * 4))
def test_no_octets_get_more_than_they_brought(octets: bytes, bits: int, counts: tuple[int, int, int, int]) -> None:
    for wire in (octets, b"\x00\x07" + struct.pack("!HHHHH", bits, *counts) + octets):
        reply = accept(wire)
        if isinstance(reply, bytes):
            assert len(reply) <= max(12, len(wire))


@pytest.mark.parametrize(
    ("size", "transport", "limit"),
    [
        (None, "udp", 512), (100, "udp", 512), (4096, "udp", 4096), (65535, "udp", 65507),
        (None, "tcp", 65535), (512, "tls", 65535),
    ],
)  # fmt: skip
def test_limits(size: int | None, transport: str, limit: int) -> None:
    assert limit_of(QUERY.copy(edns=None if size is None else Edns(size)), transport) == limit


def test_only_some_options_come_back() -> None:
    edns = Edns(4096, True, 0, [(8, b"subnet"), (10, b"cookie"), (3, b""), (65001, b"x")])
    assert echo(edns) == Edns(4096, True, 0, [(10, b"cookie"), (3, b"")])


def test_replies_are_the_clients() -> None:
    query = QUERY.copy(edns=Edns(4096, True, 0, [(10, b"cookie")]))
    other = Message(id=9, question=Question(b"\x01x\x00", 1), answer=[Record(NAME, 1, 5, b"\x0a\x00\x00\x01")],
                    edns=Edns(512, options=[(3, b"us")]))  # fmt: skip
    reply = finish(other, query)
    assert (reply.id, reply.question, reply.response, reply.answer) == (7, query.question, True, other.answer)
    assert reply.edns == Edns(4096, True, 0, [(3, b"us")])
    assert finish(other.copy(edns=None), query).edns == Edns(4096, True, 0, [(10, b"cookie")])
    assert finish(other, QUERY).edns is None
    assert other.id == 9


def test_bare_replies_have_no_authority_of_their_own() -> None:
    reply = bare(QUERY, m.SERVFAIL)
    assert (reply.rcode, reply.authoritative, reply.recursion_desired, reply.edns) == (m.SERVFAIL, False, True, None)
