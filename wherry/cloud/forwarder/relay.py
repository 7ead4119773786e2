"""Accepts TCP connections of a pod's port and hands each on behind a PROXY header, so that the client stays known.

Run by itself, so it needs the standard library only: `relay.py LISTEN_PORT DESTINATION_PORT DESTINATION...`, at most
one destination address of each IP version, to which clients of that version are taken. Promises:

* Each connection begins with one header of version 2 (haproxy's proxy-protocol.txt, section 2.2), before any byte of
  either side: PROXY with the client's address and the address that it reached this pod by; LOCAL where the
  connection comes from this pod itself and thus speaks for nobody.
* Bytes are passed on unchanged, at the pace of the slower side; an end of one direction leaves the other open.
* A destination that cannot be reached, and a connection that breaks, resets the connection on the other side.
* SIGTERM closes the port at once and gives open connections half a second to end by themselves.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

READY_FILE = "/run/klipper-lb.ready"

Dial = Callable[[socket.socket], Awaitable[socket.socket]]
"""Gives the connection on which one that came in is to be handed on. Raises OSError."""

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
"""Version 2 in the upper half of the byte, the command in the lower."""
_STREAM = {4: 0x11, 6: 0x21}
"""TCP over that IP version."""
_CHUNK = 65536
_CONNECT_WITHIN = 10.0
_DRAIN = 0.5
"""Seconds; the pod is given one."""
_SPARE_FILES = 32
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6))
"""A peer that vanished is noticed after two minutes."""


def header(client: tuple[str, int], reached: tuple[str, int]) -> bytes:
    """The PROXY header for a client's address and port, and those it reached. Both of one IP version."""
    source, destination = _address(client[0]), _address(reached[0])
    if source.is_loopback:
        return _SIGNATURE + struct.pack("!BBH", _LOCAL, 0, 0)
    body = source.packed + destination.packed + struct.pack("!HH", client[1], reached[1])
    return _SIGNATURE + struct.pack("!BBH", _PROXY, _STREAM[source.version], len(body)) + body


def _address(text: str) -> IPv4Address | IPv6Address:
    # A link-local address is followed by the interface that it belongs to.
    return ip_address(text.partition("%")[0])


async def splice(a: socket.socket, b: socket.socket) -> None:
    """Pass bytes between two non-blocking connections until both directions have ended, then close both.

    Where one breaks, and when cancelled, both are reset; the former raises no error.
    """
    whole = False
    try:
        async with asyncio.TaskGroup() as ways:
            ways.create_task(_copy(a, b))
            ways.create_task(_copy(b, a))
        whole = True
    except* OSError:
        pass  # Told to both sides by what follows.
    finally:
        if not whole:
            reset(a, b)
        a.close()
        b.close()


async def _copy(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, _CHUNK):
        await loop.sock_sendall(target, data)
    target.shutdown(socket.SHUT_WR)


def reset(*connections: socket.socket) -> None:
    """Close connections so that the peer sees an error rather than an end."""
    for one in connections:
        if one.fileno() >= 0:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()


def prepare(connection: socket.socket) -> None:
    """Make a connection pass on what it gets at once, never block, and notice a peer that vanished."""
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def listen(version: int, port: int) -> socket.socket:
    """Listen on a port of every address of that IP version. Raises OSError."""
    server = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if version == 6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind(("0.0.0.0" if version == 4 else "::", port))
        server.listen(1024)
        server.setblocking(False)
    except OSError:
        server.close()
        raise
    return server


class Relay:
    """Serves listening sockets, each with its way to get a connection for one that came in, until told to end."""

    def __init__(self, ways: Sequence[tuple[socket.socket, Dial]], say: Callable[[str], None]) -> None:
        """Own the sockets. ``say`` hears why a connection could not be made, once until one can be again."""
        self._ways = ways
        self._say = say
        self._said = [""] * len(ways)
        # Two sockets for each connection: what is more waits in the kernel's queue.
        self._room = (_open_files() - _SPARE_FILES) // 2
        self._open: set[asyncio.Task[None]] = set()
        self._accepting = False

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop``, then let connections end, and reset what is left."""
        async with asyncio.TaskGroup() as connections:
            self._accept_from_now_on(connections)
            try:
                await stop.wait()
            finally:
                self._accept_no_more()
                self._room = 0
                for listener, _ in self._ways:
                    listener.close()
            if self._open:
                await asyncio.wait(self._open, timeout=_DRAIN)
            for task in self._open:
                task.cancel()

    def _accept_from_now_on(self, connections: asyncio.TaskGroup) -> None:
        self._accepting = True
        for number, (listener, _) in enumerate(self._ways):
            asyncio.get_running_loop().add_reader(listener, self._accept, number, connections)

    def _accept_no_more(self) -> None:
        self._accepting = False
        for listener, _ in self._ways:
            asyncio.get_running_loop().remove_reader(listener)

    def _accept(self, number: int, connections: asyncio.TaskGroup) -> None:
        try:
            client, _ = self._ways[number][0].accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # It went away while it waited.

        def ended(task: asyncio.Task[None]) -> None:
            self._open.discard(task)
            if not self._accepting and self._room:
                self._accept_from_now_on(connections)

        task = connections.create_task(self._serve(number, client))
        self._open.add(task)
        task.add_done_callback(ended)
        if len(self._open) >= self._room:
            self._accept_no_more()

    async def _serve(self, number: int, client: socket.socket) -> None:
        try:
            prepare(client)
            server = await self._ways[number][1](client)
        except OSError as error:
            reset(client)
            if (text := str(error)) != self._said[number]:
                self._said[number] = text
                self._say(text)
        except BaseException:
            reset(client)
            raise
        else:
            self._said[number] = ""
            await splice(client, server)


async def connect(to: tuple[str, int], *, within: float = _CONNECT_WITHIN) -> socket.socket:
    """Make a connection. Raises OSError, with a text that says where to."""
    server = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET)
    try:
        prepare(server)
        async with asyncio.timeout(within):
            await asyncio.get_running_loop().sock_connect(server, to)
    except OSError as error:
        server.close()
        why = os.strerror(error.errno) if error.errno else f"no answer within {within:g} s"
        raise ConnectionError(f"{to[0]} port {to[1]}: {why}") from error
    except BaseException:
        server.close()
        raise
    return server


async def introduce(to: tuple[str, int], client: socket.socket) -> socket.socket:
    """Make a connection and write the header for a client into it. Raises OSError."""
    head = header(client.getpeername()[:2], client.getsockname()[:2])
    server = await connect(to)
    try:
        await asyncio.get_running_loop().sock_sendall(server, head)
    except BaseException:
        server.close()
        raise
    return server


def _open_files() -> int:
    """Allow this process as many open files as it may have, and return how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most if most != resource.RLIM_INFINITY else 1 << 20


async def serve(port: int, to: list[tuple[str, int]]) -> None:
    """Serve until SIGTERM or SIGINT; say that the port is open by making `READY_FILE`. Raises OSError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    relay = Relay([(listen(ip_address(one[0]).version, port), partial(introduce, one)) for one in to], _say)
    Path(READY_FILE).touch()
    await relay.run(stop)


def _say(text: str) -> None:
    print(f"klipper-lb: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Serve what the command line says; the exit code."""
    port, destination_port, *addresses = arguments
    try:
        asyncio.run(serve(int(port), [(address, int(destination_port)) for address in addresses]))
    except OSError as error:
        _say(f"port {port}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
