"""Allocators of service addresses and node ports. Pure.

Each range has a lower band meant for addresses that people choose themselves; dynamic allocation comes from the upper
band and turns to the lower one only when the upper is full (KEP-3070 for addresses, KEP-3668 for ports). Choosing any
free one of either band is always allowed.
"""

from wherry.net.errors import AlreadyTaken, Exhausted, OutOfRange
from wherry.net.slots import Slots
from wherry.net.types import IPAddress, IPNetwork

__all__ = ["AlreadyTaken", "Exhausted", "OutOfRange", "PortPool", "ServiceAddressPool"]


class _Bands:
    """Slots of which the first `lower` are for static choice."""

    def __init__(self, size: int, lower: int) -> None:
        self.slots = Slots(size)
        self._lower = lower
        self._hand = lower

    def allocate(self) -> int | None:
        """Take the next free slot of the upper band, else the lowest free one of the lower band."""
        slot = self.slots.next_free(self._lower, self.slots.size, self._hand)
        if slot is not None:
            self._hand = slot + 1
        else:
            slot = self.slots.first_free(0, self._lower)
        if slot is not None:
            self.slots.take(slot)
        return slot


def _band(size: int, *, share: int, most: int) -> int:
    """Return min(max(16, size / share), most), and 0 for a range too small to split."""
    return 0 if size <= 16 else min(max(16, size // share), most)


class ServiceAddressPool:
    """The addresses of a service range, without the network address and in IPv4 the broadcast address."""

    def __init__(self, prefix: IPNetwork) -> None:
        self.prefix = prefix
        size = prefix.num_addresses
        usable = size - (2 if prefix.version == 4 else 1)
        if usable < 1:
            raise ValueError(f"the service range {prefix} has no usable address")
        self._address = type(prefix.network_address)
        self._first = int(prefix.network_address) + 1
        self._bands = _Bands(usable, min(_band(size, share=16, most=256), usable))

    def __contains__(self, address: IPAddress) -> bool:
        """Say whether an address is taken."""
        return self._slot(address) in self._bands.slots

    @property
    def taken(self) -> int:
        """How many addresses are taken."""
        return self._bands.slots.taken

    def allocate(self) -> IPAddress:
        """Hand out a free address, the upper band first. Raises Exhausted."""
        slot = self._bands.allocate()
        if slot is None:
            raise Exhausted("range is full")
        return self._address(self._first + slot)

    def occupy(self, address: IPAddress) -> None:
        """Take this address. Raises AlreadyTaken or OutOfRange."""
        try:
            free = self._bands.slots.take(self._slot(address))
        except IndexError:
            raise OutOfRange(f"the provided IP ({address}) is not in the valid range. "
                             f"The range of valid IPs is {self.prefix}") from None  # fmt: skip
        if not free:
            raise AlreadyTaken("provided IP is already allocated")

    def release(self, address: IPAddress) -> None:
        """Give an address back; one that is not taken is ignored."""
        self._bands.slots.free(self._slot(address))

    def _slot(self, address: IPAddress) -> int:
        return int(address) - self._first if address.version == self.prefix.version else -1


class PortPool:
    """Node ports of a range such as `range(30000, 32768)`."""

    def __init__(self, ports: range) -> None:
        if len(ports) < 1 or ports.step != 1 or ports.start < 1 or ports.stop > 65536:
            raise ValueError(f"not a range of ports: {ports}")
        self.ports = ports
        self._bands = _Bands(len(ports), _band(len(ports), share=32, most=128))

    def __contains__(self, port: int) -> bool:
        """Say whether a port is taken."""
        return port - self.ports.start in self._bands.slots

    @property
    def taken(self) -> int:
        """How many ports are taken."""
        return self._bands.slots.taken

    def allocate(self) -> int:
        """Hand out a free port, the upper band first. Raises Exhausted."""
        slot = self._bands.allocate()
        if slot is None:
            raise Exhausted("range is full")
        return self.ports.start + slot

    def occupy(self, port: int) -> None:
        """Take this port. Raises AlreadyTaken or OutOfRange."""
        if port not in self.ports:
            raise OutOfRange(
                f"provided port is not in the valid range. The range of valid ports is "
                f"{self.ports.start}-{self.ports.stop - 1}"
            )
        if not self._bands.slots.take(port - self.ports.start):
            raise AlreadyTaken("provided port is already allocated")

    def release(self, port: int) -> None:
        """Give a port back; one that is not taken is ignored."""
        self._bands.slots.free(port - self.ports.start)
