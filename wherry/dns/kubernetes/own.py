"""Our own addresses, which NS records lead to."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.dns.kubernetes.packed import address_of
from wherry.kernel.netlink import Netlink


def own_addresses(bound: Iterable[str]) -> tuple[bytes, ...]:
    """The addresses that others can ask us at: those we are bound to, else all of this network namespace.

    Loopback addresses are not among them, nor link-local ones, which mean nothing elsewhere.
    """
    texts = [*bound]
    if not texts or any(text in ("0.0.0.0", "::") for text in texts):
        with Netlink() as netlink:
            texts = [str(found.address) for found in netlink.addr_list()]
    found = dict.fromkeys(packed for text in texts if (packed := address_of(text)) is not None)
    return tuple(address for address in found if not _is_local(address))


def _is_local(address: bytes) -> bool:
    if len(address) == 4:
        return address[0] == 127 or address[:2] == b"\xa9\xfe"
    return address == bytes(15) + b"\x01" or (address[0] == 0xFE and address[1] & 0xC0 == 0x80)
