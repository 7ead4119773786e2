"""The conditions of a job: how each is worded, and which one follows which (KEP-3998, KEP-4368). Pure.

A job that is to end first gets an interim condition, SuccessCriteriaMet or FailureTarget; once no pod of it is left
running or uncounted, the final one, Complete or Failed, repeats its reason and message.
"""

from __future__ import annotations

import msgspec

from wherry.kube.objects import Condition
from wherry.kube.times import format_time

FINAL = {"SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}
"""The final condition that follows an interim one."""

BACKOFF_EXCEEDED = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
DEADLINE_EXCEEDED = "DeadlineExceeded", "Job was active longer than specified deadline"
TOO_MANY_FAILED_INDEXES = (
    "MaxFailedIndexesExceeded",
    "Job has exceeded the specified maximal number of failed indexes",
)
FAILED_INDEXES = "FailedIndexes", "Job has failed indexes"
COMPLETED = "CompletionsReached", "Reached expected number of succeeded pods"
SUSPENDED = "JobSuspended", "Job suspended"
RESUMED = "JobResumed", "Job resumed"


def condition(type_: str, why: tuple[str, str], now: float, *, status: str = "True") -> Condition:
    """A condition since ``now`` (seconds since 1970); ``why`` is its reason and message."""
    stamp = format_time(now)
    return Condition(
        type=type_, status=status, last_probe_time=stamp, last_transition_time=stamp, reason=why[0], message=why[1]
    )


def final(interim: Condition, now: float) -> Condition:
    """The condition that ends a job for the reason that an interim one gives."""
    stamp = format_time(now)
    type_ = FINAL.get(interim.type, interim.type)
    return msgspec.structs.replace(interim, type=type_, last_probe_time=stamp, last_transition_time=stamp)


def find(conditions: tuple[Condition, ...], type_: str) -> Condition | None:
    """The condition of a type, if it is true."""
    return next((each for each in conditions if each.type == type_ and each.status == "True"), None)


def with_condition(conditions: tuple[Condition, ...], new: Condition) -> tuple[Condition, ...]:
    """The conditions with one of them set; those that say the same already keep their times.

    A condition that was never there is not added as false.
    """
    old = next((each for each in conditions if each.type == new.type), None)
    if old is None:
        return (*conditions, new) if new.status == "True" else conditions
    if (old.status, old.reason, old.message) == (new.status, new.reason, new.message):
        return conditions
    return tuple(new if each is old else each for each in conditions)
