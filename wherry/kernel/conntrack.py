"""Deleting connection tracking entries, so that traffic is judged anew by changed rules.

A UDP flow (and a TCP flow that keeps trying) stays with the address it was translated to for as long as its entry
lives; when an endpoint or a service goes, its entries must go too. Messages: include/uapi/linux/netfilter/
nfnetlink_conntrack.h.
"""

import os
from collections.abc import Callable
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, AF_UNSPEC
from types import TracebackType
from typing import Final, Self

import msgspec

from wherry.kernel import nlwire as wire
from wherry.kernel.nlsocket import NetlinkSocket, NotFound
from wherry.net.types import IPAddress

_NETLINK_NETFILTER: Final = 12
_SUBSYSTEM: Final = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_HEADER_BYTES: Final = 4
_ORIGINAL, _REPLY, _STATUS, _ID, _ZONE = 1, 2, 3, 12, 18

TCP: Final = 6
UDP: Final = 17
SCTP: Final = 132


class Tuple(msgspec.Struct, frozen=True):
    """One direction of a connection; ports are 0 where the protocol has none."""

    src: IPAddress
    dst: IPAddress
    protocol: int
    sport: int
    dport: int


class Entry(msgspec.Struct, frozen=True):
    """A tracked connection: as the first packet looked, and as answers look (`reply.src` is who really answers)."""

    original: Tuple
    reply: Tuple
    family: int
    id: int


class Conntrack:
    """The connection table of the namespace at `netns_path` (None: the calling thread's).

    A dump costs about 10 µs an entry and is meant for rare changes. Raises NetlinkError.
    """

    def __init__(self, netns_path: str | os.PathLike[str] | None = None) -> None:
        self._socket = NetlinkSocket(_NETLINK_NETFILTER, netns_path)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def entries(self, *, family: int = AF_UNSPEC) -> list[Entry]:
        """Return all entries of a family, or of both."""
        answers = self._socket.dump(_GET, bytes((family, 0, 0, 0)), operation="list connections")
        return [entry for entry in (_parse(answer.body) for answer in answers) if entry is not None]

    def delete(self, matches: Callable[[Entry], bool], *, family: int = AF_UNSPEC) -> int:
        """Delete the entries for which `matches` is true; return how many there were."""
        deleted = 0
        for answer in self._socket.dump(_GET, bytes((family, 0, 0, 0)), operation="list connections"):
            entry = _parse(answer.body)
            if entry is not None and matches(entry):
                deleted += self._delete(answer.body)
        return deleted

    def delete_to(self, address: IPAddress, port: int, *, protocol: int) -> int:
        """Delete the entries of connections that were addressed to a service's address and port."""
        return self.delete(
            lambda entry: (
                entry.original.dst == address and entry.original.dport == port and entry.original.protocol == protocol
            ),
            family=AF_INET if address.version == 4 else AF_INET6,
        )

    def _delete(self, body: bytes) -> int:
        """Delete exactly the entry of a dump: its tuple names it, its id guards against a successor."""
        found = wire.attributes(body, _HEADER_BYTES)
        request = bytes((body[0], 0, 0, 0)) + wire.nested(_ORIGINAL, found[_ORIGINAL]) + wire.attr(_ID, found[_ID])
        if _ZONE in found:
            request += wire.attr(_ZONE, found[_ZONE])
        try:
            self._socket.request(_DELETE, 0, request, operation="delete connection")
        except NotFound:  # It ended by itself meanwhile.
            return 0
        return 1


def _parse(body: bytes) -> Entry | None:
    found = wire.attributes(body, _HEADER_BYTES)
    if _ORIGINAL not in found or _REPLY not in found:
        return None
    identity = int.from_bytes(found.get(_ID, b""), "big")
    return Entry(_tuple(found[_ORIGINAL]), _tuple(found[_REPLY]), body[0], identity)


def _tuple(data: bytes) -> Tuple:
    found = wire.attributes(data)
    addresses, protocol = wire.attributes(found[1]), wire.attributes(found[2])
    src, dst = (addresses[1], addresses[2]) if 1 in addresses else (addresses[3], addresses[4])
    return Tuple(
        ip_address(src),
        ip_address(dst),
        protocol[1][0],
        int.from_bytes(protocol.get(2, b""), "big"),
        int.from_bytes(protocol.get(3, b""), "big"),
    )
