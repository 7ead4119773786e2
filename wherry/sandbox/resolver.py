"""The way out for names: carries DNS queries from a sandbox to the host's name servers, and the answers back.

No packet leaves a sandbox. This process stays in the host's network, where 127.0.0.53 means what the host means by it,
and holds sockets that were opened on the sandbox's LAN. It knows as much of DNS as it takes to match answers to
queries: ids and source ports are fresh for every query (RFC 5452), and an answer has to repeat the question.

Servers are asked as resolv.conf(5) lists them, the next one when one refuses or is slow, and the file is read again
whenever it changes, as a laptop's does. Without any server, or when all refuse, the answer is SERVFAIL at once.
Everything is bounded: queries under way, connections, bytes and seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wherry.config.resolvconf import nameservers
from wherry.kernel.loop import run

log = logging.getLogger(__name__)

PORT = 53
MOST_SERVERS = 3
"""As resolvers read them (resolv.conf(5): MAXNS)."""
MOST_QUERIES = 512
MOST_CONNECTIONS = 64
PATIENCE = 1.0
"""Seconds after which the next server is asked as well."""
LIMIT = 5.0
"""Seconds after which a query has failed."""
IDLE = 10.0
"""Seconds after which a silent connection is closed."""
_BURST = 32
_HEADER = 12
_SERVFAIL = 2

Address = tuple[Any, ...]
"""As the socket module has it, for either family."""
Sockaddr = tuple[socket.AddressFamily, Address]


def main(enter: Callable[[], None], addresses: Sequence[str], resolv_conf: Path, *, debug: bool) -> None:
    """Serve on the addresses, which ``enter`` leads to, until told to end. Runs in a process of its own."""
    run(Relay(open_inside(enter, addresses), resolv_conf).run(), debug=debug)


def open_inside(enter: Callable[[], None], addresses: Sequence[str], port: int = PORT) -> list[socket.socket]:
    """Open a UDP and a listening TCP socket for each address in a place that only a child can enter, and stay out.

    Raises RuntimeError with the child's words.
    """
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            enter()
            opened = [_open(address, port, kind) for address in addresses for kind in _KINDS]
            socket.send_fds(there, [b"ok"], [one.fileno() for one in opened])
            code = 0
        except BaseException as error:
            traceback.print_exc()
            there.send(str(error).encode()[:1000] or b"?")
        finally:
            sys.stderr.flush()
            os._exit(code)
    there.close()
    with here:
        said, files, _, _ = socket.recv_fds(here, 1000, len(addresses) * len(_KINDS))
    os.waitpid(pid, 0)
    if said != b"ok":
        raise RuntimeError(f"DNS cannot be served to the sandbox: {said.decode(errors='replace') or 'no reason given'}")
    return [socket.socket(fileno=file) for file in files]


_KINDS = (socket.SOCK_DGRAM, socket.SOCK_STREAM)


def _open(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((address, port))
    if kind == socket.SOCK_STREAM:
        one.listen(MOST_CONNECTIONS)
    return one


class Servers:
    """The host's name servers, as its resolv.conf says now."""

    def __init__(self, path: Path, port: int = PORT) -> None:
        self._path = path
        self._port = port
        self._stamp: tuple[int, int, int] | None = None
        self._found: list[Sockaddr] = []

    def now(self) -> list[Sockaddr]:
        """Their families and addresses; none where there is no file."""
        try:
            status = self._path.stat()
        except OSError:
            self._stamp, self._found = None, []
            return self._found
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            self._stamp = stamp
            self._found = self._read()
        return self._found

    def _read(self) -> list[Sockaddr]:
        found: list[Sockaddr] = []
        for server in nameservers(self._path.read_text(errors="replace"))[:MOST_SERVERS]:
            try:
                family, _, _, _, address = socket.getaddrinfo(server, self._port, flags=socket.AI_NUMERICHOST)[0]
            except OSError as error:
                log.warning("%s: nameserver %s: %s", self._path, server, error.strerror)
                continue
            found.append((family, address))
        return found


def failure(query: bytes) -> bytes:
    """The query's header as a SERVFAIL without sections (RFC 1035 §4.1.1)."""
    flags = bytes((0x80 | query[2] & 0x79, 0x80 | query[3] & 0x10 | _SERVFAIL))
    return query[:2] + flags + bytes(8)


def question_end(message: bytes) -> int:
    """Where the only question of a message ends; 0 when it has not just one, or a malformed one."""
    if message[4:6] != b"\0\1":
        return 0
    place = _HEADER
    while place < len(message) and message[place]:
        if message[place] > 63:
            return 0
        place += message[place] + 1
    end = place + 5
    return end if end <= len(message) else 0


