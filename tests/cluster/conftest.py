"""One cluster for all tests of this folder, with the example shop in it; a namespace of its own for each test."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.sandbox import SHOP, Sandbox

ROLLOUTS = [
    ("shop", "deployment/web"), ("shop", "deployment/api"), ("shop", "deployment/worker"),
    ("shop", "daemonset/counter"), ("shop", "daemonset/visitor"), ("shop-data", "deployment/cache"),
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here: these tests need a whole sandbox cluster, theirs or the one that all share."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if "cluster" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("own"):
                item.add_marker(pytest.mark.shared)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds this run's sandboxes."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def cluster(home: Path) -> Iterator[Sandbox]:
    """A running two-node cluster that tests share and leave as they found it."""
    sandbox = Sandbox(home, "shared")
    sandbox.up()
    yield sandbox
    sandbox.wherry("down")
    assert not sandbox.directory.exists()


@pytest.fixture(scope="session")
def shop(cluster: Sandbox) -> Sandbox:
    """The shared cluster with the example shop in it, rolled out and ready. Tests look and call, they do not change."""
    cluster.kubectl("apply", "-f", str(SHOP))
    for namespace, workload in ROLLOUTS:
        cluster.kubectl("-n", namespace, "rollout", "status", workload, "--timeout=60s")
    cluster.kubectl("-n", "shop", "wait", "--for=condition=Ready", "pod/reports", "--timeout=60s")
    return cluster


@pytest.fixture
def namespace(cluster: Sandbox, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace named after the test, deleted after it without waiting."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:40].strip("-")
    name = f"{words}-{zlib.crc32(request.node.nodeid.encode()):08x}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("-n", name, "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
