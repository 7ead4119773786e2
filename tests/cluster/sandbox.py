"""A whole sandbox as a test drives it: the two programs a user has, and a watch to wait on."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from wherry.kube.client import Client
from wherry.kube.endpoint import Endpoint
from wherry.kube.errors import ServerUnavailable
from wherry.kube.kinds import Kind
from wherry.kube.wire import name_of
from wherry.sandbox.kubectl import find_kubectl

T = TypeVar("T")

WHERRY = str(Path(sys.executable).with_name("wherry"))
SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
WITHIN = 30.0
"""Seconds a test waits for something that normally takes a fraction of one."""


class Failed(AssertionError):
    """A program ended with another exit code than the test expects; the message shows what it said."""


@dataclass(frozen=True)
class Said:
    """How a program ended and what it wrote."""

    code: int
    out: str
    err: str


def run(argv: Sequence[str], *, env: dict[str, str], stdin: str = "", code: int | None = 0, within: float = 60) -> Said:
    """Run a program to its end. ``code`` is the exit code to insist on, None for any."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, env=env, timeout=within, check=False)
    if code is not None and done.returncode != code:
        raise Failed(f"{' '.join(argv)}: exit code {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}")
    return Said(done.returncode, done.stdout, done.stderr)


class Sandbox:
    """A sandbox of a name in a state folder; it need not be running."""

    def __init__(self, home: Path, name: str) -> None:
        self.home = home
        self.name = name
        self.directory = home / name
        self.kubeconfig = self.directory / "kubeconfig"
        # Nothing of the caller's own configuration may decide what a test sees.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("WHERRY_", "K3S_", "KUBE"))}
        self.env = {**kept, "WHERRY_STATE_DIR": str(home), "KUBECONFIG": str(self.kubeconfig), "HOME": str(home)}
        self._kubectl = str(find_kubectl(os.environ))

    def wherry(self, command: str, *arguments: str, code: int | None = 0, within: float = 90) -> Said:
        """`wherry COMMAND --name THIS ...`; a command of two words takes the name after both."""
        return run(self.wherry_argv(command, *arguments), env=self.env, code=code, within=within)

    def wherry_argv(self, command: str, *arguments: str) -> list[str]:
        """The command line of `wherry`, for a test that starts the program itself, with ``env``."""
        return [WHERRY, *command.split(), "--name", self.name, *arguments]

    def up(self, *arguments: str, code: int | None = 0) -> Said:
        """`wherry up` on any free port."""
        return self.wherry("up", *arguments, code=code)

    def kubectl(self, *arguments: str, stdin: str = "", code: int | None = 0, within: float = 60) -> Said:
        """The real kubectl."""
        return run(self.kubectl_argv(*arguments), env=self.env, stdin=stdin, code=code, within=within)

    def kubectl_argv(self, *arguments: str) -> list[str]:
        """A kubectl command line for a test that starts the program itself, with ``env``."""
        return [self._kubectl, *arguments]

    def get(self, *arguments: str) -> Any:
        """`kubectl get ... -o json`."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json").out)

    def apply(self, *objects: dict[str, Any], namespace: str = "default") -> None:
        """`kubectl apply` of objects written as dictionaries."""
        self.kubectl("-n", namespace, "apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def status(self) -> Any:
        """`wherry status -o json`, of a sandbox that need not be healthy."""
        return json.loads(self.wherry("status", "-o", "json", code=None).out)

    def pid(self, process: str) -> int:
        """The process id of one of the sandbox's processes."""
        return next(int(p["pid"]) for p in self.status()["processes"] if p["name"] == process)

    def until(
        self,
        kind: Kind[T],
        condition: Callable[[list[T]], object],
        *,
        namespace: str | None = None,
        within: float = WITHIN,
    ) -> list[T]:
        """Watch a kind until ``condition`` holds for all its objects, and return them."""
        return asyncio.run(self._until(kind, condition, namespace, within))

    async def _until(
        self, kind: Kind[T], condition: Callable[[list[T]], object], namespace: str | None, within: float
    ) -> list[T]:
        found: dict[tuple[str, str], T] = {}
        async with Client(Endpoint.from_kubeconfig(self.kubeconfig)) as client:
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    while True:
                        with suppress(ServerUnavailable):
                            async with aclosing(self._states(client, kind, namespace)) as states:
                                async for found in states:
                                    if condition([*found.values()]):
                                        return [*found.values()]
        seen = "\n".join(str(each) for each in found.values())
        raise AssertionError(f"within {within:g} s the {kind.plural} did not come to what was expected:\n{seen}")

    @staticmethod
    async def _states(
        client: Client, kind: Kind[T], namespace: str | None
    ) -> AsyncGenerator[dict[tuple[str, str], T], None]:
        listed = await client.list(kind, namespace=namespace)
        found = {name_of(obj): obj for obj in listed.items}
        yield found
        stream = client.watch(kind, namespace=namespace, resource_version=listed.resource_version, bookmarks=False)
        async with aclosing(stream) as events:
            async for event in events:
                if event.type == "DELETED":
                    found.pop(name_of(event.object), None)
                else:
                    found[name_of(event.object)] = event.object
                yield found
