"""Taking the tracking finalizer off pods."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.errors import ApiError, Conflict, NotFound
from wherry.kube.objects import Pod
from wherry.workloads.job.pods import FINALIZER, tracked

_AT_ONCE = 64
"""Requests under way at once for one job."""


async def take_off(client: Client, pod: Pod) -> Pod | None:
    """The pod without the finalizer, None when it is gone; ApiError when the server refuses."""
    patch = {"metadata": {"uid": pod.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
    try:
        return await client.patch(kinds.PODS, pod.name, patch, namespace=pod.namespace, type="strategic")
    except NotFound:
        return None
    except Conflict:
        # Gone too: another pod has its name.
        return None


async def take_off_all(client: Client, pods: Sequence[Pod]) -> list[tuple[Pod, Pod | ApiError | None]]:
    """Each pod that had the finalizer with what :func:`take_off` returned or raised."""
    outcomes: list[tuple[Pod, Pod | ApiError | None]] = []
    wanted = [pod for pod in pods if tracked(pod)]
    for start in range(0, len(wanted), _AT_ONCE):
        batch = wanted[start : start + _AT_ONCE]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_attempt(client, pod)) for pod in batch]
        outcomes += zip(batch, (task.result() for task in tasks), strict=True)
    return outcomes


async def _attempt(client: Client, pod: Pod) -> Pod | ApiError | None:
    try:
        return await take_off(client, pod)
    except ApiError as error:
        return error
