"""Schedules: the grammar and wording of Kubernetes, and the times they give, also where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.kube.cron import Calendar, ScheduleError, local_zone, parse

BERLIN, NEW_YORK, LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")


@pytest.mark.parametrize(
    ("schedule", "wrong"),
    [
        ("", "empty spec string"),
        ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
        ("0 * * * * *", "expected exactly 5 fields, found 6: [0 * * * * *]"),
        ("61 * * * *", "end of range (61) above maximum (59): 61"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("30-10 * * * *", "beginning of range (30) beyond end of range (10): 30-10"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("*/2/3 * * * *", "too many slashes: */2/3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@odd", "unrecognized descriptor: @odd"),
        ("@every soon", 'failed to parse duration @every soon: time: invalid duration "soon"'),
    ],
)
def test_what_is_wrong_is_said(schedule: str, wrong: str) -> None:
    with pytest.raises(ScheduleError) as raised:
        parse(schedule)
    assert str(raised.value) == wrong


def runs(schedule: str, start: str, count: int, zone: tzinfo = UTC) -> list[str]:
    """The next times as local readings with their offset."""
    due = parse(schedule, zone)
    at: float | None = datetime.fromisoformat(start).timestamp()
    found = []
    for _ in range(count):
        assert at is not None
        at = due.next_after(at)
        found.append(datetime.fromtimestamp(at, zone).strftime("%m-%d %H:%M %z") if at is not None else "never")
    return [each.removesuffix(" +0000") for each in found]


@pytest.mark.parametrize(
    ("schedule", "times"),
    [
        ("* * * * *", ["02-28 23:59", "03-01 00:00"]),
        ("*/20 0 * * *", ["03-01 00:00", "03-01 00:20", "03-01 00:40", "03-02 00:00"]),
        ("5/25 12 * * ?", ["03-01 12:05", "03-01 12:30", "03-01 12:55"]),
        ("0 9-17/4 * * mon-fri", ["03-02 09:00", "03-02 13:00", "03-02 17:00", "03-03 09:00"]),
        ("0 0 1,15 * *", ["03-01 00:00", "03-15 00:00", "04-01 00:00"]),
        ("0 0 * JAN,Dec *", ["12-01 00:00", "12-02 00:00"]),
        # Both day fields restricted: either fits.
        ("0 0 13 * fri", ["03-06 00:00", "03-13 00:00", "03-20 00:00"]),
        # A star leaves the other day field alone, a star with a step does not.
        ("0 0 */1 * fri", ["03-06 00:00", "03-13 00:00"]),
        ("0 0 */10 * fri", ["03-01 00:00", "03-06 00:00", "03-11 00:00", "03-13 00:00"]),
        ("0 0 29 2 *", ["02-29 00:00"]),
        ("@hourly", ["03-01 00:00", "03-01 01:00"]),
        ("@weekly", ["03-01 00:00", "03-08 00:00"]),
        ("@monthly", ["03-01 00:00", "04-01 00:00"]),
        ("@yearly", ["01-01 00:00"]),
        ("@every 1h30m", ["03-01 01:28", "03-01 02:58"]),
        ("@every 0.1s", ["02-28 23:58"]),
    ],
)
def test_next_times(schedule: str, times: list[str]) -> None:
    assert runs(schedule, "2026-02-28T23:58:30+00:00", len(times)) == times


@pytest.mark.parametrize("schedule", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", ", * * * *"])
def test_a_day_that_never_comes(schedule: str) -> None:
    assert runs(schedule, "2026-01-01T00:00:00+00:00", 1) == ["never"]


@pytest.mark.parametrize(
    ("zone", "schedule", "start", "times"),
    [
        # The hour that does not exist is skipped, for every hour without a hole.
        (BERLIN, "30 2 * * *", "2026-03-28T12:00:00+01:00", ["03-30 02:30 +0200"]),
        (BERLIN, "0 * * * *", "2026-03-29T01:30:00+01:00", ["03-29 03:00 +0200", "03-29 04:00 +0200"]),
        # The hour that comes twice is due twice.
        (NEW_YORK, "30 1 * * *", "2026-10-31T12:00:00-04:00",
         ["11-01 01:30 -0400", "11-01 01:30 -0500", "11-02 01:30 -0500"]),
        (NEW_YORK, "@daily", "2026-10-31T12:00:00-04:00", ["11-01 00:00 -0400", "11-02 00:00 -0500"]),
        # Half an hour of summer time.
        (LORD_HOWE, "45 1 * * *", "2026-04-04T12:00:00+11:00", ["04-05 01:45 +1100", "04-05 01:45 +1030"]),
        # Clocks that change at midnight, and a midnight that does not exist.
        (ZoneInfo("America/Havana"), "0 0 * * *", "2026-03-07T12:00:00-05:00", ["03-09 00:00 -0400"]),
        (ZoneInfo("America/Havana"), "15 0 1 11 *", "2026-10-31T12:00:00-04:00",
         ["11-01 00:15 -0400", "11-01 00:15 -0500"]),
    ],
)  # fmt: skip
def test_changes_of_summer_time(zone: tzinfo, schedule: str, start: str, times: list[str]) -> None:
    assert runs(schedule, start, len(times), zone) == times


def fields(low: int, high: int) -> st.SearchStrategy[frozenset[int]]:
    return st.frozensets(st.integers(low, high), min_size=1, max_size=5)


CALENDARS = st.builds(
    Calendar, fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 6), st.booleans(),
    st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE]),
)  # fmt: skip


@given(CALENDARS, st.integers(1_780_000_000, 1_840_000_000))
def test_every_time_fits_and_none_between_does(calendar: Calendar, start: int) -> None:
    def fits(at: int) -> bool:
        local = datetime.fromtimestamp(at, calendar.zone)
        day, weekday = local.day in calendar.days, local.isoweekday() % 7 in calendar.weekdays
        return (
            local.minute in calendar.minutes and local.hour in calendar.hours and local.month in calendar.months
            and (day or weekday if calendar.either_day else day and weekday)
        )  # fmt: skip

    found = calendar.next_after(start)
    if found is None:
        return
    assert found > start
    assert fits(int(found))
    # The two days around the answer and after the start hold the holes and doubles of clocks.
    first = (start // 60 + 1) * 60
    for begin in {first, max(first, int(found) - 86_400)}:
        assert not any(fits(at) for at in range(begin, min(int(found), begin + 86_400), 60))


@given(st.integers(1, 59), st.integers(1, 59))
def test_steps(first: int, step: int) -> None:
    stepped, listed = parse(f"{first}/{step} * * * *"), parse(",".join(map(str, range(first, 60, step))) + " * * * *")
    assert stepped == listed


def test_times_move_forward() -> None:
    due, at = parse("*/7 2,3 * * *", BERLIN), 1_774_700_000.0
    times = [at]
    for _ in range(60):
        following = due.next_after(times[-1])
        assert following is not None
        times.append(following)
    assert all(one < other for one, other in pairwise(times))


def test_the_machines_own_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", ":Europe/Berlin")
    assert local_zone() == BERLIN
    monkeypatch.setenv("TZ", "Nowhere/Land")
    assert local_zone() is UTC
    monkeypatch.delenv("TZ")
    assert datetime.fromtimestamp(0, local_zone()).utcoffset() is not None
