"""A node in memory: fake API server, fake runtime, fake networks and a pod controller between them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from wherry.kube.client import Client
from wherry.kube.errors import Invalid, NotFound
from wherry.kube.events import EventRecorder
from wherry.kube.informer import Informers
from wherry.kube.kinds import EVENTS, PODS
from wherry.kube.testing.apiserver import FakeApiServer
from wherry.kube.testing.store import Store, failure
from wherry.kube.times import format_time
from wherry.pods.context import PodSettings
from wherry.pods.controller import PodController
from wherry.pods.testing.fakes import FakeRuntime, FakeSandboxes

NODE = "node-1"


class _GracefulStore(Store):
    """Keeps a pod that is being deleted until it is deleted once more, as the grace period has it."""

    def replace(self, place: Any, obj: Any) -> Any:
        old = self.get(place)
        if place[0] != PODS.resource or not (obj.get("metadata") or {}).get("deletionTimestamp"):
            return super().replace(place, obj)
        meta = {**obj["metadata"], "uid": old["metadata"]["uid"]}
        return self._write(place, {**obj, "metadata": meta})


class NodeApiServer(FakeApiServer):
    """The fake API server with what only a kubelet needs: TokenRequest, and deletion with a grace period."""

    tokens = 0
    lifetime = 3600.0
    refuse_status = 0
    """How many of the next status writes are refused as invalid."""

    def __init__(self, socket: Path) -> None:
        super().__init__(socket)
        self.store = _GracefulStore()
        self.store.listeners.append(self._changed)

    async def _object(self, request: web.Request, kind: Any, place: Any, subresource: str) -> web.Response:
        if request.method == "PATCH" and subresource == "status" and self.refuse_status:
            self.refuse_status -= 1
            raise failure(Invalid, 422, "Invalid", "refused on demand")
        if request.method == "POST" and subresource == "token":
            self.tokens += 1
            expires = format_time(time.time() + self.lifetime)
            token = f"token-{self.tokens}"
            return web.json_response({"status": {"token": token, "expirationTimestamp": expires}}, status=201)
        return await super()._object(request, kind, place, subresource)

    def _scoped(self, place: Any, new: Any, subresource: str) -> Any:
        # A strategic patch removes what is null in the entries of a list; the fake merges lists as a whole.
        return super()._scoped(place, _without_nulls_in_lists(new), subresource)


def _without_nulls_in_lists(value: Any, *, inside: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_nulls_in_lists(item, inside=inside)
            for key, item in value.items()
            if not (inside and item is None)
        }
    if isinstance(value, list):
        return [_without_nulls_in_lists(item, inside=True) for item in value]
    return value


def container(name: str = "web", image: str = "example.com/web:1", **fields: Any) -> dict[str, Any]:
    """Return a container as JSON has it."""
    return {"name": name, "image": image, **fields}


def pod(
    name: str = "web", *, uid: str = "", containers: list[dict[str, Any]] | None = None, **spec: Any
) -> dict[str, Any]:
    """Return a pod of the node as JSON has it."""
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "generation": 1, "labels": {"app": name}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": NODE, "containers": containers or [container()], **spec},
        "status": {"phase": "Pending"},
    }


class Node:
    """One running node and everything around it."""

    def __init__(self, server: NodeApiServer, client: Client, directory: Path) -> None:
        self.server = server
        self.client = client
        self.directory = directory
        self.runtime = FakeRuntime()
        self.sandboxes = FakeSandboxes()
        self.sandboxes.called = self.runtime.called
        self.settings = PodSettings(
            node_name=NODE,
            node_ips=("172.30.0.11",),
            data_dir=directory / "data",
            memory_dir=directory / "memory",
        )
        self.controller: PodController | None = None
        self._changed = asyncio.Event()
        server.store.listeners.append(lambda _change: self._changed.set())

    @asynccontextmanager
    async def running(self, **settings: Any) -> AsyncIterator[PodController]:
        """Run an agent; leaving is a kill -9 of it, as far as the pods are concerned."""
        informers = Informers(self.client)
        recorder = EventRecorder(self.client, "kubelet", NODE)
        controller = PodController(
            self.client,
            informers,
            recorder,
            settings=msgspec.structs.replace(self.settings, **settings),
            runtime=self.runtime,
            sandboxes=self.sandboxes,
        )
        self.controller = controller
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in (informers.run(), recorder.run(), controller.run())]
            try:
                yield controller
            finally:
                for task in tasks:
                    task.cancel()

    def put(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Create or replace a pod."""
        return self.server.put(PODS.as_dict(), obj)

    def get(self, name: str = "web") -> dict[str, Any]:
        """Return a pod as stored."""
        return self.server.get(PODS, name, "default")

    async def until(self, holds: Callable[[], Any], *, within: float = 5.0) -> Any:
        """Wait until `holds()` is true; looked at again after every write to the API."""
        try:
            async with asyncio.timeout(within):
                while True:
                    self._changed.clear()
                    try:
                        if found := holds():
                            return found
                    except (LookupError, NotFound):
                        # What is looked at does not exist yet.
                        pass
                    await self._changed.wait()
        except TimeoutError:
            pods = [obj["status"] for place, obj in self.server.store.objects.items() if place[0] == PODS.resource]
            raise TimeoutError(f"not within {within} s; pods: {pods}; events: {self.events()}") from None

    async def until_runtime(self, holds: Callable[[], Any], *, within: float = 5.0) -> Any:
        """Wait until `holds()` is true; looked at again after every call of the runtime or the networks."""
        changed = self.runtime.called
        async with asyncio.timeout(within):
            while not (found := holds()):
                changed.clear()
                await changed.wait()
                # The answer of the call is on its way; let the controller have it first.
                for _ in range(10):
                    await asyncio.sleep(0)
            return found

    async def until_phase(self, phase: str, name: str = "web") -> dict[str, Any]:
        """Wait until the pod is reported in that phase."""
        return await self._pod_when(lambda: self.get(name) if self.get(name)["status"].get("phase") == phase else None)

    async def until_ready(self, name: str = "web") -> dict[str, Any]:
        """Wait until the pod is reported ready."""
        return await self._pod_when(lambda: self.get(name) if condition(self.get(name), "Ready") == "True" else None)

    async def _pod_when(self, holds: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        found: dict[str, Any] = await self.until(holds)
        return found

    def id_of(self, container_name: str) -> str:
        """Return the id of a running container."""
        return self.runtime.running()[container_name].id

    def exists(self, name: str = "web") -> bool:
        """Tell whether the pod's object exists."""
        return any(place[0] == "pods" and place[2] == name for place in self.server.store.objects)

    def writes(self, what: str) -> list[tuple[str, str]]:
        """Return the patches whose path contains a text."""
        return [found for found in self.server.requests if found[0] == "PATCH" and what in found[1]]

    def events(self) -> list[tuple[str, str]]:
        """Return reason and message of every event."""
        found = [obj for place, obj in self.server.store.objects.items() if place[0] == EVENTS.resource]
        return [(event["reason"], event["message"]) for event in found]

    async def until_event(self, reason: str) -> str:
        """Wait for an event and return its message."""
        return str(await self.until(lambda: next((text for why, text in self.events() if why == reason), None)))


def condition(obj: dict[str, Any], type_: str) -> str | None:
    """Return the status of one condition of a pod."""
    for found in obj["status"].get("conditions", ()):
        if found["type"] == type_:
            return str(found["status"])
    return None


@asynccontextmanager
async def running_node() -> AsyncIterator[Node]:
    """Give a node around which everything is in place and on which no agent runs yet."""
    with tempfile.TemporaryDirectory(prefix="wherry-") as directory:
        async with NodeApiServer(Path(directory) / "api.sock") as server, server.client(retry_for=0.2) as client:
            yield Node(server, client, Path(directory))
