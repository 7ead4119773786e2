from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from wherry.apiserver.testing import Running, running


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as server:
        yield server
