"""Replays recorded exchanges with a real API server against ours and holds the share that agrees.

The recordings lie beside the checkout (`../shared/golden/api`), not in it; without them this test is skipped.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parents[2] / "shared" / "golden" / "api"
TOKEN = "golden-admin-token"

# Per cent of all exchanges that must agree to the word, and the topics of which all must.
FLOOR = 97.0
COMPLETE = (
    "01-health",
    "02-openapi",
    "10-namespaces",
    "11-configmaps",
    "12-secrets",
    "13-serviceaccounts",
    "14-leases",
    "15-events",
    "16-nodes",
    "20-services",
    "22-endpoints",
    "23-networkpolicies",
    "24-ingresses",
    "31-pod-subresources",
    "32-podtemplates-rc",
    "40-deployments",
    "41-replicasets",
    "42-daemonsets",
    "44-jobs",
    "46-policy",
    "47-scheduling",
    "48-quota",
    "49-storage",
    "50-rbac",
    "51-authz",
    "56-custom-resources",
    "60-json-patch",
    "62-strategic-patch",
    "63-apply",
    "64-managed-fields",
    "70-concurrency",
    "71-delete",
    "72-names",
    "73-dry-run",
    "74-field-validation",
    "75-selectors",
    "76-field-selectors",
    "77-pagination",
    "78-resource-version",
    "79-generation",
    "80-watch",
    "81-watch-list",
    "83-watch-kinds",
    "92-status-errors",
)

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the recorded exchanges are not at {GOLDEN}")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    directory = tmp_path_factory.mktemp("apiserver")
    server = subprocess.Popen(
        [sys.executable, str(HERE / "serve.py"), str(directory)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.terminate()
        assert server.wait(timeout=10) == 0
        assert server.stdout is not None
        server.stdout.close()


def replay(port: int, topic: str) -> str:
    command = [
        sys.executable, str(GOLDEN / "replay.py"), "--server", f"http://127.0.0.1:{port}", "--token", TOKEN,
        "--skip", "dual-stack", "--skip", "compacted", "--max-wait", "5", "--topic", topic,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False).stdout


@pytest.mark.timeout(120)
def test_most_exchanges_agree(port: int) -> None:
    topics = sorted(path.stem for path in (GOLDEN / "transcripts").glob("*.jsonl"))
    with ThreadPoolExecutor(8) as pool:  # the time goes into watches that wait
        outputs = dict(zip(topics, pool.map(partial(replay, port), topics), strict=True))
    counts = {}
    for topic, output in outputs.items():
        found = re.search(r"^TOTAL +(\d+)/(\d+)", output, re.MULTILINE)
        assert found is not None, output[-2000:]
        counts[topic] = int(found[1]), int(found[2])
    good, total = (sum(count[i] for count in counts.values()) for i in (0, 1))
    mismatches = [line for output in outputs.values() for line in output.splitlines() if line.startswith("MISMATCH")]
    broken = [topic for topic in COMPLETE if counts[topic][0] < counts[topic][1]]
    assert not broken, "\n".join(line for line in mismatches if line.split()[1] in broken)
    assert 100 * good / total >= FLOOR, "\n".join(mismatches)
