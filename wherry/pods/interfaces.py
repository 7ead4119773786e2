"""What the pod controller needs of its neighbours. The real ones and the fakes of `wherry.pods.testing` both fit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from wherry.pods.api.backend import Input, Session
from wherry.pods.model import Behaviour, ContainerSpec, ContainerState
from wherry.pods.sandbox.model import Sandbox, SandboxSpec


class Runtime(Protocol):
    """The node's runtime process; `wherry.pods.runtime.client.RuntimeClient`, whose exceptions are part of this."""

    @property
    def process(self) -> int:
        """The runtime's process id, 0 while there is none."""
        ...

    async def start(self, spec: ContainerSpec) -> ContainerState:
        """Start a container; one that cannot be started comes back as exited."""
        ...

    async def stop(self, container_id: str, *, grace: float) -> ContainerState:
        """SIGTERM now, SIGKILL after `grace` seconds; does not wait."""
        ...

    async def remove(self, container_id: str) -> None:
        """Forget an exited container."""
        ...

    async def list(self) -> list[ContainerState]:
        """Return every container the runtime knows."""
        ...

    async def inspect(self, container_id: str) -> tuple[ContainerState, ContainerSpec]:
        """Return state and spec of one container."""
        ...

    async def behave(self, container_id: str, behaviour: Behaviour) -> None:
        """Let a stand-in answer otherwise from now on."""
        ...

    def events(self) -> AsyncIterator[ContainerState]:
        """Yield the state of every container, then every change."""
        ...

    async def open_input(self, container_id: str) -> Input | None:
        """Return the input of a running container, None where it has none or it has ended."""
        ...

    async def exec(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        tty: bool = ...,
        stdin: bool = ...,
        size: tuple[int, int] | None = ...,
    ) -> Session:
        """Run a command in a running container."""
        ...


class Sandboxes(Protocol):
    """The pod networks of the node; `wherry.pods.sandbox.manager.Sandboxes`."""

    @property
    def known(self) -> dict[str, Sandbox]:
        """The complete sandboxes, by pod uid."""
        ...

    async def adopt(self) -> dict[str, Sandbox]:
        """Take over what a former agent left, by pod uid; called once, first."""
        ...

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a complete sandbox, or return the one that exists. Any exception: it could not be made, try again."""
        ...

    async def remove(self, uid: str) -> None:
        """Take a sandbox down; one that does not exist is no error."""
        ...
