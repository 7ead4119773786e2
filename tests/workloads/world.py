"""A real API server with all workload controllers, and kubelets made of paper: what tests of the whole room use."""

from __future__ import annotations

import asyncio
import logging
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.workloads.make import STAMP
from wherry.apiserver.config import ApiServerConfig
from wherry.apiserver.server import ApiServer
from wherry.kube import kinds, pki
from wherry.kube.client import Client
from wherry.kube.endpoint import Endpoint
from wherry.kube.errors import NotFound
from wherry.kube.informer import Informer, Informers
from wherry.kube.keys import Key
from wherry.kube.kinds import Kind
from wherry.kube.objects import Deployment, EndpointSlice, Event, Node, Pod
from wherry.workloads.assembly import WorkloadSettings, controllers
from wherry.workloads.kinds import ENDPOINTS

ROOT_CA = "-----BEGIN CERTIFICATE-----\n(test)\n-----END CERTIFICATE-----\n"
TOKEN, CONTROLLERS_TOKEN = "world-token", "controllers-token"
WITHIN = 20.0
"""Seconds a test waits for something that normally takes milliseconds."""


class World:
    """The cluster as a test sees it: a client, live copies of the kinds tests look at, and the kubelets' nodes.

    The test itself may do everything; the controllers and each node have only the rights of their roles.
    """

    def __init__(self, client: Client, api: Api, clients: AsyncExitStack) -> None:
        self.client = client
        self.api = api
        self._clients = clients
        self._nodes: dict[str, Client] = {}
        self._informers = Informers(client)
        self._changed = asyncio.Event()
        self._work: asyncio.Queue[Key] = asyncio.Queue()
        self.kubelets: set[str] = set()
        self._addresses = 1
        self.pods = self.view(kinds.PODS)
        self.nodes = self.view(kinds.NODES)
        self.namespaces = self.view(kinds.NAMESPACES)
        self.services = self.view(kinds.SERVICES)
        self.slices = self.view(kinds.ENDPOINT_SLICES)
        self.deployments = self.view(kinds.DEPLOYMENTS)
        self.replica_sets = self.view(kinds.REPLICA_SETS)
        self.daemon_sets = self.view(kinds.DAEMON_SETS)
        self.config_maps = self.view(kinds.CONFIG_MAPS)
        self.accounts = self.view(kinds.SERVICE_ACCOUNTS)
        self.events = self.view(kinds.EVENTS)
        self.endpoints = self.view(ENDPOINTS)
        self.pods.add_handler(self._pod_changed)

    def view(self, kind: Kind[Any]) -> Informer[Any]:
        """A live copy of a kind, whose changes wake :meth:`until`."""
        informer = self._informers.informer(kind)
        informer.add_handler(lambda old, new: self._changed.set())
        return informer

    # What tests do

    async def until(self, condition: Callable[[], Any], within: float = WITHIN) -> None:
        """Wait until a condition holds, looked at after every change; TimeoutError with the condition's own state."""
        async with asyncio.timeout(within):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def create(self, kind: Kind[Any], name: str, namespace: str | None = "default", **fields: Any) -> None:
        meta = fields.pop("metadata", {}) | {"name": name}
        await self.client.create(kind.as_dict(), {"metadata": meta, **fields}, namespace=namespace)

    async def add_node(self, name: str, *, cpu: str = "8", pods: str = "500", **spec: Any) -> None:
        """A ready node with a kubelet."""
        self.kubelets.add(name)
        if name not in self._nodes:
            self._nodes[name] = await self._clients.enter_async_context(Client(self.api.admit_node(name)))
        meta = {"name": name, "labels": {"kubernetes.io/hostname": name}}
        await self._nodes[name].create(kinds.NODES.as_dict(), {"metadata": meta, "spec": spec})
        await self.report(name, "True", cpu=cpu, pods=pods)

    async def report(self, name: str, ready: str, *, cpu: str = "8", pods: str = "500", beat: str = STAMP) -> None:
        """A kubelet posts its status."""
        room = {"cpu": cpu, "memory": "16Gi", "pods": pods}
        condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": beat, "lastTransitionTime": beat}
        status = {"capacity": room, "allocatable": room, "conditions": [condition]}
        node = self._nodes[name]
        await node.patch(kinds.NODES, name, {"status": status}, subresource="status", type="strategic")

    async def add_deployment(self, name: str, replicas: int, *, image: str = "app:1", **pod_spec: Any) -> None:
        labels = {"app": name}
        container = {"name": "main", "image": image, "ports": [{"containerPort": 80}]}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container], **pod_spec}}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        await self.create(kinds.DEPLOYMENTS, name, spec=spec)

    async def add_service(self, name: str, **spec: Any) -> None:
        ports = [{"port": 80, "targetPort": 80}]
        await self.create(kinds.SERVICES, name, spec={"selector": {"app": name}, "ports": ports, **spec})

    # What tests look at

    def running(self, app: str) -> list[Pod]:
        """The pods of an app that are ready and stay."""
        found = [pod for pod in self.pods.list("default") if pod.labels.get("app") == app]
        return [pod for pod in found if pod.ready and not pod.deleting]

    def ready_addresses(self, service: str) -> set[str]:
        slices: list[EndpointSlice] = [each for each in self.slices.list("default") if each.service_name == service]
        return {
            address
            for each in slices
            for endpoint in each.endpoints or ()
            if endpoint.conditions.ready
            for address in endpoint.addresses or ()
        }

    def deployment(self, name: str) -> Deployment:
        found: Deployment | None = self.deployments.get(Key("default", name))
        assert found is not None
        return found

    def node(self, name: str) -> Node:
        found: Node | None = self.nodes.get(Key("", name))
        assert found is not None
        return found

    def reasons(self, name: str) -> set[str]:
        """Reasons of the events about an object."""
        events: list[Event] = self.events.list()
        return {each.reason for each in events if each.involved_object.name == name}

    # Kubelets

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None and new.spec.node_name in self.kubelets:
            self._work.put_nowait(new.key)

    def wake(self, node: str) -> None:
        """The kubelet of a node runs (again)."""
        self.kubelets.add(node)
        for pod in self.pods.list():
            self._pod_changed(None, pod)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informers.run())
            for _ in range(8):
                group.create_task(self._kubelet())

    async def synced(self) -> None:
        await self._informers.synced()

    async def _kubelet(self) -> None:
        while True:
            pod: Pod | None = self.pods.get(await self._work.get())
            if pod is None or pod.spec.node_name not in self.kubelets:
                continue
            node = self._nodes[pod.spec.node_name]
            try:
                if pod.deleting:
                    await node.delete(kinds.PODS, pod.name, namespace=pod.namespace, uid=pod.uid, grace_seconds=0)
                elif not pod.ready and not pod.finished:
                    await self._start(node, pod)
            except NotFound:
                continue

    async def _start(self, node: Client, pod: Pod) -> None:
        ips = [each.ip for each in pod.status.pod_ips]
        if not ips:
            self._addresses += 1
            ips = [f"10.42.{self._addresses // 250}.{self._addresses % 250 + 1}"]
        status = {
            "phase": "Running",
            "podIP": ips[0],
            "podIPs": [{"ip": each} for each in ips],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": STAMP}],
        }
        await node.patch(
            kinds.PODS, pod.name, {"status": status}, namespace=pod.namespace, subresource="status", type="strategic"
        )


