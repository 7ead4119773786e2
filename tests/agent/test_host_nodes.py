"""`wherry server` and `wherry agent`: two hosts, here two network namespaces, become one cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from wherry.kernel import netns
from wherry.kernel.testing import Lan, wait_for
from wherry.sandbox.api import Api, ApiUnavailable

WHERRY = [sys.executable, "-m", "wherry"]
SERVER = "https://192.0.2.1:6443"

pytestmark = [pytest.mark.netns, pytest.mark.cluster]


@contextmanager
def host(path: Path, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run wherry as the host in a namespace, and end it as `systemctl stop` does."""
    with log.open("wb") as output:
        process = netns.spawn_in(path, [*WHERRY, *arguments], stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0, log.read_text()


def server(folder: Path, *more: str) -> tuple[str, ...]:
    kubeconfig = ("--write-kubeconfig", str(folder / "kubeconfig"))
    return ("server", "--node-name", "one", "--data-dir", str(folder / "one"), *kubeconfig, *more)


def agent(folder: Path, name: str, token: str, data: str = "") -> tuple[str, ...]:
    joining = ("--server", SERVER, "--token", token)
    return ("agent", "--node-name", name, "--data-dir", str(folder / (data or name)), *joining)


def ready_nodes(kubeconfig: Path) -> set[str]:
    """The Ready nodes as the API at 127.0.0.1 of the server's own network tells."""
    try:
        nodes = Api(kubeconfig).get("/api/v1/nodes")["items"]
    except (ApiUnavailable, OSError):
        return set()
    return {
        node["metadata"]["name"]
        for node in nodes
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    }


def test_promise_29_and_38_two_hosts_form_a_cluster(lan: Lan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = lan.join("one", "192.0.2.1/24"), lan.join("two", "192.0.2.2/24")
    for path, gateway in ((one, "192.0.2.2"), (two, "192.0.2.1")):
        netns.run_in(path, lambda via=gateway: _default_route(via))
    monkeypatch.setenv("WHERRY_CONFIG_FILE", os.devnull)
    kubeconfig, token_file = tmp_path / "kubeconfig", tmp_path / "one/server/token"
    network = ("--cluster-cidr", "10.99.0.0/16", "--flannel-backend", "host-gw")
    with host(one, tmp_path / "server.log", *server(tmp_path, *network)):
        wait_for(lambda: kubeconfig.exists() and token_file.exists(), within=15)
        token = token_file.read_text().strip()
        outside = ("--node-external-ip", "198.51.100.2", "--node-external-dns", "two.example")
        with host(two, tmp_path / "agent.log", *agent(tmp_path, "two", token), *outside):
            wait_for(lambda: netns.run_in(one, ready_nodes, kubeconfig) == {"one", "two"}, within=30)
            nodes = {n["metadata"]["name"]: n for n in netns.run_in(one, Api(kubeconfig).get, "/api/v1/nodes")["items"]}
            assert "node-role.kubernetes.io/control-plane" in nodes["one"]["metadata"]["labels"]
            assert [(each["type"], each["address"]) for each in nodes["two"]["status"]["addresses"]][:3] == [
                ("InternalIP", "192.0.2.2"), ("ExternalIP", "198.51.100.2"), ("ExternalDNS", "two.example"),
            ]  # fmt: skip
            assert nodes["two"]["spec"]["providerID"] == "k3s://two"
            told = msgspec.json.decode((tmp_path / "two/agent/cluster.json").read_bytes())
            assert (told["cluster-cidr"], told["flannel-backend"]) == (["10.99.0.0/16"], ["host-gw"])
            # The agent has no flags for either; its routes show whose they are.
            wait_for(lambda: "10.99.0.0/24" in netns.run_in(two, _routes), within=10)
            assert "10.99.0.0/16" in netns.run_in(two, _routes)
            for path in (one, two):
                wait_for(lambda at=path: "10.43.0.10" in _answered(at), within=30)
            _refused(
                two, agent(tmp_path, "three", f"K10{'0' * 64}::server:x"), "not the one that the token was made for"
            )
            secret = token.rpartition(":")[2]
            digest = token.partition("::")[0]
            _refused(two, agent(tmp_path, "three", f"{digest}::server:{secret}x"), "refuses the token")
            _refused(
                two,
                agent(tmp_path, "two", token, data="thief"),
                'node "two" is another machine at 192.0.2.2. Give this one a name',
            )
            _refused(two, agent(tmp_path, "one", token, data="thief"), 'node "one" is another machine at 192.0.2.1.')
            _refused(two, agent(tmp_path, "n" * 60, token), "too long for a certificate")
        before = netns.run_in(one, _renewed, kubeconfig, "two")
        with host(two, tmp_path / "again.log", *agent(tmp_path, "two", "what is on disk suffices")):
            wait_for(lambda: netns.run_in(one, _renewed, kubeconfig, "two") > before, within=30)
        assert netns.run_in(one, _has_password, kubeconfig, "two")
        netns.run_in(one, Api(kubeconfig).delete, "/api/v1/nodes/two")
        wait_for(lambda: not netns.run_in(one, _has_password, kubeconfig, "two"), within=10)
    assert [_answered(one), _answered(two)] == ["", ""]


def test_what_is_wrong_is_said_at_once(lan: Lan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = lan.join("one", "192.0.2.1/24")
    monkeypatch.setenv("WHERRY_CONFIG_FILE", os.devnull)
    _refused(one, server(tmp_path), "no default route")
    netns.run_in(one, lambda: _default_route("192.0.2.2"))
    _refused(one, ("agent", "--data-dir", str(tmp_path / "x")), "--server and --token are needed")
    _refused(one, agent(tmp_path, "two", "t"), "cannot be reached")
    _refused(one, server(tmp_path, "--bind-address", "192.0.2.9"), "cannot listen on 192.0.2.9 port 6443")
    _refused(one, server(tmp_path, "--cluster-cidr", "10.42.0.0/33"), "--cluster-cidr")
    assert not (tmp_path / "one").exists()


def _routes() -> set[str]:
    from wherry.kernel.netlink import Netlink

    with Netlink() as link:
        assert not [found.name for found in link.link_list() if found.name.startswith("flannel")]
        return {str(route.dst) for route in link.route_list()}


def _answered(path: str) -> str:
    """The addresses of cluster DNS that a host answers itself, as nft lists them; empty where there is no table."""
    argv = ["nft", "list", "set", "inet", "wherry-dns", "answering-4"]
    with netns.spawn_in(path, argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        return process.communicate(timeout=20)[0].decode()


def _renewed(kubeconfig: Path, node: str) -> str:
    """When the node's lease was renewed last; RFC 3339 sorts as text."""
    lease = Api(kubeconfig).get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}")
    return str(lease["spec"]["renewTime"])


def _has_password(kubeconfig: Path, node: str) -> bool:
    secrets = Api(kubeconfig).get("/api/v1/namespaces/kube-system/secrets")["items"]
    return f"{node}.node-password.k3s" in [secret["metadata"]["name"] for secret in secrets]


def _default_route(via: str) -> None:
    from wherry.kernel.netlink import Netlink

    with Netlink() as link:
        link.route_replace("0.0.0.0/0", via=via)


def _refused(path: Path, arguments: tuple[str, ...], said: str) -> None:
    with netns.spawn_in(path, [*WHERRY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        _, error = process.communicate(timeout=20)
    text = error.decode()
    assert process.returncode == 1, text
    assert said in text
    assert "Traceback" not in text
