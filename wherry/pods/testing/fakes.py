"""Fakes of the pod controller's neighbours: a runtime and pod networks in memory, as complete as the real ones.

`FakeRuntime` keeps every promise of `wherry.pods.runtime.client.RuntimeClient` (repeatable requests, events that begin
with what there is, exits after a grace period) and lets a test decide what containers do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self

import msgspec

from wherry.pods.model import Behaviour, ContainerSpec, ContainerState
from wherry.pods.runtime.client import RuntimeRefused, RuntimeUnavailable, UnknownContainer
from wherry.pods.sandbox.model import Sandbox, SandboxSpec


class FakeSession:
    """A command that has already decided what it says; with `echo` it gives back its input until that ends."""

    def __init__(self, *, stdout: bytes = b"", stderr: bytes = b"", code: int = 0, echo: bool = False) -> None:
        self._out: asyncio.Queue[bytes] = asyncio.Queue()
        self._err: asyncio.Queue[bytes] = asyncio.Queue()
        self._ended = asyncio.Event()
        self._code = code
        self.sizes: list[tuple[int, int]] = []
        self.closed = False
        self._err.put_nowait(stderr)
        self._out.put_nowait(stdout)
        self._echo = echo
        if stderr:
            self._err.put_nowait(b"")
        if not echo:
            self._finish()

    def _finish(self) -> None:
        self._out.put_nowait(b"")
        self._err.put_nowait(b"")
        self._ended.set()

    async def read_stdout(self, limit: int = 65536) -> bytes:
        """Return the next bytes, empty at the end."""
        while True:
            data = await self._out.get()
            if data or self._ended.is_set():
                return data

    async def read_stderr(self, limit: int = 65536) -> bytes:
        """Return the next bytes, empty at the end."""
        return await self._err.get()

    async def write_stdin(self, data: bytes) -> None:
        """Take input."""
        if self._echo and not self._ended.is_set():
            self._out.put_nowait(data)

    def close_stdin(self) -> None:
        """End the input, and with it the command."""
        if not self._ended.is_set():
            self._finish()

    def resize(self, rows: int, columns: int) -> None:
        """Note the size."""
        self.sizes.append((rows, columns))

    async def wait(self) -> int:
        """Return the exit code once the command has ended."""
        await self._ended.wait()
        return self._code

    async def close(self) -> None:
        """Kill the command."""
        self.closed = True
        if not self._ended.is_set():
            self._finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class FakeInput:
    """Notes what is done with a container's input."""

    def __init__(self) -> None:
        self.written: asyncio.Queue[bytes] = asyncio.Queue()
        self.sizes: list[tuple[int, int]] = []
        self.ended = self.closed = False

    async def write(self, data: bytes) -> None:
        """Take input."""
        self.written.put_nowait(data)

    def resize(self, rows: int, columns: int) -> None:
        """Note the size."""
        self.sizes.append((rows, columns))

    def end(self) -> None:
        """Note the end."""
        self.ended = True

    def close(self) -> None:
        """Note that it was given back."""
        self.closed = True


