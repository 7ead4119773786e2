"""The pod controller with the real runtime process and real pod networks; only the API server is a fake."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from wherry.kernel.netlink import Netlink
from wherry.kube.kinds import PODS
from wherry.pods.api.logformat import LogFormatter, LogOptions
from wherry.pods.runtime.__main__ import command
from wherry.pods.runtime.client import RuntimeClient
from wherry.pods.runtime.programs import find_programs
from wherry.pods.runtime.service import Settings
from wherry.pods.sandbox.manager import Sandboxes
from wherry.pods.testing.node import Node, condition, container, pod

pytestmark = pytest.mark.netns

READY = {"periodSeconds": 5}


@asynccontextmanager
async def real(node: Node) -> AsyncIterator[RuntimeClient]:
    """Put the real neighbours in the place of the fakes."""
    settings = Settings(socket="/run/wherry/r.sock", state_dir="/run/wherry/c", programs=find_programs())
    Path("/run/wherry").mkdir(parents=True, exist_ok=True)
    with Netlink() as netlink:
        # A node has an address of its own; from it the pods are probed.
        netlink.addr_add("lo", "172.30.0.11", 32)
    process = subprocess.Popen(command(settings))  # noqa: ASYNC220 - the runtime outlives any loop
    client = RuntimeClient(settings.socket, programs=settings.programs)
    sandboxes = Sandboxes(
        run_dir=Path("/run/wherry/node"),
        data_dir=node.directory,
        ranges=(IPv4Network("10.42.1.0/24"),),
        mtu=1500,
    )
    node.runtime = client  # type: ignore[assignment]
    node.sandboxes = sandboxes  # type: ignore[assignment]
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(client.run())
            yield client
            task.cancel()
        await sandboxes.close()
    finally:
        process.terminate()
        process.wait(10)


async def test_a_stand_in_is_reached_probed_and_removed(node: Node) -> None:
    web = container(
        ports=[{"containerPort": 8080}],
        readinessProbe=READY | {"httpGet": {"path": "/health", "port": 8080}},
        livenessProbe=READY | {"tcpSocket": {"port": 8080}},
    )
    async with real(node) as runtime:
        async with node.running() as controller:
            node.put(pod(containers=[web]))
            found = await node.until_ready()
            reader, writer = await asyncio.open_connection(found["status"]["podIP"], 8080)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert b"web" in await reader.read()
            writer.close()
            await writer.wait_closed()
            assert len(node.writes("/status")) == 1
            log = controller.log("default", "web", "web", previous=False)
            # The line is written after the answer.
            async with asyncio.timeout(10):
                while b"GET /" not in LogFormatter(LogOptions()).feed(log.path.read_bytes()):  # noqa: ASYNC110 - a file
                    await asyncio.sleep(0.02)
        # Another agent takes over, and removes the pod.
        async with node.running():
            node.put(pod("later"))
            await node.until_ready("later")
            assert condition(node.get(), "Ready") == "True"
            for name in ("web", "later"):
                node.server.remove(PODS, name, "default")
            async with asyncio.timeout(10):
                while await runtime.list():  # noqa: ASYNC110 - asked, since it forgets without saying so
                    await asyncio.sleep(0.02)
            async with asyncio.timeout(10):
                while node.sandboxes.known:  # noqa: ASYNC110 - the kernel is the only witness
                    await asyncio.sleep(0.02)
    with Netlink() as netlink:
        async with asyncio.timeout(10):
            # The kernel removes the pairs by itself, a moment after their namespaces.
            while [link.name for link in netlink.link_list() if link.name != "lo"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_program_runs_with_its_files_and_is_entered(node: Node) -> None:
    text = {"name": "TEXT", "value": "$(NAME)!"}
    name = {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    script = "echo $TEXT; cat /data/app; exec sleep 1000"
    app = container(
        "app",
        image="busybox",
        command=["sh", "-c", script],
        env=[name, text],
        volumeMounts=[{"name": "labels", "mountPath": "/data"}],
        readinessProbe=READY | {"exec": {"command": ["test", "-f", "/data/app"]}},
    )
    labels = {"items": [{"path": "app", "fieldRef": {"fieldPath": "metadata.labels['app']"}}]}
    async with real(node), node.running() as controller:
        volumes = [{"name": "labels", "downwardAPI": labels}]
        # The first process of a pid namespace gets no SIGTERM it has no handler for: it is killed after the grace.
        node.put(pod(containers=[app], volumes=volumes, terminationGracePeriodSeconds=1))
        await node.until_ready()
        session = await controller.exec(
            "default", "web", "app", ["sh", "-c", "hostname; exit 3"], tty=False, stdin=False
        )
        assert await session.read_stdout() == b"web\n"
        assert await session.wait() == 3
        await session.close()
        log = controller.log("default", "web", "app", previous=False)
        assert LogFormatter(LogOptions()).feed(log.path.read_bytes()) == b"web!\nweb"
        node.server.remove(PODS, "web", "default")
        async with asyncio.timeout(10):
            while node.sandboxes.known:  # noqa: ASYNC110 - the kernel is the only witness
                await asyncio.sleep(0.02)
