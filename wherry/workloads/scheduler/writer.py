"""What the scheduler writes: bindings, reasons, nominations, and the deletion of pods that make room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from wherry.kube import kinds
from wherry.kube.client import Client
from wherry.kube.keys import Key
from wherry.kube.objects import Pod
from wherry.workloads.nodes.disruption import disrupt
from wherry.workloads.scheduler.model import PREEMPTED, PodInfo
from wherry.workloads.storage.names import SELECTED_NODE

_AT_ONCE = 32
"""How many requests may be under way at once."""


class Writer:
    """Every method raises ApiError when the server refuses."""

    def __init__(self, client: Client, *, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def bind(self, pod: PodInfo, node: str) -> None:
        """Assign a pod to a node."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        async with self._slots:
            await self._client.create_subresource(
                kinds.PODS, pod.key.name, "binding", body, namespace=pod.key.namespace
            )

    async def report(self, pod: PodInfo, status: dict[str, Any]) -> None:
        """Write into a pod's status."""
        patch = {"metadata": {"uid": pod.uid}, "status": status}
        async with self._slots:
            await self._client.patch(
                kinds.PODS, pod.key.name, patch, namespace=pod.key.namespace, subresource="status", type="strategic"
            )

    async def select_node(self, claim: Key, node: str) -> None:
        """Tell a claim that waits for its first consumer where that will run."""
        patch = {"metadata": {"annotations": {SELECTED_NODE: node}}}
        async with self._slots:
            await self._client.patch(kinds.PERSISTENT_VOLUME_CLAIMS, claim.name, patch, namespace=claim.namespace)

    async def preempt(self, victim: Pod, scheduler: str) -> None:
        """Delete a pod that makes room, and say why in its conditions."""
        message = f"{scheduler}: preempting to accommodate a higher priority pod"
        async with self._slots:
            await disrupt(self._client, victim, reason=PREEMPTED, message=message, now=self._clock())