class FakeRuntime:
    """A runtime whose containers run until they are stopped or a test ends them.

    `stubborn` names containers that ignore SIGTERM; `broken` gives, by container name, the message with which a start
    fails; `commands` decides what an exec does.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._states: dict[str, ContainerState] = {}
        self._subscribers: list[Callable[[ContainerState], None]] = []
        self._kills: dict[str, asyncio.TimerHandle] = {}
        self._available = asyncio.Event()
        self._available.set()
        self.patience = 0.05
        self.specs: dict[str, ContainerSpec] = {}
        self.calls: list[tuple[str, str]] = []
        self.called = asyncio.Event()
        """Set by every request; a test clears it."""
        self.stubborn: set[str] = set()
        self.broken: dict[str, str] = {}
        self.inputs: list[FakeInput] = []
        """Every input that was opened."""
        self.commands: Callable[[ContainerSpec, tuple[str, ...]], FakeSession] = lambda _spec, _argv: FakeSession()

    # -- what a test does ----------------------------------------------------------------------------------------

    def exit(self, container_id: str, code: int = 0, *, message: str = "", reason: str = "") -> None:
        """End a container as if its program had."""
        state = self._states[container_id]
        if state.phase == "exited":
            return
        timer = self._kills.pop(container_id, None)
        if timer is not None:
            timer.cancel()
        self._publish(
            msgspec.structs.replace(
                state,
                phase="exited",
                finished_at=self._clock(),
                exit_code=code,
                reason=reason or ("Completed" if code == 0 else "Error"),
                message=message,
                pid=0,
            )
        )

    def running(self) -> dict[str, ContainerSpec]:
        """Return the specs of what runs, by container name."""
        return {
            self.specs[id_].name: self.specs[id_] for id_, state in self._states.items() if state.phase == "running"
        }

    def disconnect(self) -> None:
        """Refuse every request until `reconnect`; what runs runs on."""
        self._available.clear()

    def reconnect(self) -> None:
        """Answer again, and tell subscribers everything anew."""
        self._available.set()
        for state in list(self._states.values()):
            self._tell(state)

    # -- what RuntimeClient offers -------------------------------------------------------------------------------

    async def start(self, spec: ContainerSpec) -> ContainerState:
        """Start a container, or answer its state if it was started before."""
        await self._ready("start", spec.id)
        known = self._states.get(spec.id)
        if known is not None:
            return known
        now = self._clock()
        failure = self.broken.get(spec.name)
        state = ContainerState(
            id=spec.id,
            pod_uid=spec.pod_uid,
            name=spec.name,
            phase="running" if failure is None else "exited",
            started_at=now,
            stand_in=spec.argv is None,
            pid=0 if failure is not None or spec.argv is None else 1000 + len(self._states),
            finished_at=0.0 if failure is None else now,
            exit_code=0 if failure is None else 128,
            reason="" if failure is None else "StartError",
            message=failure or "",
        )
        self.specs[spec.id] = spec
        self._publish(state)
        return state

    @property
    def process(self) -> int:
        """There is none."""
        return 0

    async def inspect(self, container_id: str) -> tuple[ContainerState, ContainerSpec]:
        """Return state and spec of one container."""
        await self._ready("inspect", container_id)
        if container_id not in self._states:
            raise UnknownContainer(container_id)
        return self._states[container_id], self.specs[container_id]

    async def behave(self, container_id: str, behaviour: Behaviour) -> None:
        """Let a stand-in answer otherwise from now on."""
        await self._ready("behave", container_id)
        if container_id not in self._states:
            raise UnknownContainer(container_id)
        self.specs[container_id] = msgspec.structs.replace(self.specs[container_id], behaviour=behaviour)

    async def stop(self, container_id: str, *, grace: float) -> ContainerState:
        """End a container, a stubborn one only when the grace is over."""
        await self._ready("stop", container_id)
        state = self._known(container_id)
        if state.phase == "exited":
            return state
        timer = self._kills.pop(container_id, None)
        if timer is not None:
            timer.cancel()
        if grace <= 0:
            self.exit(container_id, 137)
        elif state.name in self.stubborn:
            loop = asyncio.get_running_loop()
            self._kills[container_id] = loop.call_later(grace, self.exit, container_id, 137)
        else:
            self.exit(container_id, 0 if state.stand_in else 143)
        return self._states[container_id]

    async def remove(self, container_id: str) -> None:
        """Forget an exited container."""
        await self._ready("remove", container_id)
        state = self._states.get(container_id)
        if state is not None and state.phase == "running":
            raise RuntimeRefused(f"container {container_id} is running")
        self._states.pop(container_id, None)
        self.specs.pop(container_id, None)

    async def list(self) -> list[ContainerState]:
        """Return every container."""
        await self._ready("list", "")
        return [*self._states.values()]

    async def events(self) -> AsyncIterator[ContainerState]:
        """Yield the state of every container, then every change; changes not fetched yet collapse."""
        newest = dict(self._states)
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

    async def open_input(self, container_id: str) -> FakeInput | None:
        """Return a new input of a container that has one."""
        await self._ready("open_input", container_id)
        self._known(container_id)
        spec = self.specs[container_id]
        if not spec.stdin and not spec.tty:
            return None
        self.inputs.append(FakeInput())
        return self.inputs[-1]

    async def exec(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        tty: bool = False,
        stdin: bool = False,
        size: tuple[int, int] | None = None,
    ) -> FakeSession:
        """Run a command in a running container."""
        await self._ready("exec", container_id)
        if self._known(container_id).phase != "running":
            raise RuntimeRefused(f"container {container_id} is not running")
        return self.commands(self.specs[container_id], tuple(argv))

    # -- inside --------------------------------------------------------------------------------------------------

    async def _ready(self, call: str, container_id: str) -> None:
        self.calls.append((call, container_id))
        self.called.set()
        try:
            async with asyncio.timeout(self.patience):
                await self._available.wait()
        except TimeoutError:
            raise RuntimeUnavailable("the fake runtime is disconnected") from None

    def _known(self, container_id: str) -> ContainerState:
        try:
            return self._states[container_id]
        except KeyError:
            raise UnknownContainer(container_id) from None

    def _publish(self, state: ContainerState) -> None:
        self._states[state.id] = state
        if self._available.is_set():
            self._tell(state)

    def _tell(self, state: ContainerState) -> None:
        for notice in list(self._subscribers):
            notice(state)


class FakeSandboxes:
    """Pod networks that exist in memory only. `failures` are raised, one after the other, by the next creations."""

    def __init__(self, *, prefix: str = "10.42.0.") -> None:
        self._prefix = prefix
        self._sandboxes: dict[str, Sandbox] = {}
        self._next = 2
        self.failures: list[Exception] = []
        self.called = asyncio.Event()
        """Set by every request; a test clears it."""
        self.specs: dict[str, SandboxSpec] = {}

    @property
    def known(self) -> dict[str, Sandbox]:
        """Every sandbox, by pod uid."""
        return dict(self._sandboxes)

    async def adopt(self) -> dict[str, Sandbox]:
        """Return every sandbox, by pod uid."""
        return self.known

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Return a sandbox with the next address."""
        self.called.set()
        if self.failures:
            raise self.failures.pop(0)
        found = self._sandboxes.get(spec.uid)
        if found is None:
            found = Sandbox(
                uid=spec.uid,
                namespace=spec.namespace,
                name=spec.name,
                hostname=spec.hostname,
                netns=None if spec.host_network else f"/run/netns/{spec.uid}",
                addresses=() if spec.host_network else (f"{self._prefix}{self._next}",),
            )
            self._next += 1
            self._sandboxes[spec.uid] = found
            self.specs[spec.uid] = spec
        return found

    async def remove(self, uid: str) -> None:
        """Forget a sandbox."""
        self.called.set()
        self._sandboxes.pop(uid, None)
