"""kill -9 of any process: it is started again, pods and connections live on, nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import visits
from tests.cluster.manifests import deployment, pod, service, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.kube.objects import Pod
from wherry.sandbox.leftovers import marked

#: Answers each line on one connection after the other until it ends.
_ECHO = """
import socket
server = socket.create_server(("", 9000))
while True:
    peer, _ = server.accept()
    with peer, peer.makefile("rwb", buffering=0) as lines:
        for line in lines:
            lines.write(line)
"""
#: Passes lines between its own standard streams and one connection.
_TALK = """
import socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30)
with peer, peer.makefile("rwb", buffering=0) as lines:
    for line in iter(sys.stdin.buffer.readline, b""):
        lines.write(line)
        sys.stdout.buffer.write(lines.readline())
        sys.stdout.buffer.flush()
"""
#: The same over one HTTP connection that is kept open.
_TALK_HTTP = """
import http.client, json, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=30)
connection.connect()
first = connection.sock.getsockname()
for line in sys.stdin:
    connection.request("POST", "/", line.encode(), {"Accept": "application/json"})
    said = json.loads(connection.getresponse().read())
    assert connection.sock is not None and connection.sock.getsockname() == first, "the connection was closed"
    print(said["body"].strip(), flush=True)
"""


class Talk:
    """A connection between two pods that is kept open; its client end runs beside the cluster, in a node."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def say(self, word: str) -> str:
        """Send a word over the connection and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def talking(cluster: Sandbox, program: str, address: str, port: int) -> Iterator[Talk]:
    """Open a connection from node-1; it does not pass through any process of the sandbox."""
    argv = ["-c", program, address, str(port)]
    command = [*cluster.wherry_argv("node exec", "node-1"), "--", "python3", *argv]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=cluster.env
    ) as process:
        try:
            yield Talk(process)
        finally:
            process.kill()


def kill(cluster: Sandbox, name: str) -> None:
    """Kill a process of the sandbox and wait until another runs in its place."""
    before = next(p for p in cluster.status()["processes"] if p["name"] == name)
    os.kill(before["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        now = next(p for p in cluster.status()["processes"] if p["name"] == name)
        if now["pid"] not in (0, before["pid"]):
            assert now["restarts"] == before["restarts"] + 1
            assert now["lastExit"] == "signal SIGKILL"
            return
        time.sleep(0.02)
    raise AssertionError(f"{name} was not started again")


def healthy(cluster: Sandbox) -> None:
    """Wait until `wherry status` finds nothing wrong."""
    deadline = time.monotonic() + 20
    while not (report := cluster.status())["healthy"]:
        assert time.monotonic() < deadline, report
        time.sleep(0.05)


def ready(each: Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in each.status.conditions)


@pytest.fixture
def scene(cluster: Sandbox, namespace: str) -> str:
    """A namespace with a program and stand-ins on node-2, each behind a service."""
    program = pod("echo", "python3", "-c", _ECHO, image="python:3", nodeName="node-2")
    # A probe by exec, since the program serves one connection after the other.
    listens = ["python3", "-c", "assert ':2328 ' in open('/proc/net/tcp').read()"]
    program["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": listens}, "periodSeconds": 1}
    cluster.apply(
        program, service("echo", 9000, 9000), deployment("app", 2, nodeName="node-2"), service("app", 80, 8080),
        sleeper("caller", nodeName="node-1"), namespace=namespace,
    )  # fmt: skip
    cluster.kubectl("-n", namespace, "rollout", "status", "deploy/app", "--timeout=30s")
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/echo", "pod/caller", "--timeout=30s")
    return namespace


@pytest.mark.parametrize("victim", ["apiserver", "controllers", "agent-node-2", "runtime-node-2", "agent-node-1"])
def test_killed_process_comes_back_and_programs_do_not_notice(cluster: Sandbox, scene: str, victim: str) -> None:
    def identities() -> dict[str, tuple[str, str]]:
        pods = cluster.get("-n", scene, "pods")["items"]
        return {
            p["metadata"]["name"]: (p["status"]["podIP"], p["status"]["containerStatuses"][0]["restartCount"])
            for p in pods
        }

    before = identities()
    echo = cluster.get("-n", scene, "service", "echo")["spec"]["clusterIP"]
    app = cluster.get("-n", scene, "service", "app")["spec"]["clusterIP"]
    with talking(cluster, _TALK, echo, 9000) as program, talking(cluster, _TALK_HTTP, app, 80) as stand_in:
        assert program.say("before") == "before"
        assert stand_in.say("before") == "before"
        kill(cluster, victim)
        assert program.say("while") == "while"
        healthy(cluster)
        # What the process does is done again: a new pod on its node comes to run, and old ones stay what they are.
        cluster.apply(sleeper("later", nodeName="node-2"), namespace=scene)
        cluster.kubectl("-n", scene, "wait", "--for=condition=Ready", "pod/later", "--timeout=30s")
        cluster.kubectl("-n", scene, "scale", "deploy/app", "--replicas=3")
        cluster.kubectl("-n", scene, "rollout", "status", "deploy/app", "--timeout=30s")
        assert program.say("after") == "after"
        if victim != "runtime-node-2":
            # The runtime holds the stand-ins' own sockets; all others may go without a connection breaking.
            assert stand_in.say("after") == "after"
    after = identities()
    kept = {name: identity for name, identity in after.items() if name in before}
    if victim == "runtime-node-2":
        assert kept["echo"] == before["echo"]
        assert {name: address for name, (address, _) in kept.items()} == {n: a for n, (a, _) in before.items()}
    else:
        assert kept == before
    assert len(visits.call(cluster, scene, "caller", f"http://{app}/", 5)) == 5
    assert cluster.kubectl("-n", scene, "exec", "echo", "--", "echo", "there").out == "there\n"
    assert cluster.kubectl("-n", scene, "logs", "echo").code == 0


def test_acknowledged_writes_survive_the_api_server(cluster: Sandbox, namespace: str) -> None:
    """Everything kubectl said was created while the server was killed in the middle is there afterwards."""
    acknowledged: list[str] = []
    stop = threading.Event()

    def write(worker: int) -> None:
        number = 0
        while not stop.is_set():
            name = f"w{worker}-{number}"
            number += 1
            said = cluster.kubectl(
                "-n", namespace, "create", "configmap", name, f"--from-literal=n={number}", code=None
            )
            if said.code == 0:
                acknowledged.append(name)

    workers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(2):
            seen = len(acknowledged)
            deadline = time.monotonic() + 20
            while len(acknowledged) < seen + 6:
                assert time.monotonic() < deadline, "no write was acknowledged"
                time.sleep(0.01)
            kill(cluster, "apiserver")
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    healthy(cluster)
    found = {obj["metadata"]["name"] for obj in cluster.get("-n", namespace, "configmaps")["items"]}
    assert set(acknowledged) <= found


def test_a_watch_goes_on_over_a_restart_of_the_api_server(cluster: Sandbox, namespace: str) -> None:
    """A deployment changed right after the kill is carried out: controllers and agents watch on."""
    cluster.apply(deployment("app", 1), namespace=namespace)
    kill(cluster, "apiserver")
    cluster.kubectl("-n", namespace, "scale", "deploy/app", "--replicas=4")
    cluster.until(kinds.PODS, lambda pods: len(pods) == 4 and all(map(ready, pods)), namespace=namespace)


def test_down_after_the_supervisor_was_killed(home: Path) -> None:
    sandbox = Sandbox(home, "headless")
    sandbox.up()
    try:
        sandbox.apply(deployment("app", 2), sleeper("one"))
        sandbox.kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=30s")
        pids = marked(sandbox.directory)
        supervisor = next(
            pid
            for pid in pids
            if b"sandbox-supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes()
            and Path(f"/proc/{pid}/comm").read_text().startswith(("wherry\n", "python"))
        )
        os.kill(supervisor, signal.SIGKILL)
        # The cluster goes on without it.
        assert sandbox.kubectl("get", "--raw", "/readyz").out == "ok"
        said = sandbox.wherry("status", code=None)
        assert "its supervisor has died; end it by `wherry down --name headless`" in said.out + said.err
    finally:
        sandbox.wherry("down")
    assert marked(sandbox.directory) == []
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists() and _runs(pid)]
    assert not sandbox.directory.exists()


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
