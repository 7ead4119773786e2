"""The small cluster that tests with real packets share, and the table on its node."""

from contextlib import ExitStack

import pytest

from tests.services.machines import RANGES, Cluster, serving
from wherry.services.apply import ServiceTable


@pytest.fixture
def cluster(lan, make_netns):
    with ExitStack() as stack:
        made = Cluster(lan, make_netns)
        for pod in (made.one, made.two, made.far):
            stack.enter_context(serving(pod))
        yield made


@pytest.fixture
async def table(cluster):
    table = ServiceTable(cluster.node, ranges=RANGES)
    await table.sync({})
    yield table
    await table.close()
