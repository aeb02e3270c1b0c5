"""Windows by cron on the wall clock: both changes of summer time, days of 23 and 25 hours, and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.cron_windows import CronWindows, zone

BERLIN = ZoneInfo("Europe/Berlin")
WEEKEND = CronWindows(["* 18-23 * * fri", "* * * * sat,sun"], "Europe/Berlin")


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0, *, fold: int = 0) -> float:
    """Unix seconds of a time on Berlin's wall clock."""
    return datetime(year, month, day, hour, minute, tzinfo=BERLIN, fold=fold).timestamp()


def test_a_window_covers_its_minutes_and_no_others() -> None:
    assert not WEEKEND.covers(at(2026, 11, 27, 17, 59))
    assert WEEKEND.covers(at(2026, 11, 27, 18, 0))
    assert WEEKEND.covers(at(2026, 11, 29, 23, 59) + 59.9)
    assert not WEEKEND.covers(at(2026, 11, 30, 0, 0))


def test_it_ends_with_the_first_minute_outside() -> None:
    monday = at(2026, 11, 30, 0, 0)
    assert WEEKEND.ends(at(2026, 11, 27, 18, 0) + 30) == monday
    assert WEEKEND.ends(monday) == monday


@pytest.mark.parametrize("saturday", [(2026, 3, 28), (2026, 10, 24)], ids=["23 hours", "25 hours"])
def test_a_weekend_with_a_change_of_the_clock_ends_at_midnight(saturday: tuple[int, int, int]) -> None:
    year, month, day = saturday
    monday = datetime(year, month, day, tzinfo=BERLIN) + timedelta(days=2)
    assert WEEKEND.ends(at(*saturday)) == monday.timestamp()


def test_an_hour_that_is_left_out_closes_nothing() -> None:
    """On 29 March 2026 no clock in Berlin shows 02:30."""
    windows = CronWindows(["* 2 * * *"], "Europe/Berlin")
    one = at(2026, 3, 29, 1, 0)
    assert not any(windows.covers(one + minute * 60) for minute in range(180))


def test_an_hour_that_occurs_twice_is_closed_both_times() -> None:
    windows = CronWindows(["* 2 * * *"], "Europe/Berlin")
    first, second = at(2026, 10, 25, 2, 30), at(2026, 10, 25, 2, 30, fold=1)
    assert second - first == 3600
    assert windows.covers(first)
    assert windows.covers(second)
    assert windows.ends(first) == at(2026, 10, 25, 3, 0)


def test_what_covers_every_minute_never_ends() -> None:
    assert CronWindows(["* * * * *"]).ends(0.0) is None
    assert CronWindows(["* * * * *"]).always()
    assert CronWindows(["* 0-11 * * *", "* 12-23 * * *"]).always()
    assert not CronWindows(["* * * * mon-sat", "* * 1-30 * *"]).always()  # 31, a Sunday
    assert not CronWindows(["* * * 1,3-12 *", "* * 1-28 2 *"]).always()  # 29 February
    assert not CronWindows([]).always()


@pytest.mark.parametrize(
    "text", ["", "* * * *", "* * * * * *", "61 * * * *", "* * * * fri-mon", "* * 31 2 *", "@daily"]
)
def test_what_is_not_cron_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Bad|five fields"):
        CronWindows([text])


@pytest.mark.parametrize("name", ["", "Mars/Base", "../etc/passwd", "Europe", "/etc/localtime", "a" * 300, "\x00"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        zone(name)


@given(
    st.lists(
        st.sampled_from(["* 18-23 * * fri", "* * * * sat,sun", "*/7 2 * * *", "* * 1 * *", "30 0-3 * 3,10 *"]),
        max_size=3,
    ),
    st.integers(0, 220 * 24 * 3600),
)
def test_no_minute_before_the_end_is_outside(expressions: list[str], seconds: int) -> None:
    windows = CronWindows(expressions, "Europe/Berlin")
    begins = at(2026, 3, 27) + seconds
    ends = windows.ends(begins)
    assert ends is not None
    assert not windows.covers(ends)
    minutes = int((ends - begins) // 60)
    assert all(windows.covers(begins + minute * 60) for minute in range(minutes))
