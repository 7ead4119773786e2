"""The configuration of a cluster's DNS, run in this process to see what it does with a question.

The same Corefile, plugins and objects give the same answers as the servers do; nothing listens and nothing is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from wherry.dns.chain import Router
from wherry.dns.corefile.load import load
from wherry.dns.corefile.model import Problem, Process
from wherry.dns.http import HttpHub
from wherry.dns.message import Edns, Message, Question
from wherry.dns.metrics import Metrics
from wherry.dns.plugin import Step
from wherry.dns.server.instance import Instance
from wherry.dns.server.listening import listening
from wherry.kube.endpoint import Endpoint

log = logging.getLogger(__name__)

LEFT_OUT = frozenset({"health", "ready", "prometheus", "reload", "loop", "log", "errors"})
"""Plugins that serve something else, or would say what is said here."""


class Explained(NamedTuple):
    """What was answered (None: nothing at all), and what each plugin did on the way."""

    message: Message | None
    steps: list[Step]


class Explainer:
    """Answers questions as a client's."""

    def __init__(self, router: Router, client: str) -> None:
        self._router = router
        self._client = client

    async def explain(self, question: Question) -> Explained:
        """Run a question through the chain that serves it."""
        query = Message(id=0, question=question, recursion_desired=True, edns=Edns(1232))
        steps: list[Step] = []
        request = self._router.request(
            query, client=self._client, port=0, local=self._client, local_port=53, transport="udp"
        )
        request.trace = steps
        reply = await self._router.handle(request)
        return Explained(reply.message if reply is not None else None, steps)


@asynccontextmanager
async def serving(conf: Path, endpoint: Callable[[], Endpoint], client: str) -> AsyncIterator[Explainer]:
    """Run a Corefile; waits until its plugins have what they need. Raises CorefileError, DnsError and OSError."""
    process = Process(Metrics(), HttpHub(), _report, endpoint=endpoint)
    config = load(str(conf), process, strict=False)
    async with asyncio.TaskGroup() as group:
        servers = listening(config.blocks)
        instance = Instance(config, servers, group)
        await instance.start()
        try:
            main = next((server for server in servers if server.port == 53 and server.scheme == "dns"), servers[0])
            yield Explainer(instance.routers[main.label], client)
        finally:
            await instance.stop()


def _report(problem: Problem) -> None:
    log.warning("%s: %s", problem.reason, problem.text)
