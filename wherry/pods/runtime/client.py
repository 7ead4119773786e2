"""The agent's side of the runtime socket.

`RuntimeClient.run` keeps one connection to the node's runtime process, through restarts of it. A request made while
there is none, or whose connection breaks before the answer, waits for the next one, up to ``patience`` seconds, and
then raises `RuntimeUnavailable`. All requests may be repeated: starting an id that runs, stopping or removing what is
gone answers what is true and changes nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from os import PathLike, fspath

from wherry.pods.model import Behaviour, ContainerSpec, ContainerState
from wherry.pods.runtime import exec as runtime_exec
from wherry.pods.runtime import protocol
from wherry.pods.runtime.exec import ExecSession
from wherry.pods.runtime.input import ProgramInput
from wherry.pods.runtime.programs import Programs

_CREDENTIALS = struct.Struct("3i")
_FIRST_RETRY = 0.02
_LAST_RETRY = 1.0


class RuntimeUnavailable(ConnectionError):
    """The runtime process cannot be reached now; its programs run on, ask again."""


class UnknownContainer(LookupError):
    """The runtime has no container of that id."""


class RuntimeRefused(Exception):
    """The runtime will not do that, for instance remove a container that still runs."""


class RuntimeClient:
    """Starts, stops and watches the containers of one node, and runs commands in them.

    Use: start `run` in a task group, then call the other methods from any task of the same loop.
    """

    def __init__(
        self, socket_path: str | PathLike[str], *, programs: Programs | None = None, patience: float = 5.0
    ) -> None:
        self._path = fspath(socket_path)
        self._programs = programs or Programs()
        self._patience = patience
        self._sequence = itertools.count(1)
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[protocol.Reply | None]] = {}
        self._states: dict[str, ContainerState] = {}
        self._subscribers: list[Callable[[ContainerState], None]] = []

    async def run(self) -> None:
        """Keep connected until cancelled; raises `protocol.ProtocolError` when the runtime talks nonsense."""
        delay = _FIRST_RETRY
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LAST_RETRY)
                continue
            delay = _FIRST_RETRY
            try:
                await self._serve(reader, writer)
            finally:
                self._disconnected()
                writer.close()

    @property
    def process(self) -> int:
        """The runtime's process id (unix(7), SO_PEERCRED), 0 while it is not connected."""
        handle = self._writer.get_extra_info("socket") if self._writer is not None else None
        if handle is None:
            return 0
        pid, _, _ = _CREDENTIALS.unpack(handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return int(pid)

    async def start(self, spec: ContainerSpec) -> ContainerState:
        """Start a container. One that cannot be started comes back as exited with reason ``StartError``."""
        return (await self._ask(protocol.Start(next(self._sequence), spec))).states[0]

    async def stop(self, container_id: str, *, grace: float) -> ContainerState:
        """SIGTERM now and SIGKILL after ``grace`` seconds (0: SIGKILL now); does not wait for the exit.

        A second call may shorten the grace. Raises `UnknownContainer`.
        """
        return (await self._ask(protocol.Stop(next(self._sequence), container_id, grace))).states[0]

    async def remove(self, container_id: str) -> None:
        """Forget an exited container; its log file stays. Raises `RuntimeRefused` while it runs."""
        await self._ask(protocol.Remove(next(self._sequence), container_id))
        self._states.pop(container_id, None)

    async def list(self) -> list[ContainerState]:
        """All containers the runtime knows, those that ran under a former runtime process included."""
        return list((await self._ask(protocol.List(next(self._sequence)))).states)

    async def inspect(self, container_id: str) -> tuple[ContainerState, ContainerSpec]:
        """State and spec of one container. Raises `UnknownContainer`."""
        reply = await self._ask(protocol.Inspect(next(self._sequence), container_id))
        if reply.spec is None:
            raise protocol.ProtocolError("inspect was answered without a spec")
        return reply.states[0], reply.spec

    async def behave(self, container_id: str, behaviour: Behaviour) -> None:
        """Let a stand-in answer otherwise from now on. Raises `UnknownContainer`."""
        await self._ask(protocol.Behave(next(self._sequence), container_id, behaviour))

    async def events(self) -> AsyncGenerator[ContainerState, None]:
        """The state of every container now, then each change, until cancelled.

        Level-triggered: several changes of one container that were not fetched yet collapse into the newest, and
        after a lost connection the state of every container comes again.
        """
        newest: dict[str, ContainerState] = dict(self._states)
        changed = asyncio.Event()
        changed.set()

        def notice(state: ContainerState) -> None:
            newest[state.id] = state
            changed.set()

        self._subscribers.append(notice)
        try:
            while True:
                await changed.wait()
                while newest:
                    yield newest.pop(next(iter(newest)))
                changed.clear()
        finally:
            self._subscribers.remove(notice)

    async def open_input(self, container_id: str) -> ProgramInput | None:
        """The input or terminal of a running program container, None where it has none or it has ended.

        Raises `UnknownContainer`, and `RuntimeRefused` where the kernel does not let us have it.
        """
        reply = await self._ask(protocol.Inspect(next(self._sequence), container_id))
        if reply.spec is None or not reply.keeper:
            return None
        try:
            return ProgramInput(reply.keeper, tty=reply.spec.tty)
        except ProcessLookupError:
            return None
        except OSError as error:
            raise RuntimeRefused(str(error)) from error

    async def exec(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        tty: bool = False,
        stdin: bool = False,
        size: tuple[int, int] | None = None,
    ) -> ExecSession:
        """Run a command in a running container.

        In a program container it joins the program's namespaces; a program whose process is not known yet is waited
        for. Beside a stand-in it runs through bubblewrap in the pod's network namespace with the container's
        environment, volumes and files. The command is a child of the calling process. ``size`` is (rows, columns) of
        the terminal when ``tty`` is set. Raises `UnknownContainer`, `RuntimeRefused` (not running) and
        `runtime_exec.ExecFailed` (no such program).
        """
        state, spec = await self.inspect(container_id)
        if state.phase == "running" and not state.stand_in and not state.pid:
            state = await self._settled(container_id)
        if state.phase != "running":
            raise RuntimeRefused(f"container {spec.name} of pod {spec.namespace}/{spec.pod} is not running")
        return await runtime_exec.open_session(
            spec, state, argv, programs=self._programs, tty=tty, stdin=stdin, size=size
        )

    async def _settled(self, container_id: str) -> ContainerState:
        """The state of a program once its process is known, or it has ended; told a moment after its start."""
        async with aclosing(self.events()) as states:
            async for state in states:
                if state.id == container_id and (state.pid or state.phase == "exited"):
                    return state
        raise UnknownContainer(container_id)

    async def _ask(self, request: protocol.Request) -> protocol.Reply:
        """One answer; a request that a lost connection swallowed is sent again on the next one."""
        try:
            async with asyncio.timeout(self._patience):
                reply = await self._ask_once(request)
                while reply is None:
                    reply = await self._ask_once(request)
        except TimeoutError:
            raise RuntimeUnavailable(f"no runtime process answers on {self._path}") from None
        if reply.error == protocol.UNKNOWN:
            raise UnknownContainer(reply.detail)
        if reply.error:
            raise RuntimeRefused(reply.detail)
        return reply

    async def _ask_once(self, request: protocol.Request) -> protocol.Reply | None:
        await self._connected.wait()
        writer = self._writer
        if writer is None:
            return None
        answer: asyncio.Future[protocol.Reply | None] = asyncio.get_running_loop().create_future()
        self._waiting[request.seq] = answer
        try:
            writer.write(protocol.encode(request))
            return await answer
        finally:
            self._waiting.pop(request.seq, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Subscribe, then hand out answers and events until the connection ends."""
        subscription = next(self._sequence)
        writer.write(protocol.encode(protocol.Subscribe(subscription)))
        decoder = protocol.answer_decoder()
        while True:
            try:
                data = await reader.read(65536)
            except ConnectionError:
                return
            if not data:
                return
            for message in decoder.feed(data):
                if isinstance(message, protocol.Event):
                    self._publish(message.state)
                elif message.seq == subscription:
                    self._states.clear()
                    for state in message.states:
                        self._publish(state)
                    self._writer = writer
                    self._connected.set()
                else:
                    waiting = self._waiting.get(message.seq)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(message)

    def _publish(self, state: ContainerState) -> None:
        self._states[state.id] = state
        for notice in self._subscribers:
            notice(state)

    def _disconnected(self) -> None:
        self._writer = None
        self._connected.clear()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)
