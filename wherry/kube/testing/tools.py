"""Small tools for tests of informers and controllers: run things for a while, see what handlers are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from wherry.kube.objects import ConfigMap, ObjectMeta


@asynccontextmanager
async def running(*coroutines: Coroutine[Any, Any, Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Run coroutines while the block runs and cancel them at its end; what one raises, the block raises."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()


def config_map(
    name: str, namespace: str = "default", *, labels: dict[str, str] | None = None, **data: str
) -> ConfigMap:
    """A ConfigMap: the object to use where the kind does not matter."""
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace, labels=labels or {}), data=data)


class Seen:
    """An informer handler that remembers its calls as ``name=v`` texts (``v`` from the ConfigMap's data)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str | None, str | None]] = []
        self._event = asyncio.Event()

    def __call__(self, old: Any, new: Any) -> None:
        """Take note of a call."""
        self.calls.append((_show(old), _show(new)))
        self._event.set()

    async def until(self, condition: Callable[[], bool], within: float = 5.0) -> None:
        """Wait until a condition holds, looked at after every call; TimeoutError after ``within`` seconds."""
        async with asyncio.timeout(within):
            while not condition():
                self._event.clear()
                await self._event.wait()

    def take(self) -> list[tuple[str | None, str | None]]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls


def _show(obj: Any) -> str | None:
    return None if obj is None else f"{obj.metadata.name}={obj.data.get('v', '')}"
