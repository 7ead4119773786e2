"""How long a job waits before it replaces failed pods: 10 s, doubling with each failure, 10 min at most. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wherry.kube.objects import Pod
from wherry.kube.workqueue import Backoff
from wherry.workloads.job.pods import failures_before, finished_at

PAUSES = Backoff(first=10.0, longest=600.0)
"""Seconds after the first failure in a row, after the second, and so on."""


@dataclass(frozen=True, slots=True)
class Failures:
    """Pods of a job that failed since the last one that succeeded, and when the last of them did."""

    count: int = 0
    last: float = 0.0

    def and_then(self, succeeded: Iterable[Pod], failed: Iterable[Pod]) -> Failures:
        """The failures after some more pods have ended."""
        ends = [finished_at(pod) for pod in failed]
        success = max((finished_at(pod) for pod in succeeded), default=None)
        if success is None:
            return Failures(self.count + len(ends), max(ends)) if ends else self
        after = [end for end in ends if end > success]
        return Failures(len(after), max(after)) if after else Failures()

    def wait(self, now: float) -> float:
        """Seconds until the next pod may be made."""
        return max(0.0, self.last + PAUSES.after(self.count) - now) if self.count else 0.0


NO_FAILURES = Failures()


def wait_for_index(replaces: Pod | None, now: float) -> float:
    """Seconds until the failed pod of an index may be replaced."""
    if replaces is None:
        return 0.0
    return Failures(sum(failures_before(replaces)) + 1, finished_at(replaces)).wait(now)
