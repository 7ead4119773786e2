"""Names against dnspython, and the odd ones by hand."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.dns import names
from wherry.dns.errors import NameError_

LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=6).filter(lambda ls: sum(map(len, ls)) + len(ls) < 255)


@given(LABELS)
def test_names_are_spelled_and_read_as_dnspython_does(labels: list[bytes]) -> None:
    name = names.join(labels)
    judge = dns.name.Name([*labels, b""])
    assert name == judge.to_wire()
    assert names.labels(name) == labels
    assert names.from_text(names.to_text(name)) == name
    assert names.from_text(judge.to_text()) == name
    assert dns.name.from_text(names.to_text(name)) == judge


@given(LABELS, LABELS)
def test_a_name_is_within_its_parents_and_nothing_else(labels: list[bytes], others: list[bytes]) -> None:
    name, zone = names.fold(names.join(labels)), names.fold(names.join(others))
    assert list(names.parents(name)) == [names.fold(names.join(labels[i:])) for i in range(len(labels) + 1)]
    assert all(names.is_within(name, parent) for parent in names.parents(name))
    assert names.is_within(name, zone) == (zone in names.parents(name))


def test_a_zone_ends_between_labels() -> None:
    assert not names.is_within(names.from_text("xexample."), names.from_text("example."))
    # The octets of one label may look like the end of a name.
    assert not names.is_within(names.join([b"a\x07example", b"x"])[:-3] + b"\x00", names.from_text("example."))


@pytest.mark.parametrize(
    "text", ["a..b", ".a", "x" * 64, ".".join(["x" * 63] * 4), "\\", "\\25", "\\256", "ä.de", "\\ä"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(NameError_):
        names.from_text(text)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        (".", b"\x00"),
        ("www.example", b"\x03www\x07example\x00"),
        (r"a\.b.c.", b"\x03a.b\x01c\x00"),
        (r"\097\000.", b"\x02a\x00\x00"),
    ],
)
def test_text_means_octets(text: str, wire: bytes) -> None:
    assert names.from_text(text) == wire


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_reverse_names_are_those_of_python(address: IPv4Address | IPv6Address) -> None:
    name = names.reverse_of(address)
    assert names.to_text(name) == address.reverse_pointer + "."
    assert names.address_of(name) == names.address_of(name.upper()) == address


@pytest.mark.parametrize(
    "text", ["in-addr.arpa.", "0.10.in-addr.arpa.", "1.2.3.4.5.in-addr.arpa.", "01.2.3.4.in-addr.arpa.",
             "256.2.3.4.in-addr.arpa.", "f.ip6.arpa.", "x." * 32 + "ip6.arpa.", "1.2.3.4.in-addr.example."],
)  # fmt: skip
def test_a_part_of_an_address_is_none(text: str) -> None:
    assert names.address_of(names.from_text(text)) is None


def test_an_address_that_is_spelled_in_full_is_one() -> None:
    assert names.address_of(names.from_text("4.3.2.1.IN-ADDR.ARPA.")) == ip_address("1.2.3.4")
