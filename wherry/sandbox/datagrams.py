"""Passing on datagrams of a published port: a flow for each client, which ends when it was silent for a minute."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

Address = tuple[str, int]

IDLE = 60.0
_MOST_FLOWS = 4096
_LARGEST = 65535
_IP_PKTINFO = 8  # Python 3.11 does not name it.
_AT_ONCE = 64
"""Datagrams that one socket may pass on before others have their turn."""
_V4 = struct.Struct("i4s4s")
"""in_pktinfo of ip(7): interface, local address, destination."""
_V6 = struct.Struct("16si")
"""in6_pktinfo of ipv6(7): address and interface."""


class _Flow:
    """What one client sends, and where to."""

    def __init__(self, client: Address, asked: list[tuple[int, int, bytes]], candidates: list[Address]) -> None:
        self.client = client
        self.asked = asked
        """The address of the host that the client asked, as control data: answers come from there."""
        self.candidates = candidates
        self.first = b""
        self.server: socket.socket | None = None
        self.to = ""
        self.active = 0.0
        self.answered = False


class Datagrams:
    """One published UDP port. What is refused goes to the next address, and is told once until one answers."""

    def __init__(
        self,
        host: socket.socket,
        addresses: Callable[[], Sequence[Address]],
        answered: Callable[[str], None],
        name: str,
    ) -> None:
        """Own the socket; ``addresses`` may answer, the likeliest first; ``answered`` hears which did."""
        self._host = host
        self._addresses = addresses
        self._answered = answered
        self._name = name
        self._flows: dict[Address, _Flow] = {}
        self._expiry: asyncio.TimerHandle | None = None
        self._told = False
        host.setblocking(False)
        if host.family == socket.AF_INET:
            host.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            host.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)

    async def run(self) -> None:
        """Pass on until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._host, self._from_clients)
        try:
            await loop.create_future()
        finally:
            loop.remove_reader(self._host)
            if self._expiry is not None:
                self._expiry.cancel()
            for flow in [*self._flows.values()]:
                self._end(flow)
            self._host.close()

    def keep_to(self, addresses: Sequence[str]) -> None:
        """End the flows to all other addresses: their nodes are gone, and others get what their clients send."""
        for flow in [*self._flows.values()]:
            if flow.to not in addresses:
                self._end(flow)

    @property
    def flows(self) -> int:
        """How many clients there are."""
        return len(self._flows)

    def _from_clients(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, control, _, client = self._host.recvmsg(_LARGEST, 128)
            except BlockingIOError:
                return
            flow = self._flows.pop(client, None)
            if flow is None:
                if len(self._flows) >= _MOST_FLOWS:
                    self._end(next(iter(self._flows.values())))
                flow = _Flow(client, _answering(control), [*self._addresses()])
                flow.first = data
            # The one silent for longest stays first.
            self._flows[client] = flow
            flow.active = asyncio.get_running_loop().time()
            self._expire_later()
            self._pass_on(flow, data)

    def _pass_on(self, flow: _Flow, data: bytes) -> None:
        if flow.server is None:
            self._try_next(flow)
            return
        try:
            flow.server.send(data)
        except BlockingIOError:
            return  # Lost, as datagrams are where a queue is full.
        except OSError:
            self._refused(flow)

    def _try_next(self, flow: _Flow) -> None:
        """Send what the client said first to the next address; the flow ends where there is none."""
        while flow.candidates:
            to = flow.candidates.pop(0)
            server = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, socket.SOCK_DGRAM)
            server.setblocking(False)
            try:
                server.connect(to)
                server.send(flow.first)
            except OSError:
                server.close()
                continue
            flow.server, flow.to = server, to[0]
            asyncio.get_running_loop().add_reader(server, self._from_server, flow)
            return
        if not self._told:
            self._told = True
            log.warning("%s: no node answers there; a datagram of %s is dropped", self._name, flow.client[0])
        self._end(flow)

    def _refused(self, flow: _Flow) -> None:
        self._close(flow)
        if flow.answered:
            self._end(flow)
        else:
            self._try_next(flow)

    def _from_server(self, flow: _Flow) -> None:
        assert flow.server is not None
        for _ in range(_AT_ONCE):
            try:
                data = flow.server.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                self._refused(flow)
                return
            if not flow.answered:
                flow.answered = True
                self._told = False
                self._answered(flow.to)
            flow.active = asyncio.get_running_loop().time()
            try:
                self._host.sendmsg([data], flow.asked, 0, flow.client)
            except OSError as error:
                log.debug("%s: an answer to %s is dropped: %s", self._name, flow.client[0], error)

    def _expire_later(self) -> None:
        if self._expiry is None and self._flows:
            loop = asyncio.get_running_loop()
            oldest = min(flow.active for flow in self._flows.values())
            self._expiry = loop.call_at(oldest + IDLE, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        limit = asyncio.get_running_loop().time() - IDLE
        for flow in [*self._flows.values()]:
            if flow.active <= limit:
                self._end(flow)
        self._expire_later()

    def _close(self, flow: _Flow) -> None:
        if flow.server is not None:
            asyncio.get_running_loop().remove_reader(flow.server)
            flow.server.close()
            flow.server = None

    def _end(self, flow: _Flow) -> None:
        self._close(flow)
        self._flows.pop(flow.client, None)


def _answering(control: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """The control data of an answer to a datagram that came with this: its source is what the client asked."""
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            _, _, asked = _V4.unpack_from(data)
            return [(level, kind, _V4.pack(0, asked, bytes(4)))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            address, index = _V6.unpack_from(data)
            return [(level, kind, _V6.pack(address, index))]
    return []
