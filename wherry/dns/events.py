"""Problems of a name server's configuration as events in the cluster, on the ConfigMap that it comes from.

Only a server in a pod writes them: it has a service account, and those on nodes read the same configuration.
"""

from __future__ import annotations

import asyncio
import os

from wherry.dns.corefile.model import Problem
from wherry.kube.client import Client
from wherry.kube.endpoint import ConfigError, Endpoint
from wherry.kube.events import EventRecorder
from wherry.kube.objects import ObjectReference

COMPONENT = "coredns"
CONFIG, CUSTOM = "coredns", "coredns-custom"
_CUSTOM_FOLDER = "/custom/"
_QUEUED = 100


class Announcer:
    """Takes problems at any time; run() tells the cluster of them. Outside of a pod it does nothing."""

    def __init__(self) -> None:
        self._problems: asyncio.Queue[Problem] = asyncio.Queue(_QUEUED)

    def tell(self, problem: Problem) -> None:
        """Remember a problem; those beyond what the cluster can take are dropped, as they are in the log anyway."""
        if not self._problems.full():
            self._problems.put_nowait(problem)

    async def run(self, *, host: str = "") -> None:
        """Write events until cancelled."""
        try:
            endpoint = Endpoint.in_cluster()
        except ConfigError:
            return
        while True:
            problem = await self._problems.get()
            # Opened for each burst: problems are rare, and a connection is memory.
            async with Client(endpoint, user_agent="wherry-dns") as client:
                recorder = EventRecorder(client, COMPONENT, host or os.environ.get("HOSTNAME", ""))
                async with asyncio.TaskGroup() as group:
                    sending = group.create_task(recorder.run())
                    while True:
                        recorder.event(about(problem, endpoint.namespace), "Warning", problem.reason, problem.text)
                        if self._problems.empty():
                            break
                        problem = self._problems.get_nowait()
                    await recorder.flush()
                    sending.cancel()


def about(problem: Problem, namespace: str) -> ObjectReference:
    """The ConfigMap that a problem comes from. Pure."""
    name = CUSTOM if _CUSTOM_FOLDER in problem.text else CONFIG
    return ObjectReference(api_version="v1", kind="ConfigMap", namespace=namespace, name=name)
