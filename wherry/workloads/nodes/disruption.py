"""Deleting a pod for the sake of its node: the reason stays in its conditions until it is gone."""

from __future__ import annotations

from typing import Any

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.errors import Conflict, NotFound
from wherry.kube.objects import Pod
from wherry.kube.times import format_time


async def disrupt(
    client: Client, pod: Pod, *, reason: str, message: str, now: float, phase: str = "", grace: int | None = None
) -> None:
    """Note the disruption in a pod that has not finished, and delete it; ApiError when the server refuses.

    Without ``reason`` only the phase is noted.
    """
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": format_time(now),
    }
    status: dict[str, Any] = {"conditions": [condition]} if reason else {}
    if phase:
        status["phase"] = phase
    patch = {"metadata": {"uid": pod.uid}, "status": status}
    try:
        if not pod.finished:
            await client.patch(
                kinds.PODS, pod.name, patch, namespace=pod.namespace, subresource="status", type="strategic"
            )
        await client.delete(kinds.PODS, pod.name, namespace=pod.namespace, uid=pod.uid, grace_seconds=grace)
    except (NotFound, Conflict):
        # Gone already; another pod may have its name by now.
        return
