"""Making and deleting pods for a controller: in growing batches, with events, remembered as expectations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.errors import ApiError, Conflict, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.kinds import Kind
from wherry.kube.objects import KubeObject, Pod
from wherry.workloads.expectations import Expectations
from wherry.workloads.kinds import reference

T = TypeVar("T")

BURST = 500
"""The most pods made or deleted in one go; the rest follows when the cache has caught up."""

_LARGEST_BATCH = 64
"""Requests under way at once for one owner."""


class PodControl:
    """Pods on behalf of owners of one kind."""

    def __init__(
        self, client: Client, recorder: EventRecorder, owner_kind: Kind[Any], expectations: Expectations
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._kind = owner_kind
        self.expectations = expectations

    async def create(self, owner: KubeObject, pods: Sequence[dict[str, Any]]) -> list[ApiError]:
        """Create pods in batches of 1, 2, 4, … so that a refusal (quota, say) costs one request and not hundreds.

        The errors of the batch that failed, after which no more are made; empty when all went well.
        """
        return await slow_start(pods, lambda pod: self._create(owner, pod))

    async def delete(self, owner: KubeObject, pods: Sequence[Pod]) -> list[ApiError]:
        """Delete pods; the errors, empty when all went well."""
        errors: list[ApiError] = []
        for start in range(0, len(pods), _LARGEST_BATCH):
            batch = pods[start : start + _LARGEST_BATCH]
            outcomes = await _all(*(self._delete(owner, pod) for pod in batch))
            errors += [outcome for outcome in outcomes if outcome is not None]
        return errors

    async def _create(self, owner: KubeObject, pod: dict[str, Any]) -> ApiError | None:
        self.expectations.begin(owner.uid)
        made: Pod | None = None
        try:
            made = await self._client.create(kinds.PODS, cast("Pod", pod), namespace=owner.namespace)
        except ApiError as error:
            if not is_terminating(error):
                self._event(owner, "Warning", "FailedCreate", f"Error creating: {error}")
            return error
        finally:
            self.expectations.created(owner.uid, made)
        self._event(owner, "Normal", "SuccessfulCreate", f"Created pod: {made.name}")
        return None

    async def _delete(self, owner: KubeObject, pod: Pod) -> ApiError | None:
        try:
            await self._client.delete(kinds.PODS, pod.name, namespace=pod.namespace, uid=pod.uid)
        except (NotFound, Conflict):
            # Gone already, or another pod has its name by now.
            return None
        except ApiError as error:
            self._event(owner, "Warning", "FailedDelete", f"Error deleting: {error}")
            return error
        self.expectations.deleted(owner.uid, pod)
        self._event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.name}")
        return None

    def _event(self, owner: KubeObject, type_: str, reason: str, message: str) -> None:
        self._recorder.event(reference(self._kind, owner), type_, reason, message)


def is_terminating(error: ApiError) -> bool:
    """Whether the server refused to create something because its namespace is being deleted."""
    causes = (error.status.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


async def slow_start(items: Sequence[T], act: Callable[[T], Awaitable[ApiError | None]]) -> list[ApiError]:
    """Act on items at once in batches of 1, 2, 4, …; the errors of the batch that failed, after which none follows."""
    size, start = 1, 0
    while start < len(items):
        batch = items[start : start + size]
        outcomes = await _all(*(act(item) for item in batch))
        if errors := [outcome for outcome in outcomes if outcome is not None]:
            return errors
        start += len(batch)
        size = min(size * 2, _LARGEST_BATCH)
    return []


async def _all(*coroutines: Any) -> list[ApiError | None]:
    """Run all at once and collect what they return."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
    return [task.result() for task in tasks]