def _credentials(directory: Path) -> None:
    tokens = f'{TOKEN},tester,uid-1,"system:masters"\n{CONTROLLERS_TOKEN},system:kube-controller-manager,uid-2\n'
    pki.write_private(directory / "tokens.csv", tokens.encode())
    pki.write_private(directory / "account.key", pki.new_signing_key())


class Api:
    """A real API server on a unix socket in a directory, which can be stopped and started again."""

    def __init__(self, directory: Path, group: asyncio.TaskGroup, *, toleration: int, durable: bool) -> None:
        self._directory = directory
        self._group = group
        self._toleration = toleration
        self._durable = durable
        self._task: asyncio.Task[None] | None = None
        self.endpoint = self._endpoint(TOKEN)
        self.controllers_endpoint = self._endpoint(CONTROLLERS_TOKEN)

    def _endpoint(self, token: str) -> Endpoint:
        return Endpoint.unix(self._directory / "api.sock", token)

    def admit_node(self, name: str) -> Endpoint:
        """Give a node its credentials."""
        path = self._directory / "tokens.csv"
        pki.write_private(path, path.read_bytes() + f'node-{name},system:node:{name},,"system:nodes"\n'.encode())
        return self._endpoint(f"node-{name}")

    async def start(self) -> None:
        path = self._directory / "api.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            config = ApiServerConfig(
                data_dir=self._directory if self._durable else None,
                plain_sockets=(listener.dup(),),
                token_file=self._directory / "tokens.csv",
                service_account_key=self._directory / "account.key",
                default_not_ready_toleration_seconds=self._toleration,
                default_unreachable_toleration_seconds=self._toleration,
                shutdown_seconds=1.0,
            )
        server = ApiServer(config)
        self._task = self._group.create_task(server.run())
        async with asyncio.timeout(WITHIN):
            await server.started.wait()

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})


@asynccontextmanager
async def world(
    *,
    grace: float = 40.0,
    quarantine: float = 0.1,
    toleration: int = 300,
    durable: bool = False,
    batch_clock: Callable[[], float] = time.time,
) -> AsyncIterator[World]:
    """An API server, every workload controller and kubelets for the nodes a test adds."""
    with _nothing_refused(), tempfile.TemporaryDirectory(prefix="wherry-") as name:
        _credentials(Path(name))
        async with asyncio.TaskGroup() as group:
            api = Api(Path(name), group, toleration=toleration, durable=durable)
            await api.start()
            async with AsyncExitStack() as clients:
                client = await clients.enter_async_context(Client(api.controllers_endpoint))
                informers = Informers(client)
                settings = WorkloadSettings(
                    root_ca=ROOT_CA, node_grace=grace, pod_quarantine=quarantine, batch_clock=batch_clock
                )
                made = World(await clients.enter_async_context(Client(api.endpoint)), api, clients)
                parts = [each.run() for each in controllers(client, informers, settings)]
                async with running(informers.run(), made.run(), *parts):
                    async with asyncio.timeout(WITHIN):
                        await made.synced()
                    await made.until(lambda: made.accounts.get(Key("default", "default")))
                    yield made
            await api.stop()


class _Refusals(logging.Handler):
    """Keeps what the controllers say about requests that their roles do not allow."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.getMessage()} {record.exc_info[1] if record.exc_info else ''}"
        if 'forbidden: User "' in text:
            self.texts.append(text)


@contextmanager
def _nothing_refused() -> Iterator[None]:
    log, refusals = logging.getLogger("wherry"), _Refusals()
    before = log.level
    log.addHandler(refusals)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(refusals)
        log.setLevel(before)
    assert not refusals.texts


@asynccontextmanager
async def running(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines while the block runs; what one raises, the block raises."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in coroutines]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
