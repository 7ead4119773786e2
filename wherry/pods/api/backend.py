"""What the kubelet API asks of the pod controller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from wherry.kube.objects import Pod
from wherry.pods.api.stats import NodeSeen


class Refused(Exception):
    """The request cannot be served; `code` is the HTTP status, the text what the user reads."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class End:
    """Something that happens once, such as a container's end; subscribers are called then, or at once if it has."""

    def __init__(self) -> None:
        self._happened = False
        self._subscribers: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return self._happened

    def happen(self) -> None:
        """Call every subscriber; a second call does nothing."""
        if not self._happened:
            self._happened = True
            for notify in self._subscribers:
                notify()
            self._subscribers.clear()

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Call `notify` when it happens; the function returned takes that back."""
        if self._happened:
            notify()
            return lambda: None
        self._subscribers.append(notify)
        return lambda: self._subscribers.remove(notify) if notify in self._subscribers else None


class Log(msgspec.Struct, frozen=True):
    """One container's log file and the end of the container that writes it."""

    path: Path
    ended: End


class Session(Protocol):
    """Streams of a container: of a command run in it (`wherry.pods.runtime.exec.ExecSession`) or its own
    (`wherry.pods.api.attach.Attachment`).
    """

    async def read_stdout(self, limit: int = ...) -> bytes:
        """Return the next bytes, empty at the end."""
        ...

    async def read_stderr(self, limit: int = ...) -> bytes:
        """Return the next bytes, empty at the end."""
        ...

    async def write_stdin(self, data: bytes) -> None:
        """Write to the command's input."""
        ...

    def close_stdin(self) -> None:
        """End the command's input."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size."""
        ...

    async def wait(self) -> int:
        """Return the exit code."""
        ...

    async def close(self) -> None:
        """Free what is held; a command that still runs is killed."""
        ...


class Input(Protocol):
    """A container's standard input or terminal; `wherry.pods.runtime.input.ProgramInput` is one."""

    async def write(self, data: bytes) -> None:
        """Write all of it."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size."""
        ...

    def end(self) -> None:
        """End the container's input for good."""
        ...

    def close(self) -> None:
        """Give it back without ending it."""
        ...


class Backend(Protocol):
    """The pods of this node, as the API serves them."""

    def pods(self) -> list[Pod]:
        """Return every pod of the node."""
        ...

    def seen(self) -> NodeSeen:
        """Return the node's pods and its own processes, to read from /proc what they use."""
        ...

    def running_containers(self) -> int:
        """Return how many containers run."""
        ...

    def log(self, namespace: str, pod: str, container: str, *, previous: bool) -> Log:
        """Find a container's log. Raises `Refused`."""
        ...

    async def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, tty: bool, stdin: bool
    ) -> Session:
        """Run a command in a container. Raises `Refused`."""
        ...

    async def attach(self, namespace: str, pod: str, container: str, *, stdin: bool) -> Session:
        """Join a running container's streams, with `stdin` its input as well. Raises `Refused`."""
        ...

    async def connect(self, namespace: str, pod: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to a port of the pod's own loopback. Raises `Refused`, OSError."""
        ...
