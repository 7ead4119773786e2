"""What a server process is started with."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.kube.endpoint import Endpoint

MOST_FRONTS = 4


class Options(NamedTuple):
    """How to serve. ``conf`` None: `Corefile` in the working directory, or CoreDNS' default without one.

    ``bind`` are addresses for blocks without a `bind` of their own, instead of all of the machine's; they may be
    addresses that are not there yet. ``endpoint`` gives the API server for `kubernetes` blocks that name none.
    """

    conf: Path | None = None
    port: int = 53
    fronts: int | None = None
    quiet: bool = False
    bind: tuple[str, ...] = ()
    endpoint: Callable[[], Endpoint] | None = None

    @property
    def front_count(self) -> int:
        """Receiving processes: as asked for, else one for each processor, four at most."""
        return self.fronts if self.fronts is not None else min(MOST_FRONTS, len(os.sched_getaffinity(0)))
