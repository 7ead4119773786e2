"""Allocators of single addresses (for pods) and of ranges (for nodes). Pure.

Both go round their range like a clock hand: what was given back is handed out again only after the hand has passed
everything else, so that a peer which still remembers an old owner of an address has time to forget it.
"""

from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from wherry.net.errors import AlreadyTaken, Exhausted, OutOfRange
from wherry.net.slots import Slots
from wherry.net.types import IPAddress, IPNetwork

__all__ = ["AlreadyTaken", "Exhausted", "NextFitPool", "OutOfRange", "RangePool"]

_MOST_BLOCK_BITS: Final = 20


class NextFitPool:
    """The host addresses of a prefix.

    Never handed out: the network address, and in IPv4 the broadcast address (prefixes of one or two addresses, /31
    and /32, /127 and /128, have neither). `cursor` is the address handed out last, in text, to be kept across
    restarts; one that does not belong to the prefix counts as none.
    """

    def __init__(self, prefix: IPNetwork, *, cursor: str | None = None) -> None:
        self.prefix = prefix
        size = prefix.num_addresses
        self._first = int(prefix.network_address) + (1 if size > 2 else 0)
        last = int(prefix.broadcast_address) - (1 if size > 2 and prefix.version == 4 else 0)
        self._address = type(prefix.network_address)
        self._slots = Slots(last - self._first + 1)
        self._hand = 0
        if cursor is not None and (last_given := ip_address(cursor)) in prefix:
            self._hand = int(last_given) - self._first + 1

    def __contains__(self, address: IPAddress) -> bool:
        """Say whether an address is taken."""
        return self._slot(address) in self._slots

    @property
    def cursor(self) -> str | None:
        """The address handed out last, or None at the beginning of a round."""
        return str(self._address(self._first + self._hand - 1)) if self._hand > 0 else None

    @property
    def taken(self) -> int:
        """How many addresses are taken."""
        return self._slots.taken

    @property
    def size(self) -> int:
        """How many addresses there are to hand out in all."""
        return self._slots.size

    def allocate(self) -> IPAddress:
        """Hand out the next free address. Raises Exhausted."""
        slot = self._slots.next_free(0, self._slots.size, self._hand)
        if slot is None:
            raise Exhausted(f"all {self._slots.size} addresses of {self.prefix} are taken")
        self._slots.take(slot)
        self._hand = slot + 1
        return self._address(self._first + slot)

    def occupy(self, address: IPAddress) -> None:
        """Take this address. Raises AlreadyTaken or OutOfRange."""
        try:
            free = self._slots.take(self._slot(address))
        except IndexError:
            raise OutOfRange(f"{address} is no host address of {self.prefix}") from None
        if not free:
            raise AlreadyTaken(f"{address} is taken")

    def release(self, address: IPAddress) -> None:
        """Give an address back; one that is not taken is ignored."""
        self._slots.free(self._slot(address))

    def _slot(self, address: IPAddress) -> int:
        return int(address) - self._first if address.version == self.prefix.version else -1


class RangePool:
    """The ranges of prefix length `length` inside a prefix, as nodes get them from a cluster CIDR.

    A range that was made with another length may be occupied too: it takes every block that it touches.
    A prefix may be split into 2^20 blocks at most.
    """

    def __init__(self, prefix: IPNetwork, length: int) -> None:
        if not prefix.prefixlen <= length <= min(prefix.prefixlen + _MOST_BLOCK_BITS, prefix.max_prefixlen):
            raise ValueError(f"{prefix} has no ranges of length /{length}")
        self.prefix = prefix
        self.length = length
        self._shift = prefix.max_prefixlen - length
        self._base = int(prefix.network_address)
        self._network = IPv4Network if prefix.version == 4 else IPv6Network
        self._slots = Slots(1 << (length - prefix.prefixlen))
        self._hand = 0

    @property
    def taken(self) -> int:
        """How many blocks are taken."""
        return self._slots.taken

    @property
    def size(self) -> int:
        """How many blocks there are."""
        return self._slots.size

    def allocate(self) -> IPNetwork:
        """Hand out the next free range. Raises Exhausted."""
        slot = self._slots.next_free(0, self._slots.size, self._hand)
        if slot is None:
            raise Exhausted(f"all {self._slots.size} ranges of {self.prefix} are taken")
        self._slots.take(slot)
        self._hand = slot + 1
        return self._network((self._base + (slot << self._shift), self.length))

    def occupy(self, network: IPNetwork) -> None:
        """Take every block that `network` touches. Raises OutOfRange, or AlreadyTaken (taking none) if one is."""
        blocks = self._blocks(network)
        if not blocks:
            raise OutOfRange(f"{network} is not in {self.prefix}")
        if any(slot in self._slots for slot in blocks):
            raise AlreadyTaken(f"{network} is taken, or a part of it")
        self._take(blocks)

    def exclude(self, network: IPNetwork) -> None:
        """Never hand out what `network` touches; no error where that is nothing, or taken."""
        self._take(self._blocks(network))

    def release(self, network: IPNetwork) -> None:
        """Give back every block that `network` touches; free ones are ignored."""
        for slot in self._blocks(network):
            self._slots.free(slot)

    def _take(self, blocks: range) -> None:
        for slot in blocks:
            self._slots.take(slot)

    def _blocks(self, network: IPNetwork) -> range:
        if network.version != self.prefix.version or not network.overlaps(self.prefix):
            return range(0)
        first = max(int(network.network_address) - self._base, 0) >> self._shift
        last = min((int(network.broadcast_address) - self._base) >> self._shift, self._slots.size - 1)
        return range(first, last + 1)
