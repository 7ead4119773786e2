"""Queries over TCP and TLS (RFC 7766, RFC 7858): a length of two octets before each message.

Replies leave as they come, those that were ready together in one write. Everything is bounded: connections, queries of
one connection that are under way, octets that wait for a slow reader; and each state a connection can be in has an end.
"""

from __future__ import annotations

import errno
import select
import socket
from math import inf
from typing import TYPE_CHECKING, Any

from wherry.dns.front.front import Front

if TYPE_CHECKING:
    import ssl

CONNECTIONS = 1000
"""Of one front; a new one pushes out the one that has been idle longest."""
UNDER_WAY = 128
"""Queries of one connection that the back may have; more are read once it has answered some."""
_READ = 65536
_UNSENT = 1 << 18
_ACCEPTS = 64


class Connections:
    """All connections of a front, and when which of them has had its time."""

    def __init__(self, poller: select.epoll) -> None:
        self.by_fd: dict[int, Connection] = {}
        self.poller = poller
        self.check_at = inf
        """When `expire` should be called next."""

    def add(self, connection: Connection) -> None:
        """Take a connection in, making room if there is none."""
        if len(self.by_fd) >= CONNECTIONS:
            self.make_room()
        self.by_fd[connection.fd] = connection
        self.poller.register(connection.fd, connection.mask)
        self.check_at = min(self.check_at, connection.deadline)

    def make_room(self) -> bool:
        """Close the connection that has been idle longest; whether there was any."""
        if not self.by_fd:
            return False
        min(self.by_fd.values(), key=lambda each: each.deadline if not each.under_way else inf).close()
        return True

    def expire(self, now: float) -> None:
        """Close what took too long."""
        for connection in [*self.by_fd.values()]:
            if connection.deadline <= now and not connection.waits:
                connection.close()
        self.check_at = min((each.deadline for each in self.by_fd.values() if not each.waits), default=inf)


class TcpListener:
    """A listening socket."""

    transport = "tcp"

    def __init__(self, front: Front, opened: socket.socket, server: int, connections: Connections) -> None:
        self.socket = opened
        self.server = server
        self.family = 2 if opened.family == socket.AF_INET6 else 1
        self.slot = front.slot(server, self.transport, self.family)
        self.front = front
        self.connections = connections

    def drain(self) -> int:
        """Take in who has connected; how many."""
        taken = 0
        for _ in range(_ACCEPTS):
            try:
                accepted, address = self.socket.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE) and self.connections.make_room():
                    continue
                break  # who wanted to connect has left
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            taken += 1
            self.connections.add(self._connection(accepted, address))
        return taken

    def _connection(self, accepted: socket.socket, address: Any) -> Connection:
        return Connection(self, accepted, address)

    def reply(self, client: Any, wire: bytes) -> None:
        """Send an answer that was waited for."""
        client.answered(wire)

    def part(self, client: Any, wire: bytes) -> None:
        """Send a message of an answer that has several."""
        client.partly_answered(wire)

    def sender(self, client: Any) -> tuple[str, int, str]:
        """Who asked, and whom."""
        host, port, *_ = client.address
        return host, port, client.socket.getsockname()[0]


class TlsListener(TcpListener):
    """A listening socket whose clients speak TLS."""

    transport = "tls"

    def __init__(
        self, front: Front, opened: socket.socket, server: int, connections: Connections, context: ssl.SSLContext
    ) -> None:
        super().__init__(front, opened, server, connections)
        self._context = context

    def _connection(self, accepted: socket.socket, address: Any) -> Connection:
        return TlsConnection(self, accepted, address, self._context)


