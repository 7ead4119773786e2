"""How a name server's log lines look."""

from __future__ import annotations

import logging
import sys

_LEVELS = {logging.WARNING: "WARNING", logging.CRITICAL: "FATAL"}


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
