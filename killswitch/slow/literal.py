"""The literal rule: over the limit on every day for a while. No statistics, so it also says how often it is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

from killswitch.slow.counts import DayCounts
from killswitch.slow.evidence import day_error
from killswitch.timestamps import DAY

WEEK = 7
GOOD_ENOUGH = 0.01  # of healthy canaries pinned in a week
SAME_PERCENT = 2.0  # a raise multiplies the share of users by more, and a day's luck by less
PERCENTS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 33.0, 50.0)


def days_of(sustained: float) -> int:
    """How many days in a row must be over the limit."""
    return max(1, math.ceil(sustained / DAY))


def false_pins(error: float, limit: float, in_a_row: int, days: int = WEEK) -> float:
    """How likely a canary as good as control is pinned within ``days``, if a day's difference has this error."""
    if not math.isfinite(error):
        return 0.0
    over = 0.5 if error == 0.0 and limit == 0.0 else 0.0 if error == 0.0 else _upper(limit / error)
    streaks = [1.0, *[0.0] * (in_a_row - 1)]  # how likely the streak is so long today
    for _ in range(days):
        streaks = [(1.0 - over) * sum(streaks), *(over * chance for chance in streaks[:-1])]
    return 1.0 - sum(streaks)


def percent_needed(days: Sequence[DayCounts], limit: float, in_a_row: int) -> float | None:
    """The lowest percent at which the rule pins at most one healthy canary in a hundred a week; None if none does."""
    users = usual_users(days)
    deviation = usual_deviation(days)
    if users is None or deviation is None:
        return None
    return percent_needed_of(sum(users), deviation, limit, in_a_row)


def percent_needed_of(everyone: float, deviation: float, limit: float, in_a_row: int) -> float | None:
    """The same with ``everyone`` users a day in both cohorts together, of this standard deviation."""
    for percent in PERCENTS:
        share = percent / 100.0
        error = deviation * math.sqrt((1.0 / share + 1.0 / (1.0 - share)) / everyone)
        if false_pins(error, limit, in_a_row) <= GOOD_ENOUGH:
            return percent
    return None


def usual_days(days: Sequence[DayCounts]) -> list[DayCounts]:
    """The days that say how many users there are now: of the newest week, those since the last change of percent.

    Else the days of 1 % would count as long as those of 25 %.
    """
    both = [day for day in days if day.canary.users and day.control.users][-WEEK:]
    if not both:
        return []
    now = _share(both[-1])
    return [day for day in both if now / SAME_PERCENT <= _share(day) <= now * SAME_PERCENT]


def _share(day: DayCounts) -> float:
    return day.canary.users / (day.canary.users + day.control.users)


def usual_users(days: Sequence[DayCounts]) -> tuple[float, float] | None:
    """Users of control and the canary on a day in the middle; None without a day with both."""
    both = sorted((day.canary.users, day.control.users) for day in usual_days(days))
    if not both:
        return None
    canary, control = both[len(both) // 2]
    return float(control), float(canary)


def usual_deviation(days: Sequence[DayCounts]) -> float | None:
    """The standard deviation of a control user's day; None without one."""
    known = [(day.control.users, day.control.variance) for day in days if day.control.users > 1]
    users = sum(one for one, _ in known)
    return math.sqrt(sum(one * variance for one, variance in known) / users) if users else None


def usual_error(days: Sequence[DayCounts]) -> float:
    """The standard error of the difference on a day in the middle; infinite without one."""
    errors = sorted(day_error(day.control, day.canary) for day in usual_days(days))
    known = [error for error in errors if math.isfinite(error)]
    return known[len(known) // 2] if known else math.inf


def _upper(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2.0))
