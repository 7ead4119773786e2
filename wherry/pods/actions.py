"""The steps of a pod's life that touch the world: volumes, network, containers, hooks, the end.

Each is safe to repeat, and each says in events and in the record what came of it; `worker` decides when.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.kube.errors import ApiError, Conflict, NotFound
from wherry.kube.kinds import PODS
from wherry.kube.objects import Container, Pod
from wherry.pods.api.backend import End, Session
from wherry.pods.commands import run_command
from wherry.pods.containers import runs_program
from wherry.pods.context import Context
from wherry.pods.dns import fitted, pod_dns, pod_names
from wherry.pods.fields import NodeFacts
from wherry.pods.model import ContainerState
from wherry.pods.ports import host_ports
from wherry.pods.probes import ask
from wherry.pods.record import Record
from wherry.pods.runtime.client import RuntimeRefused, RuntimeUnavailable, UnknownContainer
from wherry.pods.sandbox.manager import NoAddressLeft
from wherry.pods.sandbox.model import HostAlias, SandboxSpec
from wherry.pods.starting import Starter
from wherry.pods.state import SETUP
from wherry.pods.stopping import Stopper
from wherry.pods.sysctls import network_sysctls
from wherry.pods.volumes.manager import PodVolumes
from wherry.pods.volumes.payload import MountError

if TYPE_CHECKING:
    from wherry.pods.worker import PodWorker

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0


class PodActions:
    """The steps of one pod, on behalf of its worker."""

    def __init__(self, context: Context, worker: PodWorker) -> None:
        self._context = context
        self._worker = worker
        self._ends: dict[str, End] = {}
        self._attached: set[str] = set()
        self._volumes_lock = asyncio.Lock()
        self.starter = Starter(context, worker, self)
        self.stopper = Stopper(context, worker, self)
        self.volumes = PodVolumes(
            context.client,
            worker.pod.uid,
            root=context.volumes_dir,
            memory=context.settings.memory_dir,
            images=context.settings.images,
        )

    @property
    def _pod(self) -> Pod:
        return self._worker.pod

    @property
    def _record(self) -> Record:
        return self._worker.record

    @property
    def address(self) -> str:
        """The address at which the pod is probed."""
        sandbox = self._record.sandbox
        if sandbox is not None and sandbox.addresses:
            return sandbox.addresses[0]
        return self._context.settings.node_ips[0]

    def facts(self) -> NodeFacts:
        """Return what the downward API may tell."""
        settings = self._context.settings
        sandbox = self._record.sandbox
        own = sandbox.addresses if sandbox is not None else ()
        return NodeFacts(
            host_ips=settings.node_ips,
            pod_ips=settings.node_ips if self._pod.spec.host_network else own,
            allocatable=settings.allocatable,
        )

    # -- volumes and network -------------------------------------------------------------------------------------

    async def set_up(self) -> None:
        """Set up the volumes, then the network."""
        record, context, pod = self._record, self._context, self._pod
        while not context.references.has_synced(pod.uid):
            await context.references.synced(pod.uid)
            self._worker.hold_references()
        async with context.slots:
            try:
                await self._set_up_volumes()
            except MountError as error:
                context.event(pod, "Warning", "FailedMount", str(error))
                record.failed(SETUP, context.clock())
                return
            record.volumes = True
            if record.sandbox is None and not await self._set_up_network():
                return
        record.succeeded(SETUP)

    async def _set_up_volumes(self) -> None:
        """Write the files, unless only stand-ins would have them: then find out whether they could be written."""
        if any(runs_program(self._pod, container, self._context.settings.images) for container in self._containers()):
            await self.write_volumes()
        else:
            sources = self._context.references.sources(self._pod.uid)
            self.volumes.check(self._pod, sources=sources, facts=self.facts())

    async def write_volumes(self) -> None:
        """Bring the files up to date. Raises `MountError`."""
        async with self._volumes_lock:
            sources = self._context.references.sources(self._pod.uid)
            await self.volumes.write(self._pod, sources=sources, facts=self.facts())

    async def need_volumes(self) -> None:
        """Have the files on the disk: a pod of stand-ins does without until something looks at them.

        Raises `MountError`.
        """
        if not self.volumes.written:
            await self.write_volumes()

    async def refresh_volumes(self) -> None:
        """Bring the files of a running pod up to date; what cannot be found stays as it was."""
        try:
            await self.write_volumes()
        except MountError as error:
            self._context.event(self._pod, "Warning", "FailedMount", str(error))

    async def _set_up_network(self) -> bool:
        context, pod = self._context, self._pod
        had_containers = any(self._record.attempts.values())
        try:
            sandbox = await context.sandboxes.create(self._sandbox_spec())
        except Exception as error:  # whatever kept it from being made, it belongs to this pod
            context.event(pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            self._record.failed(SETUP, context.clock())
            if isinstance(error, NoAddressLeft):
                context.starved[pod.uid] = self._try_again
            return False
        self._record.sandbox = sandbox
        # Containers that are known already lived in a network that is gone; what they were does not count any more.
        self._record.sandbox_since = context.clock() if had_containers else 0.0
        if had_containers:
            context.event(pod, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        return True

    def _try_again(self) -> None:
        """An address may be free now."""
        self._record.retry_at.pop(SETUP, None)
        self._worker.wake()

    def _sandbox_spec(self) -> SandboxSpec:
        pod, cluster = self._pod, self._context.settings.dns
        names = pod_names(pod, cluster.domain)
        dns, cut = fitted(pod_dns(pod, cluster))
        for text in cut:
            self._context.event(pod, "Warning", "DNSConfigForming", text)
        return SandboxSpec(
            uid=pod.uid,
            namespace=pod.namespace,
            name=pod.name,
            hostname=self._context.settings.node_name if pod.spec.host_network else names.hostname,
            fqdn=names.fqdn,
            short=names.short,
            host_network=pod.spec.host_network,
            dns=dns,
            host_aliases=tuple(HostAlias(alias.ip, alias.hostnames) for alias in pod.spec.host_aliases),
            sysctls=network_sysctls(pod),
            ports=host_ports(pod),
        )

    async def remove(self, container_id: str) -> None:
        """Forget an old start of a container, with its log."""
        spec_name, attempt = container_id.rsplit("_", 3)[1:3]
        await self._forget(self._context.runtime.remove(container_id))
        path = self.log_path(spec_name, int(attempt))
        for part in (path, *path.parent.glob(f"{path.name}.*")):  # with what was rotated away
            part.unlink(missing_ok=True)

    def ended(self, state: ContainerState) -> None:
        """Take in that a container has ended: those that follow its log are told, its hooks are given up."""
        end = self._ends.pop(state.id, None)
        if end is not None:
            end.happen()
        self.stopper.ended(state.id)
        container = next((found for found in self._containers() if found.name == state.name), None)
        if state.reason == "StartError" and container is not None:
            self.starter.could_not_start(container, state)

    # -- end -----------------------------------------------------------------------------------------------------

    async def tear_down(self, *, delete: bool) -> None:
        """Take the network down; with `delete` everything, and then the pod's object as the kubelet does."""
        context, pod, record = self._context, self._pod, self._record
        try:
            await context.sandboxes.remove(pod.uid)
        except Exception as error:
            context.event(pod, "Warning", "FailedKillPod", f"error killing pod: {error}")
            raise
        record.sandbox = None
        context.address_freed(pod.uid)
        if not delete:
            return
        for attempts in list(record.attempts.values()):
            for attempt in attempts:
                await self._forget(context.runtime.remove(attempt.state.id))
        await asyncio.to_thread(self._remove_files)
        await self._worker.flush_status()
        await self._delete_object()
        self._worker.finish()

    def _remove_files(self) -> None:
        self.volumes.remove()
        logs = self._context.log_dir(self._pod)
        if logs.exists():
            shutil.rmtree(logs)

    async def _delete_object(self) -> None:
        pod = self._pod
        pause = _FIRST_PAUSE
        while not self._worker.is_gone:
            try:
                await self._context.client.delete(PODS, pod.name, namespace=pod.namespace, grace_seconds=0, uid=pod.uid)
                return
            except (NotFound, Conflict):
                # Gone already, or a new pod has its name: either way this one is not there any more.
                return
            except ApiError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _forget(self, request: Awaitable[None]) -> None:
        """Have the runtime forget a container; where it cannot be asked now, the next agent finds the orphan."""
        try:
            await request
        except (RuntimeUnavailable, RuntimeRefused, UnknownContainer):
            return

    # -- for the API and the probes ------------------------------------------------------------------------------

    def log_path(self, container: str, attempt: int) -> Path:
        """Return the log file of one start of a container."""
        return self._context.log_dir(self._pod) / container / f"{attempt}.log"

    def end_of(self, container_id: str) -> End:
        """Return the end of a container, for who follows its log."""
        attempt = self._record.find(container_id)
        if attempt is None or not attempt.running:
            end = End()
            end.happen()
            return end
        return self._ends.setdefault(container_id, End())

    def first_client(self, container_id: str) -> bool:
        """Tell whether nobody has attached to a container yet; from now on somebody has."""
        first = container_id not in self._attached
        self._attached.add(container_id)
        return first

    async def exec(self, container_id: str, argv: tuple[str, ...], *, tty: bool, stdin: bool) -> Session:
        """Run a command in a container. Raises what the runtime raises, and `MountError`.

        Stand-ins do without files until someone comes to look at them, which is now.
        """
        await self.need_volumes()
        return await self._context.runtime.exec(container_id, argv, tty=tty, stdin=stdin)

    def command_runner(self, container_id: str) -> ask.RunCommand:
        """Return a function that runs commands in a container for probes and hooks."""

        async def run(argv: tuple[str, ...], timeout: float) -> tuple[int, bytes]:
            return await run_command(self._context.runtime, container_id, argv, timeout)

        return run

    def _containers(self) -> tuple[Container, ...]:
        return self._pod.spec.every_container
