"""What is wrong is said in one line or a Status with causes, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.manifests import deployment, pod, service
from tests.cluster.sandbox import Sandbox
from wherry.sandbox.leftovers import marked


@pytest.fixture
def unborn(tmp_path: Path) -> Sandbox:
    """A sandbox that must not come to life."""
    return Sandbox(tmp_path, "unborn")


def refused(sandbox: Sandbox, *arguments: str, words: str, command: str = "up") -> None:
    """Check that a command fails with one line that holds ``words``, and leaves no folder and no process."""
    said = sandbox.wherry(command, *arguments, code=None)
    assert said.code not in (0, -9)
    lines = [line for line in said.err.splitlines() if line]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("wherry: ")
    assert words in lines[0]
    assert not sandbox.directory.exists()
    assert marked(sandbox.directory) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nodes", "-1"], "--nodes: -1 is not between 0 and 244"),
        (["--nodes", "245"], "--nodes: 245 is not between 0 and 244"),
        (["--nodes", "two"], "'two' is not a valid integer"),
        (["--timeout", "soon"], "--timeout: 'soon'"),
        (["--flannel-backend", "carrier-pigeon"], "choose one of vxlan, host-gw, none"),
        (["--frobnicate"], "No such option '--frobnicate'"),
        (["stray"], "unexpected extra argument (stray)"),
        (["--cluster-cidr", "nonsense"], "'nonsense' is no address range"),
        (["--cluster-cidr", "10.42.0.0/30"], "does not fit into --cluster-cidr 10.42.0.0/30"),
        (["--cluster-cidr", "fd00:42::/56"], "must have the same address families"),
        (["--service-cidr", "10.42.0.0/20"], "overlap"),
        (["--cluster-cidr", "172.16.0.0/12"], "overlaps 172.30.0.0/24, the network of the sandbox's nodes"),
        (["--https-listen-port", "99999"], "'99999' is no port"),
        (["--config", "/no/such/file"], "configuration file /no/such/file: No such file"),
        (["--images", "/no/such/file"], "--images: /no/such/file"),
        (["--publish", "8080"], "--publish: '8080' is not of the form [HOST_ADDRESS:]HOST_PORT:LB_PORT"),
        (["--data-dir", "/tmp/x"], "--data-dir has no meaning for `wherry up`"),
    ],
)
def test_unusable_flag(unborn: Sandbox, arguments: list[str], words: str) -> None:
    refused(unborn, *arguments, words=words)


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("--config", ": [", "line 1, column 1"),
        ("--config", "frobnicate: yes", "frobnicate: no such flag of wherry server"),
        ("--config", "https-listen-port: many", "'many' is no port"),
        ("--images", ": [", "line 1, column 1"),
        ("--images", "- foo: bar", "entry 1: foo: no such field"),
    ],
)
def test_unusable_file(unborn: Sandbox, tmp_path: Path, flag: str, text: str, words: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    refused(unborn, flag, str(file), words=words)


def test_port_in_use(unborn: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused(unborn, "--https-listen-port", str(port), words=f"127.0.0.1:{port}: Address already in use")
        refused(unborn, "--publish", f"{port}:80", words=f"127.0.0.1:{port}/tcp of this host: Address already in use")


def test_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for home, words in ((file, "it is a file, not a folder"), (file / "below", "Not a directory")):
        said = Sandbox(home, "unborn").wherry("up", code=1)
        assert said.err == f"wherry: state folder {home if home == file else home / 'unborn'}: {words}\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        refused(Sandbox(tmp_path, "unborn"), words="Permission denied")
    finally:
        tmp_path.chmod(0o700)


def test_start_that_takes_too_long_is_undone(unborn: Sandbox) -> None:
    refused(unborn, "--timeout", "50ms", words="sandbox 'unborn' did not start: ")


def test_second_up_of_a_name(cluster: Sandbox) -> None:
    before = cluster.status()["processes"]
    said = cluster.wherry("up", code=1)
    assert said.err.startswith("wherry: sandbox 'shared' exists already; use it, ")
    assert said.err.count("\n") == 1
    assert [p["pid"] for p in cluster.status()["processes"]] == [p["pid"] for p in before]


def test_unknown_sandbox(unborn: Sandbox) -> None:
    for command in ("status", "kubeconfig", "node ls", "node add", "down"):
        refused(unborn, words="there is no sandbox 'unborn'", command=command)
    refused(unborn, "get", "pods", words="there is no sandbox 'unborn'", command="kubectl")
    with pytest.raises(AssertionError, match="is no name of at most 40"):
        Sandbox(unborn.home, "Not_A_Name").wherry("up")


def test_damaged_state(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, "damaged")
    sandbox.directory.mkdir()
    (sandbox.directory / "sandbox.json").write_text('{"name": 7')
    for command in ("status", "kubeconfig", "node ls"):
        said = sandbox.wherry(command, code=1)
        assert "sandbox.json is damaged" in said.err
        assert "wherry down --name damaged" in said.err
        assert said.err.count("\n") == 1
    assert "exists already" in sandbox.wherry("up", code=1).err
    sandbox.wherry("down")
    assert not sandbox.directory.exists()


def test_unknown_node(cluster: Sandbox) -> None:
    for command in ("stop", "start", "remove"):
        assert cluster.wherry(f"node {command}", "nobody", code=1).err == (
            "wherry: there is no node 'nobody'; nodes: node-1, node-2\n"
        )
    assert "there is no node 'nobody'" in cluster.wherry("node exec", "nobody", "--", "true", code=1).err
    assert "node node-1 is running already" in cluster.wherry("node start", "node-1", code=1).err
    assert "node node-1 is there already" in cluster.wherry("node add", "node-1", code=1).err
    assert "is no node name" in cluster.wherry("node add", "Not_A_Name", code=1).err
    assert "/no/such: No such file" in cluster.wherry("node exec", "node-1", "--", "/no/such", code=1).err


def bad(obj: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**obj, "spec": {**obj["spec"], **spec}}


@pytest.mark.parametrize(
    ("obj", "field", "words"),
    [
        (pod("Bad_Name"), "metadata.name", "a lowercase RFC 1123 subdomain must consist of"),
        (bad(pod("p"), containers=[]), "spec.containers", "Required value"),
        (bad(pod("p"), restartPolicy="Sometimes"), "spec.restartPolicy", "supported values"),
        (
            bad(pod("p"), containers=[{"name": "a", "image": "a", "ports": [{"containerPort": 70000}]}]),
            "spec.containers[0].ports[0].containerPort",
            "must be between 1 and 65535",
        ),
        (
            pod("p", container={"volumeMounts": [{"name": "nowhere", "mountPath": "/x"}]}),
            "spec.containers[0].volumeMounts[0].name",
            'Not found: "nowhere"',
        ),
        (bad(deployment("d", 1), replicas=-1), "spec.replicas", "greater than or equal to 0"),
        (
            bad(deployment("d", 1), selector={"matchLabels": {"app": "other"}}),
            "spec.template.metadata.labels",
            "`selector` does not match template `labels`",
        ),
        (service("s", 0, 80), "spec.ports[0].port", "must be between 1 and 65535"),
        (
            service("s", 80, 80, clusterIP="192.0.2.1"),
            "spec.clusterIPs",
            "the provided network does not match the current range",
        ),
    ],
)
def test_invalid_object_names_its_field(
    cluster: Sandbox, namespace: str, obj: dict[str, Any], field: str, words: str
) -> None:
    said = cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(obj), code=1).err
    assert said.startswith(f'The {obj["kind"]} "{obj["metadata"]["name"]}" is invalid: ')
    assert field in said
    assert words in said
    left = cluster.get("-n", namespace, obj["kind"].lower())["items"]
    assert left == []


def test_unknown_field_and_wrong_type(cluster: Sandbox, namespace: str) -> None:
    def apply(obj: dict[str, Any]) -> str:
        return cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(obj), code=1).err

    assert 'unknown field "spec.frobnicate"' in apply(bad(pod("p"), frobnicate=True))
    assert "cannot unmarshal string into Go struct field" in apply(bad(deployment("d", 1), replicas="many"))
    assert 'no matches for kind "Frob" in version "v1"' in apply(
        {"apiVersion": "v1", "kind": "Frob", "metadata": {"name": "f"}}
    )
    said = cluster.kubectl("-n", "nowhere", "apply", "-f", "-", stdin=json.dumps(pod("p")), code=1).err
    assert 'namespaces "nowhere" not found' in said


def test_what_may_not_change(cluster: Sandbox, namespace: str) -> None:
    cluster.apply(deployment("app", 0), service("app", 80, 80), namespace=namespace)
    patch = '{"spec":{"selector":{"matchLabels":{"app":"other"}},"template":{"metadata":{"labels":{"app":"other"}}}}}'
    said = cluster.kubectl("-n", namespace, "patch", "deploy", "app", "-p", patch, code=1).err
    assert "spec.selector: Invalid value" in said
    assert "field is immutable" in said
    said = cluster.kubectl(
        "-n", namespace, "patch", "svc", "app", "-p", '{"spec":{"clusterIP":"10.43.7.7"}}', code=1
    ).err
    assert "field is immutable" in said or "may not change once set" in said
