"""Sockets of stand-ins, and how addresses are written."""

from __future__ import annotations

import errno
import socket
import struct

from wherry.pods.model import Port

BACKLOG = 1024
SCTP = 132
"""IPPROTO_SCTP, which Python's socket module lacks."""
IP_PKTINFO = 8
"""From linux/in.h; Python's socket module has it since 3.12 only."""

_IP6_INFO = struct.Struct("16sI")
_IP4_INFO = struct.Struct("I4s4s")
_KEEPALIVE_SECONDS = 60

Endpoint = tuple[str, int] | tuple[str, int, int, int]
Ancillary = list[tuple[int, int, bytes]]


class CannotListen(Exception):
    """A port cannot be opened; the text is worded as a server would put it."""


class NoSuchProtocol(Exception):
    """The kernel does not know the protocol."""


def text(endpoint: Endpoint) -> str:
    """``10.42.0.7:8080`` or ``[fd00:42::7]:8080``; IPv4 seen through an IPv6 socket is written as IPv4."""
    host = plain(endpoint[0])
    return f"[{host}]:{endpoint[1]}" if ":" in host else f"{host}:{endpoint[1]}"


def plain(host: str) -> str:
    """An address without the IPv4-mapped prefix."""
    return host.removeprefix("::ffff:") if "." in host else host


def listen(port: Port) -> socket.socket:
    """A socket on all addresses of both families (of IPv4 alone where the kernel has no IPv6), in the calling thread's
    network namespace. Raises `CannotListen` and `NoSuchProtocol`.
    """
    for family, any_address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        try:
            handle = _open(family, port)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT and family == socket.AF_INET6:
                continue
            if error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
                raise NoSuchProtocol(f"{port.protocol} is not available in this kernel") from None
            raise CannotListen(f"{port.protocol.lower()} :{port.number}: {error.strerror}") from error
        try:
            handle.bind((any_address, port.number))
            if port.protocol != "UDP":
                handle.listen(BACKLOG)
        except OSError as error:
            handle.close()
            raise CannotListen(f"listen {port.protocol.lower()} :{port.number}: bind: {error.strerror}") from error
        return handle
    raise CannotListen(f"listen {port.protocol.lower()} :{port.number}: the kernel has no internet protocol")


def _open(family: socket.AddressFamily, port: Port) -> socket.socket:
    kind = socket.SOCK_DGRAM if port.protocol == "UDP" else socket.SOCK_STREAM
    handle = socket.socket(family, kind | socket.SOCK_NONBLOCK, SCTP if port.protocol == "SCTP" else 0)
    if family == socket.AF_INET6:
        handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    if port.protocol == "UDP":
        if family == socket.AF_INET6:
            handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            handle.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        return handle
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # A client that vanished is noticed by the kernel: no timer of ours has to look for it. Inherited by accept.
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if port.protocol == "TCP":
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return handle


def reply_from(ancillary: Ancillary) -> Ancillary:
    """Control messages that send an answer from the address a datagram was sent to (ipv6(7), ip(7)).

    Without them the kernel picks a source by route, which on a pod with several addresses is another one.
    """
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            address, index = _IP6_INFO.unpack_from(data)
            # The interface only matters, and is only kept, for link-local addresses.
            index = index if address[:2] == b"\xfe\x80" else 0
            return [(level, kind, _IP6_INFO.pack(address, index))]
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            _, local, _ = _IP4_INFO.unpack_from(data)
            return [(level, kind, _IP4_INFO.pack(0, local, local))]
    return []
