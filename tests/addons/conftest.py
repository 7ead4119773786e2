import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from wherry.kube.testing.apiserver import FakeApiServer


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    # A unix socket's path may have at most 107 bytes; tmp_path can be longer.
    with tempfile.TemporaryDirectory(prefix="wherry-") as directory:
        async with FakeApiServer(Path(directory) / "api.sock") as fake:
            yield fake
