"""A front's loop: waits for sockets only when all of them are empty, and never for the back."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from math import inf
from typing import Any

from wherry.dns.front import protocol
from wherry.dns.front.channel import Channel
from wherry.dns.front.front import Front
from wherry.dns.front.protocol import Listener
from wherry.dns.front.tcp import Connections, TcpListener, TlsListener, tls_context
from wherry.dns.front.udp import UdpSocket, WildcardSocket

_EVENTS = 64


class Loop:
    """One front process."""

    def __init__(self, channel: Channel, front: Front) -> None:
        self._channel = channel
        self._front = front
        self._poller = select.epoll()
        self._connections = Connections(self._poller)
        self._listeners: dict[int, UdpSocket | TcpListener] = {}
        self._places: dict[tuple[str, str, int], int] = {}
        self._retired: list[UdpSocket | TcpListener] = []
        self._stop: tuple[int, float] | None = None
        self._channel_mask = select.EPOLLIN
        self._poller.register(channel.socket.fileno(), self._channel_mask)

    def run(self) -> None:
        """Serve until the back says to stop, or nobody holds the other end of the channel any more."""
        front, poller = self._front, self._poller
        try:
            self._hello(0)
            while not self._finished():
                events = poller.poll(self._timeout(), _EVENTS)
                began = front.now = time.monotonic()
                done = 0
                for descriptor, event in events:
                    done += self._handle(descriptor, event)
                if front.outbox:
                    self._hand_over()
                if self._connections.check_at <= began:
                    self._connections.expire(began)
                if front.next_give_up() <= began:
                    front.give_up()
                if front.faults:
                    self._channel.send(protocol.FAULT, front.faults.pop())
                    front.faults.clear()
                if self._retired and not front.waiting:
                    self._bury()
                if done:
                    front.counters.busy += time.monotonic() - began
                self._watch_channel()
            self._finish()
        except EOFError:
            return
        finally:
            self._close()

    def _handle(self, descriptor: int, event: int) -> int:
        listener = self._listeners.get(descriptor)
        if listener is not None:
            return listener.drain()
        connection = self._connections.by_fd.get(descriptor)
        if connection is not None:
            return connection.ready(event)
        if descriptor == self._channel.socket.fileno():
            for message, sockets in self._channel.receive():
                self._obey(message, sockets)
        return 0

    def _timeout(self) -> float | None:
        at = min(self._connections.check_at, self._front.next_give_up(), self._stop[1] if self._stop else inf)
        return None if at == inf else max(at - time.monotonic(), 0)

    def _hand_over(self) -> None:
        outbox, self._front.outbox = self._front.outbox, []
        batch: list[tuple[Any, ...]] = []
        size = 0
        for query in outbox:
            size += len(query[-1])
            if batch and (len(batch) >= protocol.BATCH or size > protocol.LONGEST):
                self._channel.send(protocol.QUERIES, batch)
                batch, size = [], len(query[-1])
            batch.append(query)
        self._channel.send(protocol.QUERIES, batch)

    def _watch_channel(self) -> None:
        if self._channel.stuck:
            self._channel.flush()
        mask = select.EPOLLIN | (select.EPOLLOUT if self._channel.stuck else 0)
        if mask != self._channel_mask:
            self._channel_mask = mask
            self._poller.modify(self._channel.socket.fileno(), mask)

    def _obey(self, message: tuple[Any, ...], sockets: list[socket.socket]) -> None:
        front = self._front
        match message:
            case (protocol.REPLIES, replies):
                front.answered(replies)
            case (protocol.CHANGES, zone, changes):
                front.change(zone, changes)
            case (protocol.DROP, tags):
                front.drop(tags)
            case (protocol.PLAN, plans, zones):
                front.plan(plans, zones)
            case (protocol.ZONE, zone):
                front.begin_zone(zone)
            case (protocol.READY, zone):
                front.zone_ready(zone)
            case (protocol.COUNT, token):
                self._channel.send(protocol.COUNTS, token, front.rows())
            case (protocol.WHO, epoch):
                self._hello(epoch)
            case (protocol.LISTEN, number, wanted):
                self._channel.send(protocol.DONE, number, self._listen(wanted, sockets))
            case (protocol.STOP, number, seconds):
                self._retire(set())
                self._stop = (number, front.now + seconds)

    def _hello(self, epoch: int) -> None:
        self._channel.send(protocol.HELLO, epoch, os.getpid(), [*self._places])

    def _listen(self, wanted: list[tuple[tuple[Any, ...], bool]], sockets: list[socket.socket]) -> str:
        """Serve these places and no others; what went wrong. A socket that serves a place already serves on."""
        given = iter(sockets)
        listeners = [(Listener(*fields), next(given) if comes else None) for fields, comes in wanted]
        self._retire({listener.place for listener, _ in listeners})
        wrong = []
        for listener, opened in listeners:
            try:
                self._serve(listener, opened)
            except OSError as error:
                wrong.append(f"{listener.transport} on port {listener.port}: {error}")
        return "; ".join(wrong)

    def _serve(self, listener: Listener, opened: socket.socket | None) -> None:
        descriptor = self._places.get(listener.place)
        if descriptor is not None:
            # A socket that leaves the kernel's group takes with it what has come for it: the one that serves stays.
            if opened is not None:
                opened.close()
            opened = self._listeners[descriptor].socket
        if opened is None:
            raise OSError(errno.EBADF, "the back knows of a socket that is not here")
        self._listeners[opened.fileno()] = self._made(listener, opened)
        if descriptor is None:
            self._places[listener.place] = opened.fileno()
            self._poller.register(opened.fileno(), select.EPOLLIN)

    def _made(self, listener: Listener, opened: socket.socket) -> UdpSocket | TcpListener:
        opened.setblocking(False)
        if listener.transport == "udp":
            return (WildcardSocket if listener.is_wildcard else UdpSocket)(self._front, opened, listener.server)
        if listener.transport == "tcp":
            return TcpListener(self._front, opened, listener.server, self._connections)
        context = tls_context(*(listener.certificates or ("", "", "", "none")))
        return TlsListener(self._front, opened, listener.server, self._connections, context)

    def _retire(self, stay: set[tuple[str, str, int]]) -> None:
        """Stop listening on all but these places, after a last look at what has come."""
        for place in [*self._places]:
            if place not in stay:
                descriptor = self._places.pop(place)
                listener = self._listeners.pop(descriptor)
                while listener.drain():
                    pass
                self._poller.unregister(descriptor)
                self._retired.append(listener)

    def _bury(self) -> None:
        """Close sockets that are retired, as no answer has to leave through them any more."""
        for listener in self._retired:
            listener.socket.close()
        self._retired.clear()

    def _finished(self) -> bool:
        if self._stop is None:
            return False
        return not self._front.waiting or self._stop[1] <= time.monotonic()

    def _finish(self) -> None:
        assert self._stop is not None
        self._channel.send(protocol.COUNTS, 0, self._front.rows())
        self._channel.send(protocol.DONE, self._stop[0], "")
        while self._channel.stuck:
            select.select([], [self._channel.socket], [])
            self._channel.flush()

    def _close(self) -> None:
        for connection in [*self._connections.by_fd.values()]:
            connection.close()
        self._retired += self._listeners.values()
        self._bury()
        self._poller.close()
