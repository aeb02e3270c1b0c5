"""What slow signals could see, and what the literal rule would do, before any user is exposed. Pure.

The warehouse knows how many users answer a day, and how far apart they are. At each percent, this is how
often the literal rule pins a canary as good as control, and after how many days evidence proves a drop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from killswitch.slow.counts import DayCounts
from killswitch.slow.evidence import Difference
from killswitch.slow.history import ExposureHistory, Wave
from killswitch.slow.judging import drop_to_see, needed_evidence
from killswitch.slow.literal import WEEK, days_of, false_pins, percent_needed_of, usual_deviation
from killswitch.slow_settings import SlowSignal
from killswitch.timestamps import DAY

PERCENTS = (1.0, 5.0, 25.0, 50.0)
DAYS_READ = 14


@dataclass(frozen=True, slots=True)
class AtPercent:
    """``false_pins``: of the literal rule within a week, 0 to 1. ``days_to_see``: None for over ten years."""

    percent: float
    false_pins: float
    days_to_see: int | None


@dataclass(frozen=True, slots=True)
class SlowOutlook:
    """``users`` a day who answer; ``deviation``, ``drop`` in the column's unit; ``works_from``: a percent."""

    users: int
    deviation: float
    drop: float
    rows: tuple[AtPercent, ...]
    works_from: float | None


def without_exposures(rollout: str, now: float) -> ExposureHistory:
    """A history in which no user is in the canary, so that the warehouse's newest days are all control's."""
    return ExposureHistory(rollout, (Wave(now - DAYS_READ * DAY, "", 0.0, 0.0, 0, 0.0),))


def outlook_of(signal: SlowSignal, days: Sequence[DayCounts], signals: int) -> SlowOutlook | None:
    """None without users, or if all of them have the same value. ``signals``: how many share the budget."""
    a_day = sorted(day.control.users for day in days[-WEEK:] if day.control.users)
    deviation = usual_deviation(days)
    if not a_day or not deviation:
        return None
    users = a_day[len(a_day) // 2]
    drop, needed, in_a_row = drop_to_see(signal), needed_evidence(signals), days_of(signal.sustained)
    rows = []
    for percent in PERCENTS:
        share = percent / 100.0
        error = deviation * math.sqrt((1.0 / share + 1.0 / (1.0 - share)) / users)
        compared = Difference(0.0, error, deviation, 0, 0, 0.0, 0.0)
        seen = compared.days_to_see(drop, signal.limit, needed, 1)
        rows.append(AtPercent(percent, false_pins(error, signal.limit, in_a_row), seen))
    return SlowOutlook(users, deviation, drop, tuple(rows), percent_needed_of(users, deviation, signal.limit, in_a_row))
