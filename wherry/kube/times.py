"""Times as Kubernetes writes them: RFC 3339 in UTC, whole seconds (``Time``) or microseconds (``MicroTime``)."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def format_time(seconds: float) -> str:
    """Seconds since 1970 as ``Time``: ``2026-01-02T03:04:05Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def format_micro_time(seconds: float) -> str:
    """Seconds since 1970 as ``MicroTime``: ``2026-01-02T03:04:05.000006Z``."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{micros:06}Z"


def now() -> str:
    """The current ``Time``."""
    return format_time(time.time())


def parse_time(text: str) -> float:
    """Seconds since 1970 of a ``Time`` or ``MicroTime``; ValueError when it is neither."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