def tls_context(certificate: str, key: str, authority: str, clients: str) -> ssl.SSLContext:
    """For a `Listener`'s certificates. Raises OSError (of which ssl.SSLError is one)."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["dot"])
    if clients != "none":
        context.verify_mode = ssl.CERT_REQUIRED if clients == "required" else ssl.CERT_OPTIONAL
        if authority:
            context.load_verify_locations(authority)
        else:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    return context


class Connection:
    """One client."""

    def __init__(self, listener: TcpListener, accepted: socket.socket, address: Any) -> None:
        plan = listener.front.server(listener.server)
        self.socket = accepted
        self.fd = accepted.fileno()
        self.address = address
        self.mask = select.EPOLLIN
        self.under_way = 0
        self.deadline = listener.front.now + plan.read
        self._listener = listener
        self._idle = plan.idle
        self._write = plan.write
        self._left = plan.queries
        self._in = b""
        self._out = b""
        self._ended = False
        self._closed = False

    def ready(self, event: int) -> int:
        """Go on after an event of epoll; how many queries that brought."""
        if event & (select.EPOLLHUP | select.EPOLLERR) and self._is_gone():
            self.close()
        elif self._out:
            self._send(b"")
            if not self._closed and not self._out:
                return self._work()
        elif event & select.EPOLLIN:
            return self._read()
        return 0

    @property
    def waits(self) -> bool:
        """Whether it is the back's turn, which has a time of its own."""
        return bool(self.under_way) and not self._out

    def answered(self, wire: bytes) -> None:
        """The back has answered one query; b"" is silence."""
        if self._closed:
            return
        self.under_way -= 1
        self._send(len(wire).to_bytes(2, "big") + wire if wire else b"")
        if not self._closed and not self._out:
            self._work()

    def partly_answered(self, wire: bytes) -> None:
        """The back has a message of an answer with several."""
        if not self._closed:
            self._send(len(wire).to_bytes(2, "big") + wire)

    def close(self) -> None:
        """End, whatever is under way."""
        if not self._closed:
            self._closed = True
            connections = self._listener.connections
            connections.poller.unregister(self.fd)
            del connections.by_fd[self.fd]
            self.socket.close()

    def _read(self) -> int:
        try:
            data = self._receive()
        except BlockingIOError:
            return 0
        except OSError:
            self.close()
            return 0
        self._ended = not data
        self._in += data
        return self._work()

    def _is_gone(self) -> bool:
        # The event may be that of an earlier connection with this descriptor.
        try:
            self.socket.getpeername()
        except OSError:
            return True
        return False

    def _work(self) -> int:
        """Answer what has come completely, as far as that is allowed now; how many queries."""
        total = 0
        while not self._closed and not self._out:
            done = self._answer_some()
            if not done:
                break
            total += done
        if not self._closed:
            self._settle()
        return total

    def _answer_some(self) -> int:
        front, listener = self._listener.front, self._listener
        data = self._in
        place, size = 0, len(data)
        replies = []
        done = unsent = 0
        while size - place >= 2 and self.under_way < UNDER_WAY and unsent < _UNSENT and done != self._left:
            end = place + 2 + (data[place] << 8 | data[place + 1])
            if end > size:
                break
            query = data[place + 2 : end]
            place = end
            done += 1
            waiting = front.waiting
            reply = front.ask(listener, query, self)
            if reply is not None:
                replies.append(len(reply).to_bytes(2, "big") + reply)
                unsent += len(reply)
            elif front.waiting > waiting:
                self.under_way += 1
        self._in = data[place:]
        if done:
            self.deadline = front.now + self._idle
            self._left -= done if self._left > 0 else 0
            self._send(b"".join(replies))
        return done

    def _send(self, data: bytes) -> None:
        """Send this after what still waits; what cannot be sent now waits for `_write` seconds."""
        out = self._out + data
        if not out:
            return
        was_stuck = bool(self._out)
        try:
            sent = self._transmit(out)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._out = out[sent:]
        now = self._listener.front.now
        if self._out and (sent or not was_stuck):
            self.deadline = now + self._write
        elif was_stuck and not self._out:
            self.deadline = now + self._idle
        if was_stuck or self._out:
            self._settle()

    def _settle(self) -> None:
        """Wait for what comes next, or end where nothing does."""
        if not self._out and not self.under_way and (self._left == 0 or self._ended):
            self.close()
            return
        reading = not self._out and not self._ended and self.under_way < UNDER_WAY and self._left
        mask = (select.EPOLLIN if reading else 0) | (select.EPOLLOUT if self._out else 0)
        if mask != self.mask:
            self.mask = mask
            self._listener.connections.poller.modify(self.fd, mask)
        connections = self._listener.connections
        connections.check_at = min(connections.check_at, self.deadline)

    def _receive(self) -> bytes:
        """What has come; b"" at the end. Raises BlockingIOError where nothing has, OSError."""
        return self.socket.recv(_READ)

    def _transmit(self, data: bytes) -> int:
        """Send a part; its size. Raises BlockingIOError where nothing can be, OSError."""
        return self.socket.send(data)


class TlsConnection(Connection):
    """One client that speaks TLS."""

    def __init__(self, listener: TcpListener, accepted: socket.socket, address: Any, context: ssl.SSLContext) -> None:
        self._wrapped = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        super().__init__(listener, self._wrapped, address)

    def close(self) -> None:
        """End with TLS' farewell, where that can be said at once."""
        if not self._closed:
            try:
                self._wrapped.unwrap()
            except (OSError, ValueError):
                pass  # it is said and not yet returned, or there is nobody to say it to
        super().close()

    def _receive(self) -> bytes:
        import ssl

        data = b""
        try:
            # What OpenSSL has taken from the socket must be read, as epoll does not know of it.
            while piece := self._wrapped.recv(_READ):
                data += piece
                if len(data) >= _READ and not self._wrapped.pending():
                    break
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not data:
                raise BlockingIOError from None
        return data

    def _transmit(self, data: bytes) -> int:
        import ssl

        try:
            return self._wrapped.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
