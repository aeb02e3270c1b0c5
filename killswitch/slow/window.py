"""Which days one evaluation of one signal rests on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from killswitch.slow.days import evaluated_at, last_settled, local_day
from killswitch.slow.history import ExposureHistory
from killswitch.slow_settings import SlowSettings, SlowSignal

MOST_DAYS = 120  # a rollout that lasts longer is judged on its newest days


@dataclass(frozen=True, slots=True)
class Window:
    """Days since 1970. ``since``: the first that is read. ``last``: the newest that has settled. ``expected``: the
    newest that must have rows. ``today``: that of the evaluation; a later day is still to come.
    """

    zone: ZoneInfo
    settle: float
    evaluated_at: float
    since: int
    last: int
    expected: int
    today: int


def window_of(settings: SlowSettings, signal: SlowSignal, history: ExposureHistory, now: float) -> Window:
    """The days of the newest evaluation that is not after ``now``."""
    zone = ZoneInfo(settings.time_zone)
    evaluated = evaluated_at(now, settings.at, zone)
    today = local_day(evaluated, zone)
    exposed = min((local_day(wave.at, zone) for wave in history.waves), default=today)
    since = max(min(exposed, today - 1), today - MOST_DAYS)
    if history.judged_from:
        # a person has lifted a pin: it was for what happened before
        since = max(since, local_day(history.judged_from, zone) + 1)
    last = last_settled(evaluated, signal.settle, zone)
    return Window(zone, signal.settle, evaluated, since, last, today - 1, today)
