from collections.abc import AsyncIterator

import pytest

from wherry.pods.testing.node import Node, running_node


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running_node() as found:
        yield found
