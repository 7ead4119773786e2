"""A sandbox of an ordinary user, started by root's test run too."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import visits
from tests.cluster.manifests import deployment, service, sleeper
from tests.cluster.sandbox import WHERRY, Sandbox
from wherry.sandbox.leftovers import marked


class AsUser(Sandbox):
    """A sandbox whose programs all run as another user."""

    def __init__(self, home: Path, name: str, user: pwd.struct_passwd) -> None:
        super().__init__(home, name)
        self._drop = [
            "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--inh-caps=-all", "--",
        ]  # fmt: skip

    def wherry_argv(self, command: str, *arguments: str) -> list[str]:
        return [*self._drop, *super().wherry_argv(command, *arguments)]

    def kubectl_argv(self, *arguments: str) -> list[str]:
        return [*self._drop, *super().kubectl_argv(*arguments)]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    if os.geteuid() != 0:
        # Then every test here runs as an ordinary user; this one is for those who run them as root.
        pytest.skip("these tests run as an ordinary user already")
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv (util-linux)")
    user = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="wherry-user-") as folder:
        home = Path(folder)
        os.chown(home, user.pw_uid, user.pw_gid)
        found = AsUser(home, "unprivileged", user)
        tried = subprocess.run(
            [*found.wherry_argv("version")[:-2]], capture_output=True, text=True, env=found.env, cwd="/", check=False
        )
        if tried.returncode:
            pytest.skip(f"{user.pw_name} cannot run {WHERRY}: {tried.stderr.strip().splitlines()[-1]}")
        yield found


def test_an_ordinary_user_has_a_whole_cluster(sandbox: Sandbox) -> None:
    try:
        sandbox.up()
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in marked(sandbox.directory)}
        assert 0 not in owners
        sandbox.apply(deployment("app", 4), service("app", 80, 8080), sleeper("one", nodeName="node-1"))
        sandbox.kubectl("rollout", "status", "deploy/app", "--timeout=30s")
        sandbox.kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=30s")
        homes = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in sandbox.get("pods")["items"]}
        address = sandbox.get("service", "app")["spec"]["clusterIP"]
        answers = visits.call(sandbox, "default", "one", f"http://{address}/", 40)
        assert {homes[answer["pod"]] for answer in answers} == {"node-1", "node-2"}
        assert "eth0" in sandbox.wherry("node exec", "node-2", "--", "ip", "link").out
        sandbox.wherry("node stop", "node-2")
        sandbox.wherry("node start", "node-2")
        sandbox.wherry("node isolate", "node-2")
        assert "isolated from control-plane,nodes" in sandbox.wherry("node ls").out
        sandbox.wherry("node rejoin", "node-2")
    finally:
        sandbox.wherry("down")
    assert marked(sandbox.directory) == []
    assert not sandbox.directory.exists()
