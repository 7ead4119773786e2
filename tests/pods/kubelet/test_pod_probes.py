"""Probes: thresholds, order, answers over real sockets, and what they do to a pod."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from wherry.kube.objects import Container, Probe
from wherry.kube.objects.containers import ContainerPort, HttpGetAction, HttpHeader, TcpSocketAction
from wherry.kube.version import MAJOR, MINOR
from wherry.pods.model import ContainerSpec
from wherry.pods.probes import ask
from wherry.pods.probes.tracker import Tracker
from wherry.pods.testing import FakeSession
from wherry.pods.testing.node import Node, condition, container, pod

WEB = Container(name="web", ports=(ContainerPort(container_port=8080, name="http"),))


@asynccontextmanager
async def listening(answer: bytes | None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that sends one answer to every request; None never answers."""
    heads: list[bytes] = []
    release = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.IncompleteReadError:
            writer.close()
            return
        if answer is None:
            await release.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        release.set()
        server.close()
        for writer in writers:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def get(port: int, path: str = "/health", **fields: object) -> tuple[bool, str]:
    action = HttpGetAction(port=port, path=path, **fields)  # type: ignore[arg-type]
    outcome = await ask.http(action, container=WEB, address="127.0.0.1", timeout=0.3)
    return outcome.success, outcome.message


@pytest.mark.parametrize(
    ("answer", "success", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nfine", True, ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", True, ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\n\r\n", True, "Probe terminated redirects"),
        (b"HTTP/1.1 399 Odd\r\n\r\n", True, ""),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False, "HTTP probe failed with statuscode: 404"),
        (b"HTTP/1.1 500 Oops\r\n\r\n", False, "HTTP probe failed with statuscode: 500"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", False, "malformed HTTP response"),
        (b"", False, "EOF"),
        (None, False, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
    ],
)
async def test_http_answers(answer: bytes | None, success: bool, message: str) -> None:
    async with listening(answer) as (port, _):
        found, text = await get(port)
    assert found is success
    assert message in text


async def test_http_redirects_on_the_same_host_are_followed_ten_times() -> None:
    async with listening(b"HTTP/1.1 301 Moved\r\nLocation: /again\r\n\r\n") as (port, heads):
        success, message = await get(port)
    assert not success
    assert "stopped after 10 redirects" in message
    assert len(heads) == 10


async def test_http_sends_the_headers_of_the_probe() -> None:
    async with listening(b"HTTP/1.1 200 OK\r\n\r\n") as (port, heads):
        await get(port, "ready?deep=1", http_headers=(HttpHeader(name="host", value="shop.example"),))
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "GET /ready?deep=1 HTTP/1.1"
    assert "host: shop.example" in lines
    assert not any(line.startswith("Host:") for line in lines)
    assert any(line.startswith(f"User-Agent: kube-probe/{MAJOR}.{MINOR}") for line in lines)


async def test_nobody_listening_is_said_in_the_kubelets_words() -> None:
    async with listening(b"") as (port, _):
        pass
    success, message = await get(port)
    assert not success
    assert message == f'Get "http://127.0.0.1:{port}/health": dial tcp 127.0.0.1:{port}: connect: connection refused'
    outcome = await ask.tcp(TcpSocketAction(port=port), container=WEB, address="127.0.0.1", timeout=1)
    assert outcome.message == f"dial tcp 127.0.0.1:{port}: connect: connection refused"


async def test_tcp_needs_only_a_listener() -> None:
    async with listening(None) as (port, _):
        outcome = await ask.tcp(TcpSocketAction(port=str(port)), container=WEB, address="127.0.0.1", timeout=1)
    assert outcome.success


def test_ports_by_name_and_number() -> None:
    assert ask.port_number("http", WEB) == 8080
    assert ask.port_number("9090", WEB) == 9090
    assert ask.port_number(1, WEB) == 1
    for wrong in ("grpc", 0, 70000):
        with pytest.raises(ask.PortError):
            ask.port_number(wrong, WEB)


def test_thresholds_count_consecutive_answers() -> None:
    tracker = Tracker(Probe(success_threshold=2, failure_threshold=3), True)
    changes = [tracker.observe(answer) for answer in (False, False, True, False, False, False, True, True)]
    assert changes == [False, False, False, False, False, True, False, True]
    assert tracker.result is True


# -- through the controller -------------------------------------------------------------------------------------------


def answers(node: Node, decide: Callable[[], bool]) -> None:
    """Make exec probes succeed or fail as `decide` says; containers with a busybox image run programs."""

    def run(_spec: ContainerSpec, _argv: tuple[str, ...]) -> FakeSession:
        return FakeSession(code=0 if decide() else 1, stderr=b"not now")

    node.runtime.commands = run


def probe(**fields: object) -> dict[str, object]:
    return {"exec": {"command": ["check"]}, "periodSeconds": 1, "failureThreshold": 1} | fields


def program(**fields: object) -> dict[str, object]:
    return container(image="busybox", command=["sleep"], **fields)


async def test_readiness_follows_the_probe(node: Node) -> None:
    healthy = [False]
    answers(node, lambda: healthy[0])
    async with node.running():
        node.put(pod(containers=[program(readinessProbe=probe())]))
        assert await node.until_event("Unhealthy") == "Readiness probe failed: not now"
        found = await node.until(lambda: node.get() if node.get()["status"].get("containerStatuses") else None)
        assert condition(found, "Ready") == "False"
        healthy[0] = True
        await node.until_ready()
        healthy[0] = False
        await node.until(lambda: condition(node.get(), "Ready") == "False")
        assert node.get()["status"]["containerStatuses"][0]["restartCount"] == 0


async def test_a_failed_liveness_probe_restarts_the_container(node: Node) -> None:
    healthy = [True]
    answers(node, lambda: healthy[0])
    async with node.running():
        node.put(pod(containers=[program(livenessProbe=probe())]))
        await node.until_ready()
        first = node.id_of("web")
        healthy[0] = False
        await node.until_runtime(lambda: node.runtime.running() and node.id_of("web") != first)
        healthy[0] = True
        assert await node.until_event("Killing") == "Container web failed liveness probe, will be restarted"


async def test_the_startup_probe_holds_the_others_back(node: Node) -> None:
    started = [False]
    asked: list[str] = []

    def run(_spec: ContainerSpec, argv: tuple[str, ...]) -> FakeSession:
        asked.append(argv[0])
        return FakeSession(code=0 if started[0] or argv[0] != "startup" else 1)

    node.runtime.commands = run
    async with node.running():
        node.put(
            pod(
                containers=[
                    program(
                        startupProbe=probe(exec={"command": ["startup"]}, failureThreshold=10),
                        readinessProbe=probe(exec={"command": ["ready"]}, periodSeconds=30),
                    )
                ]
            )
        )
        await node.until_event("Unhealthy")
        assert set(asked) == {"startup"}
        assert node.get()["status"]["containerStatuses"][0]["started"] is False
        started[0] = True
        # The period of the readiness probe is longer than this test: the first one is asked at once.
        found = await node.until_ready()
        assert found["status"]["containerStatuses"][0]["started"] is True


async def test_a_stand_in_answers_probes_it_cannot_run(node: Node) -> None:
    async with node.running():
        node.put(pod(containers=[container(readinessProbe=probe())]))
        await node.until_ready()
        assert ("exec", node.id_of("web")) not in node.runtime.calls
        assert len(node.writes("/status")) == 1
