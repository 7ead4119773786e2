from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest

from wherry.net.errors import Exhausted
from wherry.pods.sandbox.addresses import PodAddresses

RANGES = (IPv4Network("10.42.1.0/29"), IPv6Network("fd00:42:1::/64"))


def test_one_address_of_each_range_in_their_order(tmp_path):
    pools = PodAddresses(RANGES, store=tmp_path / "a")
    assert [str(address) for address in pools.allocate()] == ["10.42.1.1", "fd00:42:1::1"]
    assert [str(address) for address in pools.allocate()] == ["10.42.1.2", "fd00:42:1::2"]


def test_a_released_address_comes_last_even_after_a_restart(tmp_path):
    pools = PodAddresses(RANGES, store=tmp_path / "deep" / "a")
    first = pools.allocate()
    pools.release(first)
    again = PodAddresses(RANGES, store=tmp_path / "deep" / "a")
    handed_out = [str(again.allocate()[0]) for _ in range(6)]
    assert handed_out == [f"10.42.1.{number}" for number in (2, 3, 4, 5, 6, 1)]


def test_occupied_addresses_are_skipped(tmp_path):
    pools = PodAddresses(RANGES, store=tmp_path / "a")
    pools.occupy([ip_address("10.42.1.1"), ip_address("fd00:42:1::1"), ip_address("192.0.2.1")])
    assert [str(address) for address in pools.allocate()] == ["10.42.1.2", "fd00:42:1::2"]


def test_a_range_that_is_used_up_takes_nothing_from_the_other(tmp_path):
    pools = PodAddresses(RANGES, store=tmp_path / "a")
    for _ in range(6):
        given = pools.allocate()
    with pytest.raises(Exhausted):
        pools.allocate()
    pools.release(given)
    assert str(pools.allocate()[0]) == "10.42.1.6"


def test_without_a_range_there_is_no_address(tmp_path):
    with pytest.raises(Exhausted, match="no pod range"):
        PodAddresses((), store=tmp_path / "a").allocate()


@pytest.mark.parametrize("damaged", [b"", b"{", b'{"10.42.1.0/29": 7}', b"\xff"])
def test_a_damaged_cursor_file_counts_as_none(tmp_path, damaged):
    (tmp_path / "a").write_bytes(damaged)
    assert str(PodAddresses(RANGES, store=tmp_path / "a").allocate()[0]) == "10.42.1.1"
