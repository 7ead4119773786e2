"""kubectl as it was before it spoke WebSocket: exec, copies and port-forward over SPDY/3.1."""

from __future__ import annotations

import socket
import subprocess

import pytest

from tests.cluster.manifests import pod, sleeper
from tests.cluster.sandbox import Sandbox, run

OLD = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}


@pytest.fixture
def pods(cluster: Sandbox, namespace: str) -> str:
    """A namespace with the pods `main`, in which commands run, and `web`, a stand-in."""
    web = pod("web", image="nginx", container={"ports": [{"containerPort": 80}]})
    cluster.apply(sleeper("main"), web, namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/main", "pod/web", "--timeout=30s")
    return namespace


def test_commands_their_streams_and_exit_codes(cluster: Sandbox, pods: str) -> None:
    def command(*arguments: str, stdin: str = "", code: int = 0) -> tuple[str, str]:
        argv = cluster.kubectl_argv("-n", pods, "exec", *arguments)
        said = run(argv, env={**cluster.env, **OLD}, stdin=stdin, code=code)
        return said.out, said.err

    out, err = command("main", "--", "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert out == "out\n"
    assert "err\n" in err
    assert "command terminated with exit code 3" in err
    big = "0123456789" * 100_000
    assert command("-i", "main", "--", "cat", stdin=big) == (big, "")
    _, err = command("main", "--", "no-such-program", code=1)
    assert "executable file not found in $PATH" in err


def test_ports_are_forwarded(cluster: Sandbox, pods: str) -> None:
    argv = cluster.kubectl_argv("-n", pods, "port-forward", "pod/web", ":80", "--address=127.0.0.1")
    with subprocess.Popen(argv, env={**cluster.env, **OLD}, stdout=subprocess.PIPE, text=True) as forwarder:
        try:
            assert forwarder.stdout is not None
            port = int(forwarder.stdout.readline().split("127.0.0.1:")[1].split()[0])
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                    connection.sendall(b"GET /old HTTP/1.0\r\n\r\n")
                    answer = b"".join(iter(lambda: connection.recv(65536), b""))
                assert b"request: GET /old HTTP/1.0" in answer
        finally:
            forwarder.terminate()
            forwarder.wait(10)
