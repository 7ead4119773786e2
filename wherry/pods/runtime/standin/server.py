"""Serving the sockets of a stand-in on the runtime's loop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from wherry.kernel import netns
from wherry.pods.model import Behaviour, Port
from wherry.pods.runtime.loop import READ, Loop
from wherry.pods.runtime.standin.answer import DEFAULT, Identity
from wherry.pods.runtime.standin.connection import Connection
from wherry.pods.runtime.standin.conversation import Setting
from wherry.pods.runtime.standin.sockets import CannotListen, NoSuchProtocol, listen, plain, reply_from, text

if TYPE_CHECKING:
    from ssl import SSLContext

_BURST = 64
"""Connections or datagrams taken per wake-up, so that one busy socket cannot keep the others waiting."""
_PAUSE = 0.25
"""Seconds a listener rests when descriptors or memory have run out."""


class StandIn:
    """All sockets of one stand-in container. ``log`` takes lines of output."""

    __slots__ = ("_behaviour", "_connections", "_context", "_identity", "_listeners", "_log", "_loop")

    def __init__(
        self, loop: Loop, identity: Identity, log: Callable[[str], None], behaviour: Behaviour = DEFAULT
    ) -> None:
        self._loop = loop
        self._identity = identity
        self._log = log
        self._behaviour = behaviour
        self._context: SSLContext | None = None
        self._listeners: list[socket.socket] = []
        self._connections: dict[int, Connection] = {}

    def open(self, namespace: str | None, ports: tuple[Port, ...]) -> list[str]:
        """Listen on every port inside the network namespace at that path; returns notes.

        Raises `CannotListen` (nothing is left open then) when a port that is not optional is taken, and OSError when
        the namespace cannot be entered.
        """
        notes: list[str] = []
        with netns.entered(namespace):
            for port in ports:
                try:
                    handle = listen(port)
                except NoSuchProtocol as error:
                    notes.append(f"port {port.number}: {error}")
                    continue
                except CannotListen:
                    if port.optional:
                        continue
                    self.close()
                    raise
                self._listeners.append(handle)
                if port.protocol == "UDP":
                    self._loop.watch(handle.fileno(), READ, partial(self._datagrams, handle))
                else:
                    self._loop.watch(handle.fileno(), READ, partial(self._accept, handle))
        return notes

    def behave(self, behaviour: Behaviour) -> None:
        """Behave so from now on. What concerns the beginning of a connection (TLS, PROXY) counts for new ones."""
        if behaviour.certificate != self._behaviour.certificate:
            self._context = None
        self._behaviour = behaviour
        for connection in list(self._connections.values()):
            connection.behaviour_changed()

    def finish(self) -> None:
        """Close everything in good order: clients that wait to be accepted and requests that have arrived come first.

        Closing a listener, or a connection with unread data, resets it, and a client would see a request fail that
        it sent while the pod was still an endpoint.
        """
        for handle in self._listeners:
            if handle.type == socket.SOCK_STREAM:
                while self._take(handle):
                    continue
        for connection in list(self._connections.values()):
            connection.answer_pending()
        self.close()

    def close(self) -> None:
        """Close everything, as the death of a program would."""
        for handle in self._listeners:
            self._loop.forget(handle.fileno())
            handle.close()
        self._listeners.clear()
        for connection in list(self._connections.values()):
            connection.close()

    def _accept(self, listener: socket.socket, _: int) -> None:
        for _turn in range(_BURST):
            if not self._take(listener):
                return

    def _take(self, listener: socket.socket) -> bool:
        """Accept one connection; False when none waits or none can be taken now."""
        try:
            handle, client = listener.accept()
        except BlockingIOError:
            return False
        except ConnectionError:
            return True  # it was reset while it waited in the queue
        except OSError as error:
            self._log(f"accept: {error.strerror}")
            self._loop.forget(listener.fileno())
            self._loop.later(_PAUSE, partial(self._resume, listener))
            return False
        handle.setblocking(False)
        try:
            endpoint = handle.getsockname()
        except OSError:
            handle.close()  # the network went away below it (the pod's namespace is being removed)
            return True
        behaviour, port = self._behaviour, endpoint[1]
        setting = partial(
            Setting,
            identity=self._identity,
            server=text(endpoint),
            client=text(client),
            log=self._log,
            behaviour=self._behaves,
        )
        self._connections[handle.fileno()] = Connection(
            self._loop,
            handle,
            setting,
            self._forget,
            tls=self._tls_context if port in behaviour.tls else None,
            proxied=port in behaviour.proxy_protocol,
        )
        return True

    def _behaves(self) -> Behaviour:
        return self._behaviour

    def _tls_context(self) -> SSLContext:
        """The context of all TLS connections, made with the first."""
        from wherry.pods.runtime.standin.tls import context

        if self._context is None:
            self._context = context(self._behaviour.certificate)
        return self._context

    def _resume(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.watch(listener.fileno(), READ, partial(self._accept, listener))

    def _forget(self, number: int) -> None:
        self._connections.pop(number, None)

    def _datagrams(self, handle: socket.socket, _: int) -> None:
        served: dict[str, tuple[int, int]] = {}
        for _turn in range(_BURST):
            try:
                data, ancillary, _flags, client = handle.recvmsg(65535, 256)
                handle.sendmsg([data], reply_from(ancillary), 0, client)
            except BlockingIOError:
                break
            except OSError:
                continue  # an earlier answer was refused or is unroutable: the datagram is lost, as UDP may
            count, size = served.get(client[0], (0, 0))
            served[client[0]] = (count + 1, size + len(data))
        for host, (count, size) in served.items():
            self._log(f"{plain(host)} udp echo, {count} datagram{'s' if count > 1 else ''}, {size} bytes")
