import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from wherry.kube.client import Client
from wherry.kube.testing.apiserver import FakeApiServer


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    # a unix socket's path may have at most 107 bytes; tmp_path can be longer
    with tempfile.TemporaryDirectory(prefix="wherry-") as directory:
        async with FakeApiServer(Path(directory) / "api.sock") as fake:
            yield fake


@pytest.fixture
async def client(server: FakeApiServer) -> AsyncIterator[Client]:
    async with server.client(retry_for=5.0) as opened:
        yield opened
