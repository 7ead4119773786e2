"""Having the stand-ins of a running pod behave as its annotations say, now and after they were changed.

Level-triggered: how a stand-in behaves is read from the runtime, so that nothing is sent that is so already, and an
agent that was away while annotations changed catches up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wherry.kube.objects import Container
from wherry.pods.context import Context
from wherry.pods.model import Behaviour, Port
from wherry.pods.runtime.client import RuntimeRefused, RuntimeUnavailable, UnknownContainer
from wherry.pods.standins import behaviour_of, certificate_names, run_of

if TYPE_CHECKING:
    from wherry.pods.worker import PodWorker


class Behaving:
    """The stand-ins of one pod."""

    def __init__(self, context: Context, worker: PodWorker) -> None:
        self._context = context
        self._worker = worker
        self._told: set[str] = set()

    def behaviour(self, container: Container, ports: tuple[Port, ...]) -> Behaviour:
        """How the container's stand-in is to behave, with a certificate where it speaks TLS.

        What the annotations say wrongly is told in an event, once.
        """
        pod = self._worker.pod
        _, wrong = run_of(pod, container)
        found, problems = behaviour_of(pod, container, ports)
        self._tell(container, (*wrong, *problems))
        if not found.tls:
            return found
        from wherry.kube.pki import self_signed_server  # cryptography is loaded for those who ask for it

        pair = self_signed_server(pod.name, self._names(container))
        return msgspec.structs.replace(found, certificate=(pair.certificate + pair.key).decode())

    async def refresh(self) -> None:
        """Bring the stand-ins that run up to date."""
        pod = self._worker.pod
        for container in pod.spec.every_container:
            attempts = self._worker.record.attempts.get(container.name)
            if not attempts or not attempts[-1].running or not attempts[-1].state.stand_in:
                continue
            try:
                await self._refresh(container, attempts[-1].state.id)
            except (RuntimeUnavailable, RuntimeRefused, UnknownContainer):
                continue  # it ends, or the runtime is restarted and its stand-ins with it

    async def _refresh(self, container: Container, container_id: str) -> None:
        runtime = self._context.runtime
        _, spec = await runtime.inspect(container_id)
        found, problems = behaviour_of(self._worker.pod, container, spec.ports)
        self._tell(container, problems)
        now = spec.behaviour
        if found.tls and now.certificate and self._fits(container, now.certificate):
            found = msgspec.structs.replace(found, certificate=now.certificate)
        elif found.tls:
            found = self.behaviour(container, spec.ports)
        if found != now:
            await runtime.behave(container_id, found)

    def _fits(self, container: Container, certificate: str) -> bool:
        from wherry.kube.pki import certificate_hosts

        return set(self._names(container)) <= set(certificate_hosts(certificate.encode()))

    def _names(self, container: Container) -> tuple[str, ...]:
        pod, sandbox = self._worker.pod, self._worker.record.sandbox
        settings = self._context.settings
        own = sandbox.addresses if sandbox is not None else ()
        services = [
            service.name
            for service in self._context.services.list()
            if service.namespace == pod.namespace
            and service.spec.selector
            and service.spec.selector.items() <= pod.labels.items()
        ]
        return certificate_names(
            pod, container, domain=settings.dns.domain, addresses=own or settings.node_ips, services=sorted(services)
        )

    def _tell(self, container: Container, problems: tuple[str, ...]) -> None:
        for problem in problems:
            if problem not in self._told:
                self._context.event(self._worker.pod, "Warning", "InvalidAnnotation", problem, container=container)
        self._told.update(problems)
