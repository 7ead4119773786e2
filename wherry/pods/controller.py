"""The pods of one node: a worker for each, and order after restarts.

    client ──watch pods of this node──▶ informer ──▶ worker per pod ──▶ plan ──▶ volumes, network, runtime
                                                        ▲                          │
                                                        └── runtime events ────────┘

After a restart of the agent everything that runs is adopted: containers from the runtime, networks from their records,
readiness from the API. What belongs to no pod any more is stopped and removed, once the API has said which pods exist.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from wherry.kube.client import Client
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.keys import Key
from wherry.kube.kinds import PODS, SERVICES
from wherry.kube.objects import Container, Pod
from wherry.pods.admission import Admit, admit_all, judge
from wherry.pods.api.attach import Attachment
from wherry.pods.api.backend import Input, Log, Refused, Session
from wherry.pods.api.logs import log_size
from wherry.pods.api.stats import ContainerSeen, NodeSeen, PodSeen, system_processes
from wherry.pods.compile import DEFAULT_GRACE
from wherry.pods.connect import connect_inside
from wherry.pods.context import Context, PodSettings
from wherry.pods.interfaces import Runtime, Sandboxes
from wherry.pods.model import ContainerState
from wherry.pods.record import adopt
from wherry.pods.references import References
from wherry.pods.runtime.client import RuntimeRefused, RuntimeUnavailable, UnknownContainer
from wherry.pods.runtime.exec import ExecFailed
from wherry.pods.state import Attempt
from wherry.pods.volumes.manager import remove_tree
from wherry.pods.volumes.payload import MountError
from wherry.pods.worker import PodWorker

_log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class PodController:
    """Runs the pods of one node; also the backend of the kubelet API.

    `sandboxes` must know the node's pod ranges already, `runtime` need not be connected yet.
    """

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        settings: PodSettings,
        runtime: Runtime,
        sandboxes: Sandboxes,
        admit: Admit = admit_all,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._admit = admit
        self._pods = informers.informer(PODS, field_selector=f"spec.nodeName={settings.node_name}")
        self._context = Context(
            client=client,
            recorder=recorder,
            services=informers.informer(SERVICES),
            references=References(client),
            runtime=runtime,
            sandboxes=sandboxes,
            settings=settings,
            clock=clock,
        )
        self._workers: dict[str, PodWorker] = {}
        self._since = clock()
        self._orphans: dict[str, asyncio.Event] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Run pods until cancelled, which leaves them running."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._context.references.run(), name="referenced objects")
            await self._context.references.running()
            networks = await self._context.sandboxes.adopt()
            states = await self._known_containers()
            await self._pods.synced()
            await self._context.services.synced()
            self._group = group
            by_pod: dict[str, list[ContainerState]] = {}
            for state in states:
                by_pod.setdefault(state.pod_uid, []).append(state)
            for pod in self._pods.list():
                self._start(pod, by_pod.get(pod.uid, []), adopted=True)
            self._pods.add_handler(self._noticed)
            group.create_task(self._follow_runtime(), name="runtime events")
            for uid in self._leftovers(by_pod.keys() | networks.keys()):
                group.create_task(self._remove_orphan(uid, by_pod.get(uid, [])), name=f"orphan {uid}")

    async def _known_containers(self) -> list[ContainerState]:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._context.runtime.list()
            except RuntimeUnavailable as error:
                _log.info("waiting for the runtime: %s", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    # -- workers -------------------------------------------------------------------------------------------------

    def _noticed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            worker = self._workers.get(old.uid)
            if worker is not None:
                worker.gone()
        if new is not None:
            worker = self._workers.get(new.uid)
            if worker is None:
                self._start(new, [], adopted=False)
            else:
                worker.update(new)

    def _start(self, pod: Pod, states: list[ContainerState], *, adopted: bool) -> None:
        if self._group is None or pod.uid in self._workers:
            return
        network = self._context.sandboxes.known.get(pod.uid) if adopted else None
        worker = PodWorker(self._context, pod, adopt(pod, states, network))
        if not (states or network or pod.status.start_time or pod.deleting):
            # What has been taken once stays, also where the node has changed since.
            others = [other.pod for other in self._workers.values() if not other.is_over]
            why = judge(pod, others, self._admit)
            if why is not None:
                worker.reject(why)
        self._workers[pod.uid] = worker
        self._group.create_task(self._live(worker), name=f"pod {pod.key}")

    async def _live(self, worker: PodWorker) -> None:
        await worker.run()
        # The object may outlive the pod, held by a finalizer; until it is gone the pod must not start again.
        await worker.wait_gone()
        self._workers.pop(worker.pod.uid, None)

    async def _follow_runtime(self) -> None:
        async for state in self._context.runtime.events():
            worker = self._workers.get(state.pod_uid)
            if worker is not None:
                worker.notice(state)
            elif state.phase == "exited" and state.pod_uid in self._orphans:
                self._orphans[state.pod_uid].set()

    # -- what belongs to nobody ----------------------------------------------------------------------------------

    def _leftovers(self, known: set[str]) -> set[str]:
        """The pod uids of which something is left and that the API does not know."""
        found = set(known)
        for directory in (self._context.volumes_dir, self._settings.memory_dir):
            if directory.is_dir():
                found.update(entry.name for entry in directory.iterdir())
        logs = self._settings.data_dir / "pods"
        if logs.is_dir():
            found.update(entry.name.rpartition("_")[2] for entry in logs.iterdir())
        return found - self._workers.keys()

    async def _remove_orphan(self, uid: str, states: Sequence[ContainerState]) -> None:
        """Stop what runs of a pod that was deleted while no agent was here, then remove all of it."""
        _log.info("removing what is left of pod %s", uid)
        changed = self._orphans.setdefault(uid, asyncio.Event())
        pause = _FIRST_PAUSE
        while True:
            try:
                remaining = [state for state in await self._context.runtime.list() if state.pod_uid == uid]
                running = [state for state in remaining if state.phase == "running"]
                for state in running:
                    await self._context.runtime.stop(state.id, grace=DEFAULT_GRACE)
                if running:
                    await changed.wait()
                    changed.clear()
                    continue
                for state in remaining:
                    await self._context.runtime.remove(state.id)
                await self._context.sandboxes.remove(uid)
                break
            except UnknownContainer:
                continue
            except Exception as error:  # the runtime is away, or the kernel refuses for now: neither is for ever
                _log.info("removing what is left of pod %s: %s", uid, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        del self._orphans[uid]
        await asyncio.to_thread(self._remove_files, uid)

    def _remove_files(self, uid: str) -> None:
        logs = self._settings.data_dir / "pods"
        paths = [self._context.volumes_dir / uid, self._settings.memory_dir / uid]
        if logs.is_dir():
            paths += [entry for entry in logs.iterdir() if entry.name.rpartition("_")[2] == uid]
        for path in paths:
            remove_tree(path)

    # -- backend of the kubelet API ------------------------------------------------------------------------------

    def pods(self) -> list[Pod]:
        """Return every pod of the node."""
        return [worker.pod for worker in self._workers.values()]

    def seen(self) -> NodeSeen:
        """Return the node's pods and its own processes, to read from /proc what they use."""
        return NodeSeen(
            name=self._settings.node_name,
            started_at=self._since,
            system=system_processes(self._context.runtime.process),
            pods=tuple(_seen(worker) for worker in self._workers.values()),
        )

    def running_containers(self) -> int:
        """Return how many containers run."""
        return sum(
            1 for worker in self._workers.values() for found in worker.record.attempts.values() if found[-1].running
        )

    def log(self, namespace: str, pod: str, container: str, *, previous: bool) -> Log:
        """Find a container's log. Raises `Refused`."""
        worker, found = self._find(namespace, pod, container)
        attempts = worker.record.attempts.get(found.name, ())
        attempt = self._attempt(attempts, found, pod, previous=previous, worker=worker)
        path = worker.actions.log_path(found.name, attempt.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        return Log(path=path, ended=worker.actions.end_of(attempt.state.id))

    def _attempt(
        self, attempts: tuple[Attempt, ...], container: Container, pod: str, *, previous: bool, worker: PodWorker
    ) -> Attempt:
        ended = [attempt for attempt in attempts if not attempt.running]
        if previous:
            # Of a container that waits to be restarted the start that ended last is the previous one.
            before = ended[:-1] if attempts and not attempts[-1].running and not worker.waits(container) else ended
            if not before:
                raise Refused(400, f'previous terminated container "{container.name}" in pod "{pod}" not found')
            return before[-1]
        if not attempts:
            why = worker.why_waiting(container)
            raise Refused(400, f'container "{container.name}" in pod "{pod}" is waiting to start: {why}')
        return attempts[-1]

    async def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, tty: bool, stdin: bool
    ) -> Session:
        """Run a command in a container. Raises `Refused`."""
        worker, found = self._find(namespace, pod, container)
        running = self._running(worker, found)
        try:
            return await worker.actions.exec(running.id, tuple(argv), tty=tty, stdin=stdin)
        except (ExecFailed, MountError) as error:
            raise Refused(500, str(error)) from error
        except (RuntimeUnavailable, RuntimeRefused, UnknownContainer) as error:
            raise Refused(503, str(error)) from error

    async def attach(self, namespace: str, pod: str, container: str, *, stdin: bool) -> Session:
        """Join a running container's streams. Raises `Refused`."""
        worker, found = self._find(namespace, pod, container)
        running = self._running(worker, found)
        source: Input | None = None
        if (stdin and found.stdin) or found.tty:
            try:
                source = await self._context.runtime.open_input(running.id)
            except (RuntimeUnavailable, RuntimeRefused, UnknownContainer) as error:
                raise Refused(503, str(error)) from error
        log = self.log(namespace, pod, container, previous=False)
        # What stdinOnce was made for, `kubectl run -i`, waits for the pod and then attaches. What the container wrote
        # between the two would be lost, the answer of a quick command or a prompt.
        first = found.stdin_once and worker.actions.first_client(running.id)
        start = 0 if first else log_size(log.path)
        return Attachment(log, source=source, once=found.stdin_once, tty=found.tty, start=start)

    async def connect(self, namespace: str, pod: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to a port of the pod's own loopback. Raises `Refused`, OSError."""
        current = self._pods.get(Key(namespace, pod))
        worker = self._workers.get(current.uid) if current is not None else None
        if worker is None:
            raise Refused(404, f'pod "{pod}" not found')
        sandbox = worker.record.sandbox
        if sandbox is None:
            raise Refused(400, f'pod "{worker.pod.key}" has no network')
        return await connect_inside(sandbox.netns, port)

    def _running(self, worker: PodWorker, container: Container) -> ContainerState:
        attempts = worker.record.attempts.get(container.name, ())
        if not attempts or not attempts[-1].running:
            raise Refused(400, f'container "{container.name}" of pod "{worker.pod.key}" is not running')
        return attempts[-1].state

    def _find(self, namespace: str, pod: str, container: str) -> tuple[PodWorker, Container]:
        current = self._pods.get(Key(namespace, pod))
        worker = self._workers.get(current.uid) if current is not None else None
        if worker is None:
            raise Refused(404, f'pod "{pod}" not found')
        for found in worker.pod.spec.every_container:
            if found.name == container:
                return worker, found
        raise Refused(404, f"container {container} is not valid for pod {pod}")


def _seen(worker: PodWorker) -> PodSeen:
    sandbox = worker.record.sandbox
    running = [(name, attempts[-1].state) for name, attempts in worker.record.attempts.items() if attempts[-1].running]
    return PodSeen(
        namespace=worker.pod.namespace,
        name=worker.pod.name,
        uid=worker.pod.uid,
        started_at=worker.started,
        interface=sandbox.host_interface if sandbox is not None else "",
        containers=tuple(ContainerSeen(state.id, name, state.pid, state.started_at) for name, state in running),
    )
