"""kubectl exec, logs, cp and port-forward: streams in and out of containers."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

from tests.cluster import visits
from tests.cluster.manifests import deployment, pod, sleeper
from tests.cluster.sandbox import Sandbox


@pytest.fixture
def sleeping(cluster: Sandbox, namespace: str) -> str:
    """The namespace, with a Ready pod `one` in it."""
    cluster.apply(sleeper("one"), namespace=namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/one", "--timeout=30s")
    return namespace


def test_exec_keeps_streams_apart_and_returns_the_exit_code(cluster: Sandbox, sleeping: str) -> None:
    said = cluster.kubectl("-n", sleeping, "exec", "one", "--", "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert said.out == "out\n"
    assert said.err.splitlines() == ["err", "command terminated with exit code 7"]


def test_exec_carries_a_megabyte_both_ways(cluster: Sandbox, sleeping: str) -> None:
    data = "".join(f"{n:07d}\n" for n in range(1 << 17))
    assert cluster.kubectl("-n", sleeping, "exec", "-i", "one", "--", "cat", stdin=data).out == data


def test_exec_of_a_program_that_is_not_there(cluster: Sandbox, sleeping: str) -> None:
    said = cluster.kubectl("-n", sleeping, "exec", "one", "--", "/no/such/program", code=None)
    assert said.code != 0
    assert "/no/such/program" in said.err


def test_exec_in_a_stand_in(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(deployment("app", 1), namespace=namespace)
    cluster.kubectl("-n", namespace, "rollout", "status", "deploy/app", "--timeout=30s")
    said = cluster.kubectl("-n", namespace, "exec", "deploy/app", "--", "sh", "-c", "hostname; cat /etc/hosts").out
    found = cluster.get("-n", namespace, "pods")["items"][0]
    assert said.splitlines()[0] == found["metadata"]["name"]
    assert found["status"]["podIP"] in said


def test_exec_on_a_terminal(cluster: Sandbox, sleeping: str) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb+", buffering=0) as terminal:
        argv = cluster.kubectl_argv("-n", sleeping, "exec", "-it", "one", "--", "sh")
        with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=cluster.env) as shell:
            os.close(theirs)
            try:
                # Split in the middle, so that the echo of what is typed is not taken for the answer.
                terminal.write(b"test -t 0 && echo termi''nal\n")
                assert b"terminal\r\n" in _read_until(terminal.fileno(), b"terminal\r\n")
                # What is interrupted says itself that it runs: before that, the keys would be the shell's.
                terminal.write(b"sh -c 'echo star\"\"ted; exec sleep 100'\n")
                _read_until(terminal.fileno(), b"started\r\n")
                terminal.write(b"\x03")
                terminal.write(b"echo on''ward; exit 5\n")
                assert b"onward\r\n" in _read_until(terminal.fileno(), b"onward\r\n")
                assert shell.wait(timeout=20) == 5
            finally:
                shell.kill()


def _read_until(file: int, words: bytes, within: float = 20) -> bytes:
    deadline = time.monotonic() + within
    seen = b""
    while words not in seen:
        readable, _, _ = select.select([file], [], [], max(0.0, deadline - time.monotonic()))
        assert readable, f"{words!r} did not come within {within:g} s, but {seen!r}"
        seen += os.read(file, 65536)
    return seen


def test_logs_follow_until_the_end(cluster: Sandbox, namespace: str) -> None:
    script = "echo first; read go < /gate/pipe; echo second"
    volume = {"name": "gate", "emptyDir": {}}
    init = {"name": "pipe", "image": "busybox", "command": ["mkfifo", "/gate/pipe"],
            "volumeMounts": [{"name": "gate", "mountPath": "/gate"}]}  # fmt: skip
    cluster.apply(
        pod("talker", "sh", "-c", script, restartPolicy="Never", volumes=[volume], initContainers=[init],
            container={"volumeMounts": [{"name": "gate", "mountPath": "/gate"}]}),
        namespace=namespace,
    )  # fmt: skip
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/talker", "--timeout=30s")
    argv = cluster.kubectl_argv("-n", namespace, "logs", "-f", "talker")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=cluster.env) as following:
        assert following.stdout is not None
        try:
            assert following.stdout.readline() == "first\n"
            # The shell may still be there when its word ends the container, and be killed with it.
            argv = ("exec", "talker", "--", "sh", "-c", "echo go > /gate/pipe")
            assert cluster.kubectl("-n", namespace, *argv, code=None).code in (0, 137)
            assert following.stdout.readline() == "second\n"
            assert following.stdout.read() == ""
            assert following.wait(timeout=10) == 0
        finally:
            following.kill()
    assert cluster.kubectl("-n", namespace, "logs", "talker", "--tail=1").out == "second\n"
    stamped = cluster.kubectl("-n", namespace, "logs", "talker", "--timestamps").out.splitlines()
    assert [line.partition("Z ")[2] for line in stamped] == ["first", "second"]


def test_logs_of_the_previous_container(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(
        pod("twice", "sh", "-c", "echo run; sleep 0.1; test -e /keep/done && sleep infinity; touch /keep/done; exit 1",
            volumes=[{"name": "keep", "emptyDir": {}}],
            container={"volumeMounts": [{"name": "keep", "mountPath": "/keep"}]}),
        namespace=namespace,
    )  # fmt: skip
    waited = "jsonpath={.status.containerStatuses[0].restartCount}=1"
    cluster.kubectl("-n", namespace, "wait", f"--for={waited}", "pod/twice", "--timeout=30s")
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/twice", "--timeout=30s")
    assert cluster.kubectl("-n", namespace, "logs", "twice", "--previous").out == "run\n"


def test_logs_of_a_stand_in_show_who_called(shop: Sandbox) -> None:
    address = shop.get("-n", "shop", "service", "api")["spec"]["clusterIP"]
    answer = visits.call(shop, "shop", "reports", f"http://{address}:3000/orders/7")[0]
    assert "GET /orders/7" in shop.kubectl("-n", "shop", "logs", answer["pod"]).out


def test_cp_both_ways(cluster: Sandbox, sleeping: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("ahoy")
    cluster.kubectl("-n", sleeping, "cp", str(tmp_path / "there"), "one:/tmp/there")
    assert cluster.kubectl("-n", sleeping, "exec", "one", "--", "cat", "/tmp/there").out == "ahoy"
    cluster.kubectl("-n", sleeping, "cp", "one:/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "ahoy"
