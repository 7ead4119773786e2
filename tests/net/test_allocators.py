"""Allocators against a plain model, for any sequence of calls."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from wherry.net.allocator import NextFitPool, RangePool
from wherry.net.errors import AlreadyTaken, Exhausted, OutOfRange
from wherry.net.service import PortPool, ServiceAddressPool
from wherry.net.slots import Slots


class NextFitMachine(RuleBasedStateMachine):
    """A pool never gives an address twice, nor again before its hand has passed all others."""

    @initialize(prefix=st.sampled_from(["10.42.3.0/28", "10.0.0.0/31", "10.0.0.7/32", "fd00::/124", "10.42.0.0/30"]))
    def start(self, prefix: str) -> None:
        self.prefix = ip_network(prefix)
        self.pool = NextFitPool(self.prefix)
        self.usable = list(self.prefix.hosts()) or [self.prefix.network_address]
        if self.prefix.version == 6 and self.prefix.prefixlen < 127:
            self.usable = list(self.prefix)[1:]
        self.taken: set[object] = set()
        self.hand = 0

    @rule()
    def allocate(self) -> None:
        order = self.usable[self.hand :] + self.usable[: self.hand]
        expected = next((one for one in order if one not in self.taken), None)
        if expected is None:
            with pytest.raises(Exhausted):
                self.pool.allocate()
            return
        assert self.pool.allocate() == expected
        self.taken.add(expected)
        self.hand = self.usable.index(expected) + 1

    @rule(offset=st.integers(-2, 20))
    def occupy(self, offset: int) -> None:
        address = self.prefix.network_address + offset
        if address not in self.usable:
            with pytest.raises(OutOfRange):
                self.pool.occupy(address)
        elif address in self.taken:
            with pytest.raises(AlreadyTaken):
                self.pool.occupy(address)
        else:
            self.pool.occupy(address)
            self.taken.add(address)

    @rule(offset=st.integers(-2, 20))
    def release(self, offset: int) -> None:
        self.pool.release(self.prefix.network_address + offset)
        self.taken.discard(self.prefix.network_address + offset)

    @rule()
    def restart(self) -> None:
        fresh = NextFitPool(self.prefix, cursor=self.pool.cursor)
        for address in self.taken:
            fresh.occupy(address)  # type: ignore[arg-type]
        self.pool = fresh

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "pool"):
            assert self.pool.taken == len(self.taken)
            assert all((one in self.pool) == (one in self.taken) for one in self.usable)


class RangeMachine(RuleBasedStateMachine):
    """Ranges handed out never overlap one another or an occupied one; released ones come back."""

    given_out = Bundle("given_out")

    @initialize(shape=st.sampled_from([("10.42.0.0/20", 24), ("fd00:42::/60", 64), ("10.42.0.0/24", 24)]))
    def start(self, shape: tuple[str, int]) -> None:
        self.prefix = ip_network(shape[0])
        self.pool = RangePool(self.prefix, shape[1])
        self.owned: set[object] = set()

    @rule(target=given_out)
    def allocate(self) -> object:
        try:
            network = self.pool.allocate()
        except Exhausted:
            assert self.pool.taken == self.pool.size == len(list(self.prefix.subnets(new_prefix=self.pool.length)))
            return None
        assert network.subnet_of(self.prefix)  # type: ignore[arg-type]
        assert network.prefixlen == self.pool.length
        assert network not in self.owned
        self.owned.add(network)
        return network

    @rule(network=consumes(given_out))
    def release(self, network: object) -> None:
        if network is not None and network in self.owned:
            self.pool.release(network)  # type: ignore[arg-type]
            self.owned.discard(network)

    @rule(block=st.integers(0, 20), shorter=st.integers(0, 2), target=given_out)
    def occupy(self, block: int, shorter: int) -> object:
        blocks = list(self.prefix.subnets(new_prefix=self.pool.length))
        if block >= len(blocks) or self.pool.length - shorter < self.prefix.prefixlen:
            return None
        wide = blocks[block].supernet(shorter) if shorter else blocks[block]
        covered = {one for one in blocks if one.subnet_of(wide)}  # type: ignore[arg-type]
        if covered & self.owned:
            with pytest.raises(AlreadyTaken):
                self.pool.occupy(wide)
            return None
        self.pool.occupy(wide)
        self.owned |= covered
        return None

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "pool"):
            assert self.pool.taken == len(self.owned)


TestNextFit = NextFitMachine.TestCase
TestNextFit.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRange = RangeMachine.TestCase
TestRange.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@given(st.sets(st.integers(0, 9999)), st.integers(0, 9999), st.integers(0, 10_000))
def test_first_free_is_the_lowest(taken: set[int], start: int, stop: int) -> None:
    slots = Slots(10_000)
    for slot in taken:
        assert slots.take(slot)
    assert slots.first_free(start, stop) == next((n for n in range(start, stop) if n not in taken), None)
    assert slots.taken == len(taken)


def test_a_released_address_waits_for_a_whole_round() -> None:
    pool = NextFitPool(ip_network("10.42.0.0/24"))
    first = pool.allocate()
    assert first == IPv4Address("10.42.0.1")
    pool.release(first)
    others = [pool.allocate() for _ in range(253)]
    assert first not in others
    assert pool.allocate() == first


def test_huge_ranges_are_cheap() -> None:
    pool = NextFitPool(ip_network("fd00:42::/64"))
    assert [pool.allocate() for _ in range(3)] == [ip_address(f"fd00:42::{n}") for n in (1, 2, 3)]
    pool.occupy(IPv6Address("fd00:42::ffff:ffff:ffff:ffff"))
    assert pool.size == 2**64 - 1
    assert NextFitPool(ip_network("fd00:42::/64"), cursor="10.0.0.1").allocate() == ip_address("fd00:42::1")


def test_an_address_of_the_other_family_is_out_of_range() -> None:
    pool = NextFitPool(ip_network("10.0.0.0/24"))
    with pytest.raises(OutOfRange):
        pool.occupy(ip_address("fd00::1"))
    assert ip_address("fd00::1") not in pool
    pool.release(ip_address("fd00::1"))


@pytest.mark.parametrize(
    ("prefix", "first_dynamic", "usable"),
    [
        ("10.43.0.0/16", "10.43.1.1", 65534),  # 256 for people to choose from: 10.43.0.1 to 10.43.1.0
        ("10.43.0.0/24", "10.43.0.17", 254),
        ("10.43.0.0/20", "10.43.1.1", 4094),
        ("10.43.0.0/28", "10.43.0.1", 14),  # too small to split
        ("fd00:43::/112", "fd00:43::101", 65535),
        ("fd00:43::/108", "fd00:43::101", 2**20 - 1),
    ],
)
def test_service_addresses_come_from_the_upper_band(prefix: str, first_dynamic: str, usable: int) -> None:
    """The sizes of KEP-3070: min(max(16, size/16), 256)."""
    pool = ServiceAddressPool(ip_network(prefix))
    assert pool.allocate() == ip_address(first_dynamic)
    pool.occupy(ip_network(prefix).network_address + 1) if first_dynamic != "10.43.0.1" else None
    if usable < 5000:
        for _ in range(usable - pool.taken):
            pool.allocate()
        with pytest.raises(Exhausted, match="range is full"):
            pool.allocate()
        assert pool.taken == usable


def test_static_service_addresses() -> None:
    pool = ServiceAddressPool(ip_network("10.43.0.0/16"))
    pool.occupy(ip_address("10.43.0.10"))
    with pytest.raises(AlreadyTaken):
        pool.occupy(ip_address("10.43.0.10"))
    for bad in ("10.43.0.0", "10.43.255.255", "10.44.0.1", "fd00::1"):
        with pytest.raises(OutOfRange):
            pool.occupy(ip_address(bad))
    pool.release(ip_address("10.43.0.10"))
    pool.occupy(ip_address("10.43.0.10"))
    pool.occupy(ip_address("10.43.1.1"))
    assert pool.allocate() == ip_address("10.43.1.2")


def test_node_ports() -> None:
    """The sizes of KEP-3668: min(max(16, size/32), 128)."""
    pool = PortPool(range(30000, 32768))
    assert pool.allocate() == 30086
    pool.occupy(30000)
    with pytest.raises(AlreadyTaken):
        pool.occupy(30000)
    with pytest.raises(OutOfRange, match="30000-32767"):
        pool.occupy(29999)
    got = {pool.allocate() for _ in range(2768 - 2)}
    assert len(got) == 2766
    with pytest.raises(Exhausted):
        pool.allocate()
    pool.release(31000)
    assert pool.allocate() == 31000


def test_ranges_refuse_nonsense() -> None:
    with pytest.raises(ValueError):
        RangePool(ip_network("10.42.0.0/16"), 15)
    with pytest.raises(ValueError):
        RangePool(ip_network("fd00::/32"), 64)
    with pytest.raises(ValueError):
        PortPool(range(10))


def test_excluded_ranges_are_skipped() -> None:
    pool = RangePool(ip_network("10.42.0.0/22"), 24)
    pool.exclude(ip_network("10.42.0.128/25"))
    pool.exclude(ip_network("10.42.2.0/23"))
    pool.exclude(ip_network("10.99.0.0/16"))
    assert pool.allocate() == ip_network("10.42.1.0/24")
    with pytest.raises(Exhausted):
        pool.allocate()
    with pytest.raises(OutOfRange):
        pool.occupy(ip_network("10.43.0.0/24"))
