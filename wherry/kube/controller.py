"""The loop every controller runs: keys out of a queue, one reconcile at a time per key, errors into retries."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass

from wherry.kube.errors import ApiError, Conflict, ServerUnavailable
from wherry.kube.keys import Key
from wherry.kube.objects import KubeObject
from wherry.kube.workqueue import Backoff, QueueClosed, WorkQueue


@dataclass(frozen=True, slots=True)
class Result:
    """All went well; look again after this many seconds."""

    requeue_after: float


class RetryAfter(Exception):
    """Not done yet, and it is known when to try again (seconds)."""

    def __init__(self, seconds: float, message: str = "") -> None:
        super().__init__(message or f"again in {seconds:g} s")
        self.seconds = seconds


class Terminal(Exception):
    """Trying again cannot help until something changes."""


class Controller(ABC):
    """A level-triggered controller: handlers add keys to ``queue``, :meth:`reconcile` makes the world fit.

    What a reconcile raises decides what happens to its key: ``RetryAfter`` waits as long as it says, ``Terminal`` is
    logged and dropped, a lost write race (``Conflict``) and an absent server are retried quietly with growing pauses,
    any other refusal of the API server (``ApiError``) is told in one line and retried so, anything else is logged with
    its traceback and retried with growing pauses.
    """

    name: str = "controller"
    workers: int = 1

    def __init__(self, *, backoff: Backoff | None = None) -> None:
        self.queue: WorkQueue[Key] = WorkQueue(backoff=backoff or Backoff())
        self.outcomes: Counter[str] = Counter()
        self._log = logging.getLogger(f"wherry.{self.name}")

    @abstractmethod
    async def reconcile(self, key: Key) -> Result | None:
        """Make the world fit the object of that key, which may be gone; must be safe to repeat at any time."""

    async def prepare(self) -> None:  # noqa: B027 - nothing to wait for is a fine answer
        """Wait for what reconciling needs (informers synced); called once before the first key is handed out."""

    def enqueue(self, old: KubeObject | None, new: KubeObject | None) -> None:
        """An informer handler that queues the object's own key."""
        obj = new if new is not None else old
        if obj is not None:
            self.queue.add(obj.key)

    def enqueue_owner(self, kind: str) -> _OwnerHandler:
        """An informer handler that queues the controlling owner, before and after, when it is of that kind."""
        return _OwnerHandler(self.queue, kind)

    async def run(self) -> None:
        """Work until cancelled."""
        await self.prepare()
        async with asyncio.TaskGroup() as group:
            for number in range(self.workers):
                group.create_task(self._work(), name=f"{self.name} worker {number}")

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            try:
                await self._handle(key)
            finally:
                self.queue.done(key)

    async def _handle(self, key: Key) -> None:
        try:
            result = await self.reconcile(key)
        except RetryAfter as error:
            self.outcomes["retry_after"] += 1
            self._log.debug("%s: %s", key, error)
            self.queue.forget(key)
            self.queue.add_after(key, error.seconds)
        except Terminal as error:
            self.outcomes["terminal"] += 1
            self._log.warning("%s: %s", key, error)
            self.queue.forget(key)
        except (Conflict, ServerUnavailable) as error:
            self.outcomes["retry"] += 1
            self._log.info("%s: %s", key, error)
            self.queue.add_rate_limited(key)
        except ApiError as error:
            self.outcomes["error"] += 1
            self._log.warning("%s: refused (attempt %d): %s", key, self.queue.failures(key) + 1, error)
            self.queue.add_rate_limited(key)
        except Exception:
            self.outcomes["error"] += 1
            self._log.exception("%s: reconcile failed (attempt %d)", key, self.queue.failures(key) + 1)
            self.queue.add_rate_limited(key)
        else:
            self.outcomes["ok"] += 1
            self.queue.forget(key)
            if result is not None:
                self.queue.add_after(key, result.requeue_after)


@dataclass(frozen=True, slots=True)
class _OwnerHandler:
    queue: WorkQueue[Key]
    kind: str

    def __call__(self, old: KubeObject | None, new: KubeObject | None) -> None:
        for obj in (old, new):
            owner = obj.metadata.controller if obj is not None else None
            if obj is not None and owner is not None and owner.kind == self.kind:
                self.queue.add(Key(obj.namespace, owner.name))
