"""Noticing that addresses of this network namespace come and go, by rtnetlink's multicast groups (rtnetlink(7))."""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Final, Self

from wherry.kernel import netns
from wherry.kernel import nlobjects as nlo
from wherry.kernel import nlwire as wire
from wherry.kernel.netlink import Netlink

_NETLINK_ROUTE: Final = 0
_RTMGRP_IPV4_IFADDR: Final = 0x10
_RTMGRP_IPV6_IFADDR: Final = 0x100
_NEWADDR_DELADDR: Final = (20, 21)
_RECEIVE_BYTES: Final = 1 << 16


class AddressWatch:
    """A socket that can be read when an address came or went; opened before reading addresses, none is missed."""

    def __init__(self, netns_path: str | os.PathLike[str] | None = None) -> None:
        with netns.entered(netns_path):
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_ROUTE)
        self._socket.bind((0, _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The socket's descriptor, to wait on."""
        return self._socket.fileno()

    def changed(self) -> bool:
        """Read all that the kernel told, and say whether an address is concerned that others may reach."""
        found = False
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found = True  # It told more than the socket holds.
                continue
            for message in wire.messages(data):
                if message.kind in _NEWADDR_DELADDR and reachable(nlo.parse_address(message.body).address):
                    found = True


def reachable(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address means something beyond the link that it is on."""
    return not (address.is_link_local or address.is_loopback or address.is_multicast or address.is_unspecified)


def interface_addresses() -> dict[str, tuple[str, ...]]:
    """The addresses of each interface of this network namespace that has any which others may reach."""
    found: dict[str, list[str]] = {}
    with Netlink() as link:
        names = {one.index: one.name for one in link.link_list()}
        for address in link.addr_list():
            if address.dev in names and reachable(address.address):
                found.setdefault(names[address.dev], []).append(str(address.address))
    return {name: tuple(sorted(addresses)) for name, addresses in sorted(found.items())}
