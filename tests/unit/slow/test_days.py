"""Days of a time zone: daylight saving, the instant of an evaluation, and what has settled."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.slow.days import begin_of, date_of, evaluated_at, first_counted, last_settled, local_day, number_of
from killswitch.timestamps import DAY, HOUR

BERLIN = ZoneInfo("Europe/Berlin")
SIX = 6 * HOUR


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> float:
    return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)))
def test_a_day_has_a_number_and_a_number_a_day(day: date) -> None:
    assert date_of(number_of(day)) == day


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
def test_a_day_of_daylight_saving_has_23_or_25_hours(day: tuple[int, int, int], hours: int) -> None:
    number = number_of(date(*day))
    assert begin_of(number + 1, BERLIN) - begin_of(number, BERLIN) == hours * HOUR
    assert local_day(begin_of(number + 1, BERLIN) - 1, BERLIN) == number


def test_there_is_one_evaluation_a_day_at_its_local_time() -> None:
    """Six o'clock in Berlin is 05:00 UTC in winter and 04:00 in summer."""
    assert evaluated_at(utc(2026, 11, 30, 4, 59), SIX, BERLIN) == utc(2026, 11, 29, 5, 0)
    assert evaluated_at(utc(2026, 11, 30, 5, 0), SIX, BERLIN) == utc(2026, 11, 30, 5, 0)
    assert evaluated_at(utc(2026, 7, 1, 4, 0), SIX, BERLIN) == utc(2026, 7, 1, 4, 0)


def test_an_evaluation_in_the_hour_that_is_skipped_still_comes_once() -> None:
    instants = {
        evaluated_at(utc(2026, 3, 28, 12, 0) + minute * 60.0, 2.5 * HOUR, BERLIN) for minute in range(0, 2 * 24 * 60, 5)
    }
    assert len(instants) == 3


@given(st.integers(int(utc(2026, 1, 1)), int(utc(2027, 1, 1))), st.sampled_from([0.0, DAY, 7 * DAY]))
def test_a_settled_day_ended_long_enough_ago(now: int, settle: float) -> None:
    last = last_settled(now, settle, BERLIN)
    assert begin_of(last + 1, BERLIN) + settle <= now
    assert begin_of(last + 2, BERLIN) + settle > now


@given(st.integers(int(utc(2026, 1, 1)), int(utc(2027, 1, 1))), st.sampled_from([0.0, DAY, 7 * DAY]))
def test_the_day_of_an_exposure_never_counts(at: int, settle: float) -> None:
    first = first_counted(at, settle, BERLIN)
    assert first > local_day(at, BERLIN)
    assert begin_of(first, BERLIN) >= at + settle
    assert begin_of(first - 1, BERLIN) < at + settle or first - 1 == local_day(at, BERLIN)
