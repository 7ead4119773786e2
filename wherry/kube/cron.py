"""Schedules in cron format, read as Kubernetes reads them (the grammar of robfig/cron, version 3).

Five fields, ``minute hour day-of-month month day-of-week``, each a list of ``*``, ``?``, numbers, names (months and
days of the week) and ranges, with a step after ``/``; or one of the words ``@hourly`` … ``@yearly``; or
``@every DURATION``. When both day fields are restricted a day fits if either does; a star with a step counts as
restricted.

A schedule fits every instant whose local reading fits: what a change to summer time leaves out is skipped, and what
the change back repeats happens twice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Protocol

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[int, int, Mapping[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    (0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_YEARS_AHEAD = 5


class ScheduleError(ValueError):
    """What is wrong with a schedule, worded as Kubernetes words it."""


class Schedule(Protocol):
    """When something is due."""

    def next_after(self, moment: float) -> float | None:
        """The first time later than ``moment``, both in seconds since 1970; None when there is none in five years."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many whole seconds, counted from the time asked about."""

    seconds: int

    def next_after(self, moment: float) -> float | None:
        """The end of the interval that starts with the second of ``moment``."""
        return float(int(moment) + self.seconds)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Five sets of numbers; ``either_day`` when one fitting day field is enough."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    zone: tzinfo = UTC

    def next_after(self, moment: float) -> float | None:
        """The first fitting minute after ``moment``."""
        at = (int(moment) // 60 + 1) * 60
        last_year = self._local(at).year + _YEARS_AHEAD
        while (local := self._local(at)).year <= last_year:
            if local.month not in self.months:
                first = local.replace(day=1, hour=0, minute=0, fold=0)
                at = int((first + timedelta(days=32)).replace(day=1).timestamp())
            elif not self._day_fits(local):
                midnight = local.replace(hour=0, minute=0, fold=0)
                at = int((midnight + timedelta(days=1)).timestamp())
            elif local.hour not in self.hours:
                at += (60 - local.minute) * 60
            elif local.minute not in self.minutes:
                following = min((each for each in self.minutes if each > local.minute), default=60)
                at += (following - local.minute) * 60
            else:
                return float(at)
        return None

    def _local(self, at: int) -> datetime:
        return datetime.fromtimestamp(at, self.zone)

    def _day_fits(self, local: datetime) -> bool:
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return day or weekday if self.either_day else day and weekday


@lru_cache(maxsize=1024)
def parse(text: str, zone: tzinfo = UTC) -> Schedule:
    """The schedule that ``text`` describes, in local times of ``zone``; ScheduleError when it describes none."""
    if not text:
        raise ScheduleError("empty spec string")
    if text.startswith(_EVERY):
        return Interval(max(1, int(_duration(text))))
    if text.startswith("@") and text not in _WORDS:
        raise ScheduleError(f"unrecognized descriptor: {text}")
    fields = _WORDS.get(text, text).split()
    if len(fields) != len(_FIELDS):
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    parsed = [_field(field, *bounds) for field, bounds in zip(fields, _FIELDS, strict=True)]
    either_day = not (parsed[2][1] or parsed[4][1])
    minutes, hours, days, months, weekdays = (numbers for numbers, _ in parsed)
    return Calendar(minutes, hours, days, months, weekdays, either_day, zone)


def local_zone() -> tzinfo:
    """The time zone of this machine: ``TZ``, else /etc/localtime, else UTC."""
    from zoneinfo import ZoneInfo  # only where a schedule is to be kept

    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, KeyError):
        # The C library takes an unknown zone for UTC as well.
        return UTC


def _field(text: str, low: int, high: int, words: Mapping[str, int]) -> tuple[frozenset[int], bool]:
    """The numbers of a field, and whether a bare star leaves it open."""
    numbers: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        more, bare = _range(part, low, high, words)
        numbers.update(more)
        star = star or bare
    return frozenset(numbers), star


def _range(part: str, low: int, high: int, words: Mapping[str, int]) -> tuple[range, bool]:
    spread, *steps = part.split("/")
    ends = spread.split("-")
    if len(steps) > 1:
        raise ScheduleError(f"too many slashes: {part}")
    star = ends[0] in ("*", "?")
    if star:
        first, last = low, high
    elif len(ends) > 2:
        raise ScheduleError(f"too many hyphens: {part}")
    else:
        first = _number(ends[0], words)
        last = _number(ends[1], words) if len(ends) == 2 else first
    step = _number(steps[0], {}) if steps else 1
    if steps and len(ends) == 1:
        last = high
    if first < low:
        raise ScheduleError(f"beginning of range ({first}) below minimum ({low}): {part}")
    if last > high:
        raise ScheduleError(f"end of range ({last}) above maximum ({high}): {part}")
    if first > last:
        raise ScheduleError(f"beginning of range ({first}) beyond end of range ({last}): {part}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {part}")
    return range(first, last + 1, step), star and step == 1


def _number(text: str, words: Mapping[str, int]) -> int:
    if text.lower() in words:
        return words[text.lower()]
    if not re.fullmatch(r"\+?[0-9]{1,9}", text):
        raise ScheduleError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def _duration(text: str) -> float:
    """Seconds of ``@every 1h30m``."""
    duration = text.removeprefix(_EVERY)
    parts = _PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ScheduleError(f'failed to parse duration {text}: time: invalid duration "{duration}"')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
