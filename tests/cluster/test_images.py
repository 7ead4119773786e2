"""Images: trees and programs of the image table, stand-ins that behave as they are told, and what both use."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.manifests import pod, sleeper
from tests.cluster.sandbox import Sandbox
from wherry.kube.kinds import EVENTS

ASK = """
import json, ssl, sys, time, urllib.error, urllib.request
trust = ssl.create_default_context()
trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
began = time.monotonic()
try:
    answer = urllib.request.urlopen(sys.argv[1], context=trust, timeout=10)
except urllib.error.HTTPError as error:
    answer = error
body = answer.read()
print(json.dumps([answer.status, len(body), time.monotonic() - began, body[:2000].decode()]))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked image: links and files of its own; the machine's programs are bound into it."""
    root = tmp_path_factory.mktemp("image")
    for name in ("usr", "app"):
        (root / name).mkdir()
    (root / "app" / "which").write_text("image\n")
    for name in ("bin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(f"usr/{name}")
    return root


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, tree: Path) -> Iterator[Sandbox]:
    """A sandbox of one node with an image table."""
    home = tmp_path_factory.mktemp("images")
    table = home / "images.yaml"
    entry = {
        "match": "acme/tree",
        "entrypoint": ["sh", "-c"],
        "cmd": ["cat which; echo mine > which; cat which; rm -r /usr/none; exec sleep infinity"],
        "env": {"MODE": "image"},
        "cwd": "/app",
        "rootfs": str(tree),
        "binds": [{"source": "/usr", "target": "/usr"}],
    }
    table.write_text(yaml.safe_dump([entry]))
    sandbox = Sandbox(home, "images")
    sandbox.up("--nodes", "1", "--images", str(table))
    sandbox.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    yield sandbox
    sandbox.wherry("down")


def ready(sandbox: Sandbox, *names: str) -> None:
    sandbox.kubectl("wait", "--for=condition=Ready", *(f"pod/{name}" for name in names), "--timeout=30s")


def address(sandbox: Sandbox, name: str) -> str:
    return str(sandbox.get("pod", name)["status"]["podIP"])


def ask(sandbox: Sandbox, url: str) -> tuple[int, int, float, str]:
    """Status, size of the body, seconds and the body's beginning, as the pod `client` gets them."""
    said = sandbox.kubectl("exec", "client", "--", "python3", "-c", ASK, url)
    status, size, seconds, body = json.loads(said.out)
    return status, size, seconds, body


def test_a_tree_stands_for_an_image_and_stays_as_it_is(own: Sandbox, tree: Path) -> None:
    own.apply(pod("one", image="acme/tree:1"), pod("two", image="docker.io/acme/tree"))
    ready(own, "one", "two")
    for name in ("one", "two"):
        said = own.kubectl("exec", name, "--", "sh", "-c", "pwd; cat which; echo $MODE; echo x > /tmp/y && ls /tmp")
        assert said.out.split() == ["/app", "mine", "image", "y"]
        assert own.kubectl("logs", name).out.splitlines()[:2] == ["image", "mine"]
    assert (tree / "app" / "which").read_text() == "image\n"
    assert sorted(path.name for path in tree.iterdir() if not path.is_symlink()) == ["app", "usr"]
    own.kubectl("delete", "pod", "one", "two", "--wait=false")


def web(**annotations: str) -> dict[str, Any]:
    made = pod("web", image="nginx:1", container={
        "ports": [{"containerPort": 80}, {"containerPort": 8443, "name": "https"}, {"containerPort": 50051}],
        "readinessProbe": {"grpc": {"port": 50051}, "periodSeconds": 1},
    })  # fmt: skip
    made["metadata"]["annotations"] = {f"wherry.dev/{name}": value for name, value in annotations.items()}
    return made


def test_a_stand_in_behaves_as_its_pod_says_also_later(own: Sandbox) -> None:
    own.apply(
        sleeper("client", image="python:3"),
        web(
            **{"stand-in": "tls:https", "stand-in-delay": "300ms", "stand-in-body": "100Ki", "stand-in-status": "nope"}
        ),
    )
    # A gRPC health check of the stand-in is what makes it ready.
    ready(own, "client", "web")
    own.until(EVENTS, lambda found: any("'nope' is not an HTTP status" in event.message for event in found))
    at = address(own, "web")
    status, size, seconds, body = ask(own, f"https://{at}:8443/x")
    assert (status, size) == (200, 100 * 1024)
    assert seconds >= 0.3
    assert "via: TLSv1.3\n" in body
    changed = ["stand-in-status=404", "stand-in-delay-", "stand-in-body=10", "stand-in-"]
    own.kubectl("annotate", "--overwrite", "pod/web", *(f"wherry.dev/{text}" for text in changed))
    # gRPC health follows the status, so this is known to have come through when the pod is not ready any more.
    own.kubectl("wait", "--for=condition=Ready=false", "pod/web", "--timeout=30s")
    assert ask(own, f"http://{at}:8443/y")[:2] == (404, 10)
    log = own.kubectl("logs", "web").out
    assert '"GET /x HTTP/1.1" 200 ' in log
    assert "changed: status 404, bodies of 10 bytes" in log
    assert '"GET /y HTTP/1.1" 404 ' in log
    assert own.get("pod", "web")["status"]["containerStatuses"][0]["restartCount"] == 0
    own.kubectl("delete", "pod", "web", "client", "--wait=false")


def test_a_pod_may_ask_for_a_process_or_a_stand_in(own: Sandbox) -> None:
    lost, run, calm = pod("lost", image="nginx"), pod("run", "sleep", "infinity", image="nginx"), sleeper("calm")
    for made, value in ((lost, "process"), (run, "process"), (calm, "stand-in")):
        made["metadata"]["annotations"] = {"wherry.dev/run": value}
    own.apply(lost, run, calm)
    ready(own, "run", "calm")
    assert own.kubectl("exec", "run", "--", "cat", "/proc/1/comm").out == "sleep\n"
    assert "not run: sleep infinity" in own.kubectl("logs", "calm").out
    words = "no program is known for image nginx: give the container a command"
    own.until(EVENTS, lambda found: any(words in event.message for event in found))
    # A stand-in uses nothing of its own, a program what its processes use.
    rows = {row.split()[0]: row.split()[1:] for row in own.kubectl("top", "pod", "--no-headers").out.splitlines()}
    assert rows["calm"] == ["0m", "0Mi"]
    assert "run" in rows
    assert own.kubectl("top", "node", "--no-headers").out.split()[0] == "node-1"
    summary = json.loads(own.kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/stats/summary").out)
    used = {found["podRef"]["name"]: found for found in summary["pods"]}
    assert used["run"]["memory"]["workingSetBytes"] > 0
    assert used["run"]["process_stats"]["process_count"] == 1
    assert used["calm"]["network"]["name"] == "eth0"
    own.kubectl("delete", "pod", "lost", "run", "calm", "--wait=false")
