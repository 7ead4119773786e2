"""The first look at a query agrees with reading all of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.dns import names, records
from wherry.dns.acceptance import accept
from wherry.dns.front.scan import scan
from wherry.dns.message import Edns, Message, Question, encode

NAMES = st.lists(st.binary(min_size=1, max_size=20), max_size=6).map(names.join)
OPTIONS = st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=9)), max_size=2).map(tuple)
EDNS = st.none() | st.builds(Edns, size=st.integers(1, 65535), dnssec_ok=st.booleans(), options=OPTIONS)


@given(NAMES, st.integers(1, 65535), st.booleans(), st.booleans(), EDNS, st.binary(max_size=3))
@settings(max_examples=150)
def test_reads_what_every_client_sends(
    name: bytes, kind: int, wants: bool, unchecked: bool, edns: Edns | None, rest: bytes
) -> None:
    query = Message(
        id=7, question=Question(name, kind), recursion_desired=wants, checking_disabled=unchecked, edns=edns
    )
    wire = encode(query) + (b"" if edns is None else rest)
    asked = scan(wire)
    assert asked is not None
    assert (asked.name, asked.type, asked.plain) == (name.lower(), kind, name == name.lower())
    assert wire[12 : asked.end] == name + kind.to_bytes(2, "big") + b"\x00\x01"
    found = (asked.size, asked.dnssec_ok, asked.options)
    assert found == ((edns.size, edns.dnssec_ok, bool(edns.options)) if edns else (0, False, False))


HEADERS = st.sampled_from(
    [b"\x01\x00\x00\x01" + bytes(6), b"\x01\x00\x00\x01" + bytes(5) + b"\x01", b"\x28\x00" + bytes(8)]
)


@given(st.binary(min_size=12, max_size=12) | HEADERS.map(lambda rest: b"id" + rest), st.binary(max_size=60))
@settings(max_examples=300)
def test_takes_nothing_that_acceptance_refuses(header: bytes, rest: bytes) -> None:
    wire = header + rest
    asked = scan(wire)
    if asked is not None and not asked.options:
        query = accept(wire)
        assert isinstance(query, Message)
        assert query.question is not None
        assert (query.question.name.lower(), query.question.type) == (asked.name, asked.type)
        assert (query.edns.size if query.edns else 0) == asked.size


def test_leaves_the_unusual_to_others() -> None:
    question = Question(names.from_text("a.example"), records.A)
    usual = encode(Message(question=question))
    assert scan(usual) is not None
    assert scan(usual[:-2] + b"\x00\x03") is None  # class CH
    assert scan(usual[:-1]) is None
    assert scan(usual[:12] + b"\xc0\x0c" + usual[-4:]) is None
    optioned = encode(Message(question=question, edns=Edns(1232, options=((10, b"cookie12"),))))
    asked = scan(optioned)
    assert asked is not None
    assert asked.options
    assert scan(optioned[:-1]) is None
    assert scan(encode(Message(question=question, edns=Edns(1232, version=1)))) is None
    assert scan(encode(Message(question=question, edns=Edns(0)))) is None
    assert scan(usual[:12] + b"\x3f" * 255 + usual[12:]) is None
    assert scan(usual[:2] + b"\x80" + usual[3:]) is None
