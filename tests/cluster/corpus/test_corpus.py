"""Manifests as users write them, one per feature: each settles to the status that a real cluster reports, and goes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.cluster.corpus.case import HERE, Case
from tests.cluster.sandbox import Sandbox

TOGETHER = 12
"""Cases under way at a time: most of what one does is wait."""
CASES = [Case(file.stem) for file in sorted((HERE / "manifests").glob("*.yaml"))]


@pytest.fixture(scope="module")
def applied(cluster: Sandbox) -> Iterator[dict[Case, Future[None]]]:
    """The whole corpus at once, as nothing in it may disturb anything else; a case is done once it settled."""
    with ThreadPoolExecutor(TOGETHER) as pool:
        yield {case: pool.submit(_settle, cluster, case) for case in CASES}
        list(pool.map(lambda case: case.remove(cluster), CASES))


def _settle(cluster: Sandbox, case: Case) -> None:
    case.apply(cluster)
    case.settle(cluster)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_settles(applied: dict[Case, Future[None]], case: Case) -> None:
    applied[case].result()


def test_there_are_enough() -> None:
    assert len(CASES) >= 40
