"""When consecutive answers of a probe become a result. Pure."""

from __future__ import annotations

import msgspec

from wherry.kube.objects import Probe


class Outcome(msgspec.Struct, frozen=True):
    """One answer: whether the check passed, and what there is to say about it."""

    success: bool
    message: str = ""
    answered: bool = False
    """Whether an HTTP status came back, of whatever kind."""
    warning: bool = False
    """A success that is worth an event."""


class Tracker:
    """Counts answers of one probe of one container; `result` is None until a threshold was reached."""

    def __init__(self, probe: Probe, result: bool | None = None) -> None:
        self._probe = probe
        self.result = result
        self._last: bool | None = None
        self._run = 0

    def observe(self, success: bool) -> bool:
        """Take one answer in; True when `result` changed."""
        if success == self._last:
            self._run += 1
        else:
            self._last, self._run = success, 1
        needed = self._probe.success_threshold if success else self._probe.failure_threshold
        if self._run < needed or self.result is success:
            return False
        self.result = success
        return True