class _Exchange:
    """One query under way to one server after the other; ``result`` is the first good answer, None when all failed."""

    def __init__(self, query: bytes, servers: Sequence[Sockaddr]) -> None:
        self._loop = asyncio.get_running_loop()
        self._query = query
        self._end = question_end(query)
        self._left = list(servers)
        self._open: dict[socket.socket, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.result: asyncio.Future[bytes | None] = self._loop.create_future()

    def go_on(self) -> None:
        """Ask the next server, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
        while self._left and not self.result.done():
            family, address = self._left.pop(0)
            one = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            number = secrets.token_bytes(2)
            try:
                one.connect(address)
                one.send(number + self._query[2:])
            except OSError:
                one.close()
                continue
            self._open[one] = number
            self._loop.add_reader(one, self._answered, one)
            self._timer = self._loop.call_later(PATIENCE, self.go_on)
            return
        if not self._open and not self.result.done():
            self.result.set_result(None)

    def _answered(self, one: socket.socket) -> None:
        try:
            answer = one.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            self._drop(one)
            self.go_on()
            return
        same = self._end and answer[_HEADER : self._end].lower() == self._query[_HEADER : self._end].lower()
        if len(answer) >= _HEADER and answer[:2] == self._open[one] and answer[2] & 0x80 and (same or not self._end):
            self.result.set_result(self._query[:2] + answer[2:])
            self.close()

    def _drop(self, one: socket.socket) -> None:
        self._loop.remove_reader(one)
        del self._open[one]
        one.close()

    def close(self) -> None:
        """Give everything back."""
        if self._timer is not None:
            self._timer.cancel()
        for one in list(self._open):
            self._drop(one)


class Relay:
    """Serves sockets, datagram and listening ones, until cancelled."""

    def __init__(self, sockets: Sequence[socket.socket], resolv_conf: Path, *, port: int = PORT) -> None:
        self._datagrams = [one for one in sockets if one.type == socket.SOCK_DGRAM]
        self._listeners = [one for one in sockets if one.type == socket.SOCK_STREAM]
        self._servers = Servers(resolv_conf, port)
        self._queries = 0
        self._connections = asyncio.Semaphore(MOST_CONNECTIONS)

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                for one in self._datagrams:
                    one.setblocking(False)
                    loop.add_reader(one, self._receive, one, group)
                for one in self._listeners:
                    one.setblocking(False)
                    group.create_task(self._accept(one, group))
                await loop.create_future()
        finally:
            for one in self._datagrams:
                loop.remove_reader(one)
            for one in (*self._datagrams, *self._listeners):
                one.close()

    # -- datagrams -----------------------------------------------------------------------------------------------

    def _receive(self, one: socket.socket, group: asyncio.TaskGroup) -> None:
        for _ in range(_BURST):
            try:
                query, client = one.recvfrom(1 << 16)
            except OSError:  # nothing left, or word of a client that is gone
                return
            if len(query) < _HEADER or query[2] & 0x80:
                continue
            if self._queries >= MOST_QUERIES:
                self._reply(one, failure(query), client)
            else:
                self._queries += 1
                group.create_task(self._answer(one, query, client))

    async def _answer(self, one: socket.socket, query: bytes, client: Address) -> None:
        exchange = _Exchange(query, self._servers.now())
        try:
            async with asyncio.timeout(LIMIT):
                exchange.go_on()
                answer = await exchange.result
        except TimeoutError:
            answer = None
        finally:
            exchange.close()
            self._queries -= 1
        self._reply(one, answer or failure(query), client)

    @staticmethod
    def _reply(one: socket.socket, message: bytes, client: Address) -> None:
        try:
            one.sendto(message, client)
        except OSError as error:
            log.debug("an answer to %s is lost: %s", client, error)

    # -- connections ---------------------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._connections.acquire()
            client, _ = await loop.sock_accept(listener)
            group.create_task(self._connection(client))

    async def _connection(self, client: socket.socket) -> None:
        try:
            server = await self._connect()
            if server is None:
                client.close()
                return
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pump(client, server))
                    group.create_task(_pump(server, client))
            finally:
                server.close()
                client.close()
        except* OSError as errors:
            log.debug("a connection ended: %s", errors.exceptions[0])
        finally:
            self._connections.release()

    async def _connect(self) -> socket.socket | None:
        """A connection to the first server that takes one."""
        loop = asyncio.get_running_loop()
        for family, address in self._servers.now():
            server = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                async with asyncio.timeout(PATIENCE):
                    await loop.sock_connect(server, address)
            except (OSError, TimeoutError):
                server.close()
                continue
            return server
        return None


async def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until the source has no more to send, and say so; raises OSError, TimeoutError when it is idle."""
    loop = asyncio.get_running_loop()
    while True:
        async with asyncio.timeout(IDLE):
            data = await loop.sock_recv(source, 1 << 16)
        if not data:
            target.shutdown(socket.SHUT_WR)
            return
        async with asyncio.timeout(IDLE):
            await loop.sock_sendall(target, data)
