"""The kubelet API over real TLS: who may call, logs that are followed, commands over WebSocket."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from wherry.kube.pki import Authority
from wherry.pods.api.backend import End
from wherry.pods.api.channels import ExecProtocol, ProtocolError, Resize, StdinClosed, StdinData
from wherry.pods.api.logformat import LogFormatter, LogOptions, tail_offset
from wherry.pods.api.logs import read_log
from wherry.pods.api.server import KubeletApi, KubeletApiSettings
from wherry.pods.model import ContainerSpec
from wherry.pods.runtime.exec import ExecFailed
from wherry.pods.testing import FakeSession
from wherry.pods.testing.node import Node, container, pod

LOG = b"".join(b"2026-11-22T16:00:%02d.000000000Z stdout F line %d\n" % (n, n) for n in range(10))


class Served:
    """A running kubelet API and the certificates to call it with."""

    def __init__(self, directory: Path, authority: Authority, port: int) -> None:
        self._directory = directory
        self._authority = authority
        self.base = f"https://127.0.0.1:{port}"

    @asynccontextmanager
    async def session(self, user: str | None, *groups: str) -> AsyncIterator[aiohttp.ClientSession]:
        context = ssl.create_default_context(cadata=self._authority.certificate.decode())
        if user is not None:
            pair = self._authority.issue_client(user, groups)
            pair.save(self._directory / "client.crt", self._directory / "client.key")
            context.load_cert_chain(self._directory / "client.crt", self._directory / "client.key")
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(self.base, connector=connector) as session:
            yield session
        # TLS connections take a turn of the loop to close.
        await asyncio.sleep(0.05)


@asynccontextmanager
async def serving(node: Node) -> AsyncIterator[Served]:
    directory = node.directory
    authority = Authority.create("test")
    pair = authority.issue_server("node-1", ["127.0.0.1"])
    pair.save(directory / "kubelet.crt", directory / "kubelet.key")
    (directory / "ca.crt").write_bytes(authority.certificate)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with node.running() as controller:
        settings = KubeletApiSettings(
            certificate=directory / "kubelet.crt",
            key=directory / "kubelet.key",
            client_ca=directory / "ca.crt",
            port=port,
            hosts=("127.0.0.1",),
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(KubeletApi(controller, settings=settings).run())
            async with asyncio.timeout(5):
                while not await _open(port):  # noqa: ASYNC110 - the only sign of a listening socket
                    await asyncio.sleep(0.01)
            yield Served(directory, authority, port)
            task.cancel()


async def _open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize(
    ("user", "groups", "status"),
    [
        (None, (), 401),
        ("mallory", (), 403),
        ("system:node:node-2", ("system:nodes",), 403),
        ("kube-apiserver", (), 200),
        ("admin", ("system:masters",), 200),
    ],
)
async def test_only_the_api_server_and_masters_may_call(
    node: Node, user: str | None, groups: tuple[str, ...], status: int
) -> None:
    async with serving(node) as served, served.session(user, *groups) as session, session.get("/healthz") as answer:
        assert answer.status == status


async def test_logs_with_every_option(node: Node) -> None:
    async with serving(node) as served, served.session("kube-apiserver") as session:
        node.put(pod())
        await node.until_ready()
        path = Path(node.runtime.running()["web"].log_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(LOG)

        async def logs(query: str = "") -> str:
            async with session.get(f"/containerLogs/default/web/web?{query}") as answer:
                return await answer.text()

        assert await logs() == "".join(f"line {n}\n" for n in range(10))
        assert await logs("tailLines=2") == "line 8\nline 9\n"
        assert await logs("tailLines=0") == ""
        assert await logs("limitBytes=4") == "line"
        assert await logs("sinceTime=2026-11-22T16:00:08Z&timestamps=true") == (
            "2026-11-22T16:00:08.000000000Z line 8\n2026-11-22T16:00:09.000000000Z line 9\n"
        )
        async with session.get("/containerLogs/default/web/web?tailLines=x") as answer:
            assert (answer.status, await answer.text()) == (
                400,
                "tailLines must be a whole number that is not negative, not 'x'\n",
            )
        async with session.get("/containerLogs/default/web/web?previous=true") as answer:
            assert (answer.status, await answer.text()) == (
                400,
                'previous terminated container "web" in pod "web" not found\n',
            )
        async with session.get("/containerLogs/default/nothing/web") as answer:
            assert answer.status == 404


async def test_a_followed_log_ends_with_its_container(node: Node) -> None:
    async with serving(node) as served, served.session("kube-apiserver") as session:
        node.put(pod(restartPolicy="Never"))
        await node.until_ready()
        path = Path(node.runtime.running()["web"].log_path)
        async with session.get("/containerLogs/default/web/web?follow=true") as answer:
            with path.open("ab", buffering=0) as log:  # noqa: ASYNC230 - a local file
                log.write(b"2026-11-22T16:00:00.0Z stdout P to ")
                log.write(b"be\n2026-11-22T16:00:00.1Z stdout F gin\n")
                assert await answer.content.readexactly(9) == b"to begin\n"
                log.write(b"2026-11-22T16:00:01.0Z stderr F end\n")
            node.runtime.exit(node.id_of("web"))
            assert await answer.content.read() == b"end\n"


async def test_exec_carries_input_output_and_exit_code(node: Node) -> None:
    def run(_spec: ContainerSpec, argv: tuple[str, ...]) -> FakeSession:
        return FakeSession(echo=True, code=3) if argv == ("cat", "-") else FakeSession(stderr=b"no such thing", code=1)

    node.runtime.commands = run
    async with serving(node) as served, served.session("kube-apiserver") as session:
        node.put(pod())
        await node.until_ready()
        path = "/exec/default/web/web?command=cat&command=-&input=1&output=1&error=1"
        async with session.ws_connect(path, protocols=["v5.channel.k8s.io"]) as socket_:
            assert socket_.protocol == "v5.channel.k8s.io"
            assert (await socket_.receive_bytes()) == b"\x01"
            await socket_.send_bytes(b"\x00hello")
            assert (await socket_.receive_bytes()) == b"\x01hello"
            await socket_.send_bytes(b"\xff\x00")
            status: dict[str, Any] = msgspec.json.decode((await socket_.receive_bytes())[1:])
            assert status["reason"] == "NonZeroExitCode"
            assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
        path = "/exec/default/web/web?command=other&stderr=true"
        async with session.ws_connect(path, protocols=["v4.channel.k8s.io"]) as socket_:
            messages = [await socket_.receive_bytes() for _ in range(3)]
            assert messages[:2] == [b"\x02", b"\x02no such thing"]


def entry(stream: str, text: str) -> bytes:
    return f"2026-11-22T16:00:00.0Z {stream} F {text}\n".encode()


async def attached(socket_: aiohttp.ClientWebSocketResponse, count: int) -> list[bytes]:
    """The next messages that say something."""
    found: list[bytes] = []
    while len(found) < count:
        message = await socket_.receive_bytes()
        if len(message) > 1:
            found.append(message)
    return found


async def test_attached_clients_get_what_is_written_from_now_on(node: Node) -> None:
    async with serving(node) as served, served.session("kube-apiserver") as session:
        node.put(pod())
        await node.until_ready()
        path = Path(node.runtime.running()["web"].log_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry("stdout", "before"))
        url = "/attach/default/web/web?output=1&error=1"
        async with (
            session.ws_connect(url, protocols=["v5.channel.k8s.io"]) as one,
            session.ws_connect(url, protocols=["v4.channel.k8s.io"]) as two,
        ):
            for socket_ in (one, two):
                assert await socket_.receive_bytes() == b"\x01"
            with path.open("ab", buffering=0) as log:  # noqa: ASYNC230 - a local file
                log.write(entry("stdout", "out"))
                log.write(entry("stderr", "err"))
                for socket_ in (one, two):
                    assert sorted(await attached(socket_, 2)) == [b"\x01out\n", b"\x02err\n"]
                log.write(entry("stdout", "end"))
            node.runtime.exit(node.id_of("web"), 3)
            for socket_ in (one, two):
                output, status = await attached(socket_, 2)
                assert output == b"\x01end\n"
                assert msgspec.json.decode(status[1:])["status"] == "Success"


@pytest.mark.parametrize("once", [True, False])
async def test_the_end_of_a_clients_input(node: Node, once: bool) -> None:
    async with serving(node) as served, served.session("kube-apiserver") as session:
        node.put(pod(containers=[container(stdin=True, stdinOnce=once)], restartPolicy="Never"))
        await node.until_ready()
        path = Path(node.runtime.running()["web"].log_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry("stdout", "early"))
        url = "/attach/default/web/web?input=1&output=1"
        async with session.ws_connect(url, protocols=["v5.channel.k8s.io"]) as socket_:
            if once:
                # Its only client is the one that waited for it to start.
                assert await attached(socket_, 1) == [b"\x01early\n"]
            await socket_.send_bytes(b"\x00hello")
            while not node.runtime.inputs:  # noqa: ASYNC110 - opened by the request
                await asyncio.sleep(0.01)
            source = node.runtime.inputs[0]
            assert await source.written.get() == b"hello"
            await socket_.send_bytes(b"\xff\x00")
            if once:
                while not source.ended:  # noqa: ASYNC110 - noted by the fake
                    await asyncio.sleep(0.01)
                node.runtime.exit(node.id_of("web"))
            [status] = await attached(socket_, 1)
            assert msgspec.json.decode(status[1:])["status"] == "Success"
        assert source.ended is once
        assert source.closed


@pytest.mark.parametrize("tty", [True, False])
async def test_a_client_that_goes_away_ends_only_input_meant_for_it_alone(node: Node, tty: bool) -> None:
    async with serving(node) as served, served.session("kube-apiserver") as session:
        node.put(pod(containers=[container(stdin=True, stdinOnce=True, tty=tty)]))
        await node.until_ready()
        url = "/attach/default/web/web?input=1&output=1&tty=1"
        async with session.ws_connect(url, protocols=["v5.channel.k8s.io"]) as socket_:
            await socket_.send_bytes(b'\x04{"Width":120,"Height":40}')
            await socket_.send_bytes(b"\x00x")
            while not node.runtime.inputs:  # noqa: ASYNC110 - opened by the request
                await asyncio.sleep(0.01)
            source = node.runtime.inputs[0]
            assert await source.written.get() == b"x"
        async with asyncio.timeout(5):
            while not source.closed:  # noqa: ASYNC110 - noted by the fake
                await asyncio.sleep(0.01)
        assert source.sizes == [(40, 120)]
        assert source.ended is not tty


@pytest.mark.parametrize("version", ["v4.channel.k8s.io", "v5.channel.k8s.io"])
async def test_why_a_command_cannot_run_is_read_from_the_error_channel(node: Node, version: str) -> None:
    def run(_spec: ContainerSpec, argv: tuple[str, ...]) -> FakeSession:
        raise ExecFailed(f"there is no {argv[0]}")

    node.runtime.commands = run
    async with serving(node) as served, served.session("kube-apiserver") as session:
        node.put(pod())
        node.put(pod("gone", restartPolicy="Never"))
        await node.until_ready()
        await node.until_ready("gone")
        node.runtime.exit(next(id_ for id_, spec in node.runtime.specs.items() if spec.pod == "gone"))
        await node.until_phase("Succeeded", "gone")
        for path, code, reason, message in (
            ("web/web?command=ls", 500, "InternalError", "there is no ls"),
            ("web/web", 400, "BadRequest", "you must specify at least 1 command"),
            ("web/other?command=ls", 404, "NotFound", "container other is not valid for pod web"),
            ("gone/web?command=ls", 400, "BadRequest", 'container "web" of pod "default/gone" is not running'),
        ):
            async with session.ws_connect(f"/exec/default/{path}", protocols=[version]) as socket_:
                answer = await socket_.receive_bytes()
                assert answer[:1] == b"\x03"
                status: dict[str, Any] = msgspec.json.decode(answer[1:])
                assert (status["status"], status["code"], status["reason"]) == ("Failure", code, reason)
                assert status["message"] == message
                assert (await socket_.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_what_is_not_there_yet_says_so_in_one_line(node: Node) -> None:
    async with serving(node) as served, served.session("kube-apiserver") as session:
        node.put(pod("gone", containers=[container()], restartPolicy="Never"))
        await node.until_ready("gone")
        node.runtime.exit(node.id_of("web"))
        await node.until_phase("Succeeded", "gone")
        for path, status in (
            ("/attach/default/gone/web", 400),
            ("/portForward/default/gone", 400),
            ("/exec/default/gone/web", 400),
            ("/exec/default/gone/web?command=ls", 400),
        ):
            async with session.post(path) as answer:
                text = await answer.text()
                assert (path, answer.status) == (path, status)
                assert text.count("\n") == 1


def test_the_channels_of_both_protocols() -> None:
    v5, v4 = ExecProtocol("v5.channel.k8s.io"), ExecProtocol("v4.channel.k8s.io")
    assert v5.feed(b"\x00in") == StdinData(b"in")
    assert v5.feed(b"\x04" + b'{"Width":80,"Height":24}') == Resize(80, 24)
    assert v5.feed(b"\xff\x00") == StdinClosed()
    assert v5.feed(b"") is None
    for protocol, message in ((v4, b"\xff\x00"), (v5, b"\xff\x01"), (v5, b"\x01x"), (v5, b"\x04{")):
        with pytest.raises(ProtocolError):
            protocol.feed(message)


@pytest.mark.parametrize("step", [1, 3, 17, 4096])
def test_log_output_does_not_depend_on_how_the_file_is_sliced(step: int) -> None:
    data = LOG[:200] + b"2026-11-22T16:00:20.0Z stderr P half\n2026-11-22T16:00:21.0Z stderr F  whole\ntorn\n"
    formatter = LogFormatter(LogOptions(timestamps=True))
    pieces = b"".join(formatter.feed(data[at : at + step]) for at in range(0, len(data), step))
    assert pieces == LogFormatter(LogOptions(timestamps=True)).feed(data)
    assert pieces.endswith(b"2026-11-22T16:00:20.0Z half whole\n")


@pytest.mark.parametrize("lines", [0, 1, 2, 9, 10, 50])
def test_the_tail_is_found_from_the_end(lines: int) -> None:
    data = LOG * 500
    start = tail_offset(lambda offset, count: data[offset : offset + count], len(data), lines)
    shown = LogFormatter(LogOptions()).feed(data[start:]).splitlines()
    assert shown == [f"line {n % 10}".encode() for n in range(5000 - lines, 5000)]


def test_an_unfinished_line_counts_in_the_tail() -> None:
    data = LOG + b"2026-11-22T16:00:30.0Z stdout P prompt> \n"
    start = tail_offset(lambda offset, count: data[offset : offset + count], len(data), 2)
    assert LogFormatter(LogOptions()).feed(data[start:]) == b"line 9\nprompt> "


async def test_rotation_is_followed(tmp_path: Path) -> None:
    path, ended = tmp_path / "0.log", End()
    path.write_bytes(LOG)
    seen = bytearray()
    async for piece in read_log(path, LogOptions(follow=True, tail_lines=1), ended=ended):
        seen += piece
        if bytes(seen) == b"line 9\n":
            with path.open("ab") as old:
                old.write(b"2026-11-22T16:01:00.0Z stdout F last of the old\n")
            path.rename(tmp_path / "0.log.20261122-160100")
            path.write_bytes(b"2026-11-22T16:01:01.0Z stdout F first of the new\n")
        elif seen.endswith(b"new\n"):
            ended.happen()
    assert bytes(seen) == b"line 9\nlast of the old\nfirst of the new\n"
