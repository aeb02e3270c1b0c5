"""Caps and their periods in UTC, and when a cap is reached."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadSettings
from killswitch.spend.caps import Cap, Period, checked_caps
from killswitch.spend.forecast import forecast
from killswitch.timestamps import DAY, HOUR, from_iso, to_iso

THURSDAY = from_iso("2026-12-03T00:00:00Z")


@pytest.mark.parametrize(
    ("period", "at", "start", "end"),
    [
        (Period.HOUR, "2026-02-28T23:59:59Z", "2026-02-28T23:00:00Z", "2026-03-01T00:00:00Z"),
        (Period.DAY, "2026-12-31T23:59:59Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
        (Period.DAY, "2026-11-30T01:00:00+02:00", "2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z"),
        (Period.MONTH, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        (Period.MONTH, "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
    ],
)
def test_a_period_begins_and_ends_in_utc(period: Period, at: str, start: str, end: str) -> None:
    assert to_iso(period.start(from_iso(at))) == start
    assert to_iso(period.end(from_iso(at))) == end


@given(st.sampled_from(Period), st.floats(0.0, 2e11))
def test_periods_follow_each_other_without_a_gap(period: Period, at: float) -> None:
    start, end = period.start(at), period.end(at)
    assert period.start(start) == start <= at < end == period.start(end)
    assert period.end(end - 0.001) == end


@pytest.mark.parametrize("at", [-1e300, -1.0, 1e12, 1e300])
@pytest.mark.parametrize("period", Period)
def test_a_clock_that_is_far_off_raises_nothing(period: Period, at: float) -> None:
    assert period.start(at) < period.end(at)


@pytest.mark.parametrize(
    ("cap", "said"),
    [
        ({"scope": "a/b"}, "a scope is 1 to 100 letters"),
        ({"scope": ""}, "a scope is 1 to 100 letters"),
        ({"hard": -1}, "hard must be whole micro-dollars"),
        ({"hard": True}, "hard must be whole micro-dollars"),
        ({"soft": 1.5}, "soft must be whole micro-dollars"),
        ({"soft": 10**16}, "soft must be whole micro-dollars"),
        ({"soft": 6, "hard": 5}, "soft is over hard"),
    ],
)
def test_a_cap_that_means_nothing_is_refused(cap: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        Cap(**{"scope": "shadow:x", "period": Period.DAY, **cap})


def test_two_caps_of_one_scope_and_period_are_refused() -> None:
    twice = [Cap("shadow:x", Period.DAY, hard=1), Cap("shadow:x", Period.HOUR), Cap("shadow:x", Period.DAY, hard=2)]
    with pytest.raises(BadSettings, match="cap of shadow:x per day: stated twice"):
        checked_caps(twice)


def test_the_forecast_is_a_weekday_and_a_time() -> None:
    """Half a cap in seven hours: the other half takes seven more."""
    now = THURSDAY + 7 * HOUR
    told = forecast(100, 50, start=THURSDAY, end=THURSDAY + DAY, now=now)
    assert told.at == told.at_whole_rate == THURSDAY + 14 * HOUR
    assert told.sentence() == "cap reached Thu 14:00 UTC at this rate"
    assert told.sentence("soft cap") == "soft cap reached Thu 14:00 UTC at this rate"


def test_the_last_hours_rate_tells_of_a_burst() -> None:
    """Twenty hours of little and one hour of much: the period's rate says never, the last hour's says soon."""
    now = THURSDAY + 20 * HOUR
    trail = [(now - 1.1 * HOUR, 1), (now - HOUR, 2), (now - 0.5 * HOUR, 25)]
    told = forecast(100, 50, start=THURSDAY, end=THURSDAY + DAY, now=now, trail=trail)
    assert told.at_whole_rate is None
    assert told.at_last_hours_rate == pytest.approx(now + HOUR * 50 / 48)
    assert told.sentence() == "cap reached Thu 21:02 UTC at this rate"


def test_a_cap_that_will_not_be_reached_says_so() -> None:
    now = THURSDAY + 20 * HOUR
    told = forecast(100, 10, start=THURSDAY, end=THURSDAY + DAY, now=now)
    assert told.at is None
    assert told.sentence() == "cap not reached before Fri 00:00 UTC at this rate"


def test_a_cap_that_is_used_up_says_when_the_period_ends() -> None:
    told = forecast(100, 100, start=THURSDAY, end=THURSDAY + 29 * DAY, now=THURSDAY + 60)
    assert told.reached
    assert told.sentence() == "cap reached; the period ends Fri 01 Jan 00:00 UTC"


def test_the_first_minutes_forecast_nothing() -> None:
    """One expensive answer in the first second is no rate."""
    told = forecast(100, 50, start=THURSDAY, end=THURSDAY + DAY, now=THURSDAY + 1, trail=[(THURSDAY, 0)])
    assert told.at is None
    assert told.sentence("soft cap") == "when the soft cap is reached is not known yet: under 5 minutes of use"


def test_use_that_began_just_now_is_not_spread_over_the_day() -> None:
    """At half past twelve a canary uses two fifths of its cap in 30 seconds: no one knows yet if it will last."""
    now = THURSDAY + 12.5 * HOUR
    trail = [(now - 30, 10)]
    told = forecast(200, 80, start=THURSDAY, end=THURSDAY + DAY, now=now, trail=trail)
    assert told.sentence() == "when the cap is reached is not known yet: under 5 minutes of use"
    later = forecast(200, 180, start=THURSDAY, end=THURSDAY + DAY, now=now + 300, trail=trail)
    assert later.sentence() == "cap reached Thu 12:35 UTC at this rate"
    unused = forecast(200, 0, start=THURSDAY, end=THURSDAY + DAY, now=now, trail=[(now - 30, 0)])
    assert unused.sentence() == "cap not reached before Fri 00:00 UTC at this rate"


@given(
    limit=st.integers(0, 10**12),
    used=st.integers(0, 10**12),
    age=st.floats(0, 30 * DAY),
    trail=st.lists(st.tuples(st.floats(-DAY, 31 * DAY), st.integers(0, 10**12)), max_size=5),
)
def test_no_forecast_lies_in_the_past_or_beyond_the_period(
    limit: int, used: int, age: float, trail: list[tuple[float, int]]
) -> None:
    told = forecast(limit, used, start=0.0, end=31 * DAY, now=age, trail=sorted(trail))
    assert told.reached == (used >= limit)
    assert told.at is None or age <= told.at < 31 * DAY
    assert "cap" in told.sentence()
