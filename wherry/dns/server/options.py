"""What a server process is started with, and how its log lines look."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.kube.endpoint import Endpoint

MOST_FRONTS = 4
_LEVELS = {logging.WARNING: "WARNING", logging.CRITICAL: "FATAL"}


@dataclass(frozen=True)
class Options:
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


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = _LEVELS.get(record.levelno, record.levelname)
        text = f"[{level}] {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure_logging() -> None:
    """Write log records to standard output as CoreDNS does: `[INFO] plugin/reload: …`."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Format())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
