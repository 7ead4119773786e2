"""Queries over UDP: the loop that everything is made for."""

from __future__ import annotations

import socket
import struct
from typing import Any

from wherry.dns.front.front import Front

BUDGET = 128
"""Queries of one socket before others have their turn."""
SIZE = 4096
"""Octets of the largest query; longer ones are cut and no query any more."""
_ANCILLARY = 64
_BUDGET = tuple(range(BUDGET))
IP_PKTINFO = 8


class UdpSocket:
    """A socket that is bound to one address."""

    transport = "udp"

    def __init__(self, front: Front, opened: socket.socket, server: int) -> None:
        self.socket = opened
        self.server = server
        self.family = 2 if opened.family == socket.AF_INET6 else 1
        self.slot = front.slot(server, self.transport, self.family)
        self._front = front
        self._host = opened.getsockname()[0]

    def drain(self) -> int:
        """Answer what is there, up to `BUDGET` queries; how many there were."""
        front, slot = self._front, self.slot
        kept, denied = front.memo.young[slot].get, front.memo.denials[slot].get
        receive, send = self.socket.recvfrom, self.socket.sendto
        now = front.now
        done = 0
        try:
            for done in _BUDGET:  # noqa: B007 - what it is when an error ends the loop is returned
                data, client = receive(SIZE)
                key = data[2:]
                entry = kept(key) or denied(key)
                if entry is not None and entry.until > now:
                    hits = entry.hits
                    entry.hits = hits + 1
                    replies = entry.replies
                    send(data[:2] + replies[hits % len(replies)], client)
                else:
                    reply = front.ask(self, data, client)
                    if reply is not None:
                        send(reply, client)
        except OSError:
            # Nothing (more) is there; or the kernel did not take a reply, as to port 0 or without a route back, or
            # tells of an earlier one that was not wanted: what is still there brings us back.
            return done
        return BUDGET

    def reply(self, client: Any, wire: bytes) -> None:
        """Send an answer that was waited for."""
        if wire:
            try:
                self.socket.sendto(wire, client)
            except OSError:
                return  # as above

    def part(self, client: Any, wire: bytes) -> None:
        """Send a message of an answer that has several."""
        self.reply(client, wire)

    def sender(self, client: Any) -> tuple[str, int, str]:
        """Who asked, and whom."""
        return client[0], client[1], self._host


class WildcardSocket(UdpSocket):
    """A socket that is bound to a wildcard: replies leave from the address that was asked.

    A client is its address and the ancillary data that send a reply back.
    """

    def __init__(self, front: Front, opened: socket.socket, server: int) -> None:
        super().__init__(front, opened, server)
        self._six = self.family == 2

    def drain(self) -> int:
        """Answer what is there, up to `BUDGET` queries; how many there were."""
        front = self._front
        receive, send = self.socket.recvmsg, self.socket.sendmsg
        done = 0
        try:
            for done in _BUDGET:  # noqa: B007 - what it is when an error ends the loop is returned
                data, ancillary, _, address = receive(SIZE, _ANCILLARY)
                client = (address, self._back(ancillary))
                reply = front.ask(self, data, client)
                if reply is not None:
                    send((reply,), client[1], 0, address)
        except OSError:
            return done  # as in UdpSocket
        return BUDGET

    def reply(self, client: Any, wire: bytes) -> None:
        """Send an answer that was waited for."""
        if wire:
            try:
                self.socket.sendmsg((wire,), client[1], 0, client[0])
            except OSError:
                return

    def sender(self, client: Any) -> tuple[str, int, str]:
        """Who asked, and whom."""
        (host, port, *_), ancillary = client
        for _, _, info in ancillary:
            if self._six:
                return host, port, socket.inet_ntop(socket.AF_INET6, info[:16])
            return host, port, socket.inet_ntop(socket.AF_INET, info[4:8])
        return host, port, ""

    def _back(self, ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
        """What makes a reply leave from the address that these tell of (ip(7), ipv6(7))."""
        for level, kind, info in ancillary:
            if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
                # ipi_addr, the destination, becomes ipi_spec_dst, the source; the route chooses the interface.
                return [(level, kind, struct.pack("=i4s4s", 0, info[8:12], b""))]
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                link = info[16:20] if info[:2] == b"\xfe\x80" else b"\x00\x00\x00\x00"
                return [(level, kind, info[:16] + link)]
        return []
