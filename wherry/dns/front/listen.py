"""Opening the sockets that fronts serve: in the back, so that no front needs the right to do so.

Every front has sockets of its own for each address (SO_REUSEPORT), among which the kernel shares clients out.

A UDP socket that is bound to a wildcard must be told by the kernel which address was asked and tell it in turn, which
makes a query a quarter dearer. So the addresses that the machine has now get sockets of their own beside it, which the
kernel prefers; the wildcard's is left with addresses that come later.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from wherry.dns.errors import DnsError
from wherry.dns.front.protocol import Listener

IP_PKTINFO = 8
IP_FREEBIND = 15
IPV6_FREEBIND = 78
_SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 16 << 20
"""Octets of queries that wait while a front is busy; what the kernel allows where we may not ask for more."""
BACKLOG = 1024
_OWN_SOCKETS = 16
"""Addresses that get sockets of their own beside a wildcard's."""


class ListenError(DnsError):
    """An address cannot be served; the text says which and why."""


def expand(listeners: Iterable[Listener]) -> list[Listener]:
    """These listeners and, for UDP wildcards, those for the addresses that the machine has now."""
    found: dict[tuple[str, str, int], Listener] = {}
    for listener in listeners:
        found[listener.place] = listener
    for listener in [*found.values()]:
        if listener.transport == "udp" and listener.is_wildcard:
            for address in own_addresses(six=":" in listener.host)[:_OWN_SOCKETS]:
                beside = listener._replace(host=address)
                found.setdefault(beside.place, beside)
    return [*found.values()]


def open_listener(listener: Listener, *, freebind: bool = False) -> socket.socket:
    """Open one socket. Raises ListenError.

    ``freebind``: the address may be one that this machine does not have (yet).
    """
    six = ":" in listener.host
    kind = socket.SOCK_DGRAM if listener.transport == "udp" else socket.SOCK_STREAM
    opened = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if six:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if freebind:
            level, option = (socket.IPPROTO_IPV6, IPV6_FREEBIND) if six else (socket.IPPROTO_IP, IP_FREEBIND)
            opened.setsockopt(level, option, 1)
        if kind == socket.SOCK_DGRAM:
            _enlarge(opened)
            if listener.is_wildcard:
                level, option = (
                    (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) if six else (socket.IPPROTO_IP, IP_PKTINFO)
                )
                opened.setsockopt(level, option, 1)
        opened.bind((listener.host, listener.port))
        if kind == socket.SOCK_STREAM:
            opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        place = f"[{listener.host}]:{listener.port}" if six else f"{listener.host}:{listener.port}"
        raise ListenError(f"cannot serve {listener.transport} on {place}: {error.strerror}") from error
    return opened


def _enlarge(opened: socket.socket) -> None:
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def own_addresses(*, six: bool) -> list[str]:
    """The addresses that this network namespace has now, but those that are valid on one link only."""
    return _own6() if six else _own4()


def _own4() -> list[str]:
    # Each leaf is followed by a line for each of its prefix lengths.
    found: dict[str, None] = {}
    leaf = ""
    for line in Path("/proc/thread-self/net/fib_trie").read_text().splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            leaf = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            found[leaf] = None
    return [*found]


def _own6() -> list[str]:
    try:
        lines = Path("/proc/thread-self/net/if_inet6").read_text().splitlines()
    except FileNotFoundError:
        return []  # a kernel without IPv6
    addresses = [bytes.fromhex(line.split()[0]) for line in lines]
    return [socket.inet_ntop(socket.AF_INET6, each) for each in addresses if each[:2] != b"\xfe\x80"]
