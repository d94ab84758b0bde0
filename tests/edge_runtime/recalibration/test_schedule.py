"""schedule: once a day in local time, also on the days when clocks change."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.recalibration.schedule import find_next_due_wall_s

BERLIN = ZoneInfo("Europe/Berlin")


def times(schedule, zone, start, count):
    """Local times as text."""
    wall_s, found = datetime.fromisoformat(start).replace(tzinfo=zone).timestamp(), []
    for _ in range(count):
        wall_s = find_next_due_wall_s(schedule, wall_s, zone)
        found.append(datetime.fromtimestamp(wall_s, zone).strftime("%m-%d %H:%M %z"))
    return found


@pytest.mark.parametrize(
    ("schedule", "start", "expected"),
    [
        ("0 3 * * *", "2026-10-24T12:00", ["10-25 03:00 +0100", "10-26 03:00 +0100"]),
        ("0 2 * * *", "2026-10-24T12:00", ["10-25 02:00 +0200", "10-26 02:00 +0100"]),
        ("30 2 * * *", "2026-10-24T12:00", ["10-25 02:30 +0200", "10-26 02:30 +0100"]),
        ("59 2 * * *", "2026-10-24T12:00", ["10-25 02:59 +0200", "10-26 02:59 +0100"]),
        ("0 1 * * *", "2026-10-24T12:00", ["10-25 01:00 +0200", "10-26 01:00 +0100"]),
        ("0 3 * * *", "2027-03-27T12:00", ["03-28 03:00 +0200", "03-29 03:00 +0200"]),
        ("0 2 * * *", "2027-03-27T12:00", ["03-28 03:00 +0200", "03-29 02:00 +0200"]),
        ("30 2 * * *", "2027-03-27T12:00", ["03-28 03:00 +0200", "03-29 02:30 +0200"]),
        ("30 1 * * *", "2027-03-27T12:00", ["03-28 01:30 +0100", "03-29 01:30 +0200"]),
        ("0 3 * * 7", "2026-10-24T12:00", ["10-25 03:00 +0100", "11-01 03:00 +0100"]),
        ("*/30 * * * *", "2026-10-25T01:45", ["10-25 02:00 +0200", "10-25 02:30 +0200", "10-25 02:00 +0100"]),
    ],
)
def test_the_days_when_clocks_change(schedule, start, expected):
    assert times(schedule, BERLIN, start, len(expected)) == expected


@pytest.mark.parametrize(
    "schedule", ["0 3 * * *", "30 2 * * *", "0 2 * * *", "30 1 * * *", "30 0 * * *", "15 23 * * *"]
)
@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Tokyo", "UTC"]
)  # fmt: skip
def test_once_a_day_for_a_year(schedule, zone):
    found = times(schedule, ZoneInfo(zone), "2026-01-01T00:00", 370)
    days = [one[:5] for one in found]
    assert len(set(days[:365])) == 365
    starts = [datetime.strptime(f"2026-{day}", "%Y-%m-%d").replace(tzinfo=UTC) for day in days[:365]]
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(starts))


def test_in_the_second_pass_of_an_hour_the_next_one_is_that_of_tomorrow():
    again = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1).timestamp()
    due_s = find_next_due_wall_s("30 2 * * *", again, BERLIN)
    assert datetime.fromtimestamp(due_s, BERLIN).day == 26


@given(st.floats(), st.sampled_from(["0 3 * * *", "* * * * *", "0 0 29 2 *"]))
def test_any_clock_gives_a_later_time_or_none(now_wall_s, schedule):
    due_s = find_next_due_wall_s(schedule, now_wall_s, BERLIN)
    assert due_s is None or (due_s > now_wall_s and math.isfinite(due_s))


def test_without_a_schedule_nothing_is_due():
    assert find_next_due_wall_s(None, 0.0, UTC) is None
