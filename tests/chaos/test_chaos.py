"""Everything is broken at random for a while: all of it comes back, no identity runs twice, and nothing is orphaned.

``CHAOS_SECONDS`` says for how long (`make chaos`: ten minutes) and ``CHAOS_SEED`` repeats the draws of a run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import workload
from tests.chaos.mayhem import Mayhem
from tests.chaos.remains import await_none
from tests.cluster.sandbox import Sandbox
from wherry.kube import kinds
from wherry.sandbox.leftovers import in_networks, marked, networks

SECONDS = float(os.environ.get("CHAOS_SECONDS", "10"))
SEED = int(os.environ.get("CHAOS_SEED", random.randrange(1 << 32)))
SOON = (
    "--kube-controller-manager-arg=node-monitor-grace-period=3s", "--kubelet-arg=node-lease-renew-interval=1s",
    "--kube-apiserver-arg=default-not-ready-toleration-seconds=1",
    "--kube-apiserver-arg=default-unreachable-toleration-seconds=1",
)  # fmt: skip
"""Silent nodes lose their pods after some four seconds, so that outages end on both sides of that."""
SETTLED_WITHIN = 120.0
"""Seconds for what a failure of everything at once leaves to be done again, its back-offs included."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path, "chaos")
    sandbox.up("--nodes", "3", *SOON)
    yield sandbox
    if sandbox.directory.exists():
        sandbox.wherry("down")


@pytest.mark.cluster
@pytest.mark.timeout(SECONDS + 6 * SETTLED_WITHIN)
def test_all_comes_back(cluster: Sandbox, tmp_path: Path) -> None:
    guard = tmp_path / "guard"
    guard.mkdir()
    workload.apply(cluster, guard)
    workload.await_settled(cluster, SETTLED_WITHIN)
    mayhem = Mayhem(cluster, SEED)
    try:
        mayhem.run(SECONDS)
        workload.await_settled(cluster, SETTLED_WITHIN)
        cluster.until(kinds.NAMESPACES, lambda all_: not any(n.name.startswith("brief-") for n in all_), within=60)
        assert workload.doubled(guard) == []
        await_none(cluster, SETTLED_WITHIN)
    except AssertionError as error:
        acts = "\n".join(mayhem.acts)
        raise AssertionError(f"{error}\n\nCHAOS_SEED={SEED}, and what was done:\n{acts}") from error
    cluster.kubectl("delete", "namespace", workload.NAMESPACE, "--timeout=60s", within=90)
    await_none(cluster, SETTLED_WITHIN)
    with networks(marked(cluster.directory)) as seen:
        cluster.wherry("down")
        assert in_networks(seen) == []
    assert marked(cluster.directory) == []
