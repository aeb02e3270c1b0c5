"""When a plan allows a step up to begin: never in the minutes that its `not_during` names."""

from __future__ import annotations

from functools import lru_cache

from killswitch.cron_windows import CronWindows
from killswitch.plan import Plan

LAST = 32_503_680_000.0  # the year 3000: a date beyond it is no date


@lru_cache(maxsize=1024)
def _windows(expressions: tuple[str, ...], time_zone: str) -> CronWindows:
    return CronWindows(expressions, time_zone)


def opens(plan: Plan, at: float) -> float | None:
    """The first time from ``at`` on at which a step up may begin, in Unix seconds; None if there is none in 400 days.

    Raises ValueError for expressions that `killswitch check` refuses.
    """
    return None if at > LAST else _windows(plan.not_during, plan.time_zone).ends(at)
