"""The runtime process: one node's containers behind a unix socket.

Several clients may be connected (an agent that restarts overlaps with its predecessor); requests are served one at a
time in the order they arrive. Containers belong to the process, not to a client: losing the agent changes nothing.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
from functools import partial

import msgspec
from msgspec import Struct

from wherry.pods.model import ContainerSpec, ContainerState
from wherry.pods.runtime import pause, protocol
from wherry.pods.runtime.logs import ContainerLog
from wherry.pods.runtime.loop import READ, WRITE, Loop
from wherry.pods.runtime.pause import Pause
from wherry.pods.runtime.program import Program
from wherry.pods.runtime.programs import Programs
from wherry.pods.runtime.records import Record, Records, valid_id
from wherry.pods.runtime.standin.container import StandInContainer

_MOST_UNSENT = 16 * 1024 * 1024
"""A client that lets more than this wait is cut off; it lists again when it reconnects."""


class Settings(Struct, frozen=True):
    """What a runtime process is started with."""

    socket: str
    """Path of the unix socket; kept short (108 bytes)."""
    state_dir: str
    """Directory on tmpfs for records and FIFOs; it must not outlive a reboot."""
    programs: Programs = Programs()


class AlreadyRunning(Exception):
    """Another runtime process serves this node."""


class _Client:
    """One connection and what still has to be sent on it."""

    def __init__(self, handle: socket.socket) -> None:
        self.handle = handle
        self.decoder = protocol.request_decoder()
        self.unsent = b""
        self.subscribed = False


class Service:
    """Serves requests on a loop until SIGTERM, which ends all containers of the node."""

    def __init__(self, settings: Settings, loop: Loop) -> None:
        self._settings = settings
        self._loop = loop
        self._records = Records(settings.state_dir)
        self._lock = _lock(os.path.join(settings.state_dir, "lock"))
        self._containers: dict[str, Program | StandInContainer] = {}
        self._clients: dict[int, _Client] = {}
        self._pauses: dict[str, Pause] = {}
        self._ending = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    def open(self) -> None:
        """Adopt what an earlier process left, then accept clients."""
        self._adopt()
        try:
            os.unlink(self._settings.socket)
        except FileNotFoundError:
            pass  # the ordinary first start
        os.makedirs(os.path.dirname(self._settings.socket), mode=0o700, exist_ok=True)
        self._listener.bind(self._settings.socket)
        os.chmod(self._settings.socket, 0o600)
        self._listener.listen(16)
        self._loop.watch(self._listener.fileno(), READ, self._accept)

    def end(self) -> None:
        """Kill every container and stop the loop once all have ended."""
        self._ending = True
        for container in list(self._containers.values()):
            container.stop(0)
        self._stop_when_idle()

    def close(self) -> None:
        """Release sockets; containers are not touched."""
        self._loop.forget(self._listener.fileno())
        self._listener.close()
        for client in list(self._clients.values()):
            self._drop(client)
        os.close(self._lock)

    def handle(self, request: protocol.Request) -> protocol.Reply:
        """Carry out one request."""
        match request:
            case protocol.Start():
                return self._start(request.seq, request.spec)
            case protocol.List() | protocol.Subscribe():
                return protocol.Reply(request.seq, states=tuple(c.state for c in self._containers.values()))
            case protocol.Remove():
                return self._remove(request.seq, request.id)
        container = self._containers.get(request.id)
        if container is None:
            return protocol.Reply(request.seq, error=protocol.UNKNOWN, detail=f"no container {request.id}")
        if isinstance(request, protocol.Inspect):
            record = self._records.load(request.id)
            return protocol.Reply(request.seq, states=(container.state,), spec=record.spec, keeper=record.keeper)
        if isinstance(request, protocol.Behave):
            if isinstance(container, StandInContainer):
                container.behave(request.behaviour)
            return protocol.Reply(request.seq, states=(container.state,))
        container.stop(request.grace)
        return protocol.Reply(request.seq, states=(container.state,))

    def _start(self, seq: int, spec: ContainerSpec) -> protocol.Reply:
        known = self._containers.get(spec.id)
        if known is not None:
            return protocol.Reply(seq, states=(known.state,))
        if self._ending or not valid_id(spec.id):
            why = "the runtime is ending" if self._ending else f"{spec.id!r} is not a container id"
            return protocol.Reply(seq, error=protocol.REFUSED, detail=why)
        state = ContainerState(
            id=spec.id,
            pod_uid=spec.pod_uid,
            name=spec.name,
            phase="running",
            started_at=time.time(),
            stand_in=spec.argv is None,
        )
        record = Record(spec, state)
        container: Program | StandInContainer
        if spec.argv is None:
            container = StandInContainer(self._loop, self._records, record, self._publish)
            self._containers[spec.id] = container
            container.start(record)
        else:
            container = Program(self._loop, self._records, record, self._publish)
            self._containers[spec.id] = container
            target = self._containers.get(spec.target)
            container.start(
                self._settings.programs,
                target=target.state.pid if target is not None else 0,
                shared=partial(self._shared, spec) if spec.share_pids else None,
            )
        return protocol.Reply(seq, states=(container.state,))

    def _shared(self, spec: ContainerSpec) -> Pause:
        """What holds the pid namespace of a pod; made for its first program. Raises LaunchError, OSError."""
        known = self._pauses.get(spec.pod_uid)
        if known is not None and known.alive:
            return known
        made = pause.start(spec, programs=self._settings.programs)
        self._pauses[spec.pod_uid] = made
        return made

    def _end_shared(self, pod_uid: str) -> None:
        """End a pod's pid namespace once none of its containers runs."""
        if pod_uid not in self._pauses:
            return
        if not any(c.state.pod_uid == pod_uid and c.state.phase == "running" for c in self._containers.values()):
            pause.end(self._pauses.pop(pod_uid))

    def _remove(self, seq: int, container_id: str) -> protocol.Reply:
        container = self._containers.get(container_id)
        if container is None:
            return protocol.Reply(seq)
        if container.state.phase != "exited":
            return protocol.Reply(seq, error=protocol.REFUSED, detail=f"container {container_id} still runs")
        del self._containers[container_id]
        self._records.delete(container_id)
        return protocol.Reply(seq, states=(container.state,))

    def _adopt(self) -> None:
        """Programs run on or have ended; stand-ins lived in the process that is gone, so they have ended."""
        records, unreadable = self._records.load_all()
        for name in unreadable:
            print(f"{self._settings.state_dir}/{name} cannot be read and is left alone", file=sys.stderr, flush=True)
        for record in records:
            if record.pause.alive:
                self._pauses[record.spec.pod_uid] = record.pause
            if record.spec.argv is not None:
                program = Program(self._loop, self._records, record, self._publish)
                if record.state.phase == "running" and not program.adopt():
                    self._records.delete(record.spec.id)
                    continue
                self._containers[record.spec.id] = program
                continue
            if record.state.phase == "running":
                ended = msgspec.structs.replace(
                    record.state,
                    phase="exited",
                    finished_at=time.time(),
                    exit_code=137,
                    reason="Error",
                    message="the runtime process was restarted",
                )
                record = msgspec.structs.replace(record, state=ended)
                self._records.save(record)
                log = ContainerLog(record.spec.log_path, keep_open=False)
                log.write("stderr", b"the runtime process was restarted\n")
            self._containers[record.spec.id] = StandInContainer(self._loop, self._records, record, self._publish)
        for pod_uid in list(self._pauses):
            self._end_shared(pod_uid)

    def _publish(self, state: ContainerState) -> None:
        if state.phase == "exited":
            self._end_shared(state.pod_uid)
        frame = protocol.encode(protocol.Event(state))
        for client in list(self._clients.values()):
            if client.subscribed:
                self._send(client, frame)
        self._stop_when_idle()

    def _stop_when_idle(self) -> None:
        if self._ending and all(c.state.phase == "exited" for c in self._containers.values()):
            self._loop.stop()

    def _accept(self, _: int) -> None:
        try:
            handle, _address = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        handle.setblocking(False)
        client = _Client(handle)
        self._clients[handle.fileno()] = client
        self._loop.watch(handle.fileno(), READ, partial(self._serve, client))

    def _serve(self, client: _Client, mask: int) -> None:
        if mask & WRITE:
            self._send(client, b"")
        if not mask & ~WRITE or client.handle.fileno() not in self._clients:
            return
        try:
            data = client.handle.recv(65536)
            requests = client.decoder.feed(data)
        except BlockingIOError:
            return
        except (OSError, protocol.ProtocolError) as error:
            print(f"client cut off: {error}", file=sys.stderr, flush=True)
            self._drop(client)
            return
        if not data:
            self._drop(client)
            return
        for request in requests:
            reply = self.handle(request)
            self._send(client, protocol.encode(reply))
            if isinstance(request, protocol.Subscribe):
                client.subscribed = True

    def _send(self, client: _Client, frame: bytes) -> None:
        number = client.handle.fileno()
        if number not in self._clients:
            return
        client.unsent += frame
        try:
            client.unsent = client.unsent[client.handle.send(client.unsent) :]
        except BlockingIOError:
            pass  # goes out when epoll says so
        except OSError:
            self._drop(client)
            return
        if len(client.unsent) > _MOST_UNSENT:
            self._drop(client)
            return
        self._loop.watch(number, READ | (WRITE if client.unsent else 0), partial(self._serve, client))

    def _drop(self, client: _Client) -> None:
        number = client.handle.fileno()
        if self._clients.pop(number, None) is not None:
            self._loop.forget(number)
            client.handle.close()


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises `AlreadyRunning`."""
    loop = Loop()
    service = Service(settings, loop)
    ending = False

    def asked_to_end(*_: object) -> None:
        nonlocal ending
        if not ending:
            ending = True
            loop.interrupt(service.end)

    loop.wake_on_signals()
    signal.signal(signal.SIGTERM, asked_to_end)
    signal.signal(signal.SIGINT, asked_to_end)
    service.open()
    loop.run()
    service.close()
    loop.close()


def _lock(path: str) -> int:
    """Hold a file lock as long as this process lives."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise AlreadyRunning(f"another runtime process holds {path}") from None
    return fd
