"""Logs that a flood of queries cannot fill: so many lines a second, and then how many were left out."""

import logging
from collections.abc import Callable


class LogBound:
    """Lets through up to `rate` lines a second; says with the next line how many it held back."""

    def __init__(self, logger: logging.Logger, rate: int, clock: Callable[[], float]) -> None:
        self._logger = logger
        self._rate = rate
        self._clock = clock
        self._second = clock()
        self._lines = 0
        self._left_out = 0

    def log(self, level: int, line: str) -> None:
        """Log a line that is ready."""
        now = self._clock()
        if now - self._second >= 1:
            self._second, self._lines = now, 0
            self.flush()
        if self._lines >= self._rate:
            self._left_out += 1
            return
        self._lines += 1
        self._logger.log(level, "%s", line)

    def flush(self) -> None:
        """Say what was left out, if anything."""
        if self._left_out:
            self._logger.warning("%d lines left out: more than %d in a second", self._left_out, self._rate)
            self._left_out = 0
