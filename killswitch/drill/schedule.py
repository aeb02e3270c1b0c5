"""When a scheduled drill is due: every few days at a time of day, on the clock of a time zone. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime, time, timedelta
from typing import Final

from killswitch.cron_windows import zone
from killswitch.drill_settings import DrillSettings
from killswitch.timestamps import DAY, HOUR

LATE: Final = 3 * HOUR  # a drill that could not begin by then was missed


def schedule_in_words(settings: DrillSettings) -> str:
    """``7d at 03:00 Europe/Berlin``; empty without a schedule."""
    if settings.every is None:
        return ""
    hours, minutes = divmod(round(settings.at) // 60, 60)
    return f"{settings.every}d at {hours:02d}:{minutes:02d} {settings.time_zone}"


def first_due(settings: DrillSettings, rollout: str, now: float) -> float | None:
    """When the first drill of a rollout with this schedule is due: after ``now`` (Unix seconds).

    The day depends on the rollout's name, so that a thousand rollouts are not all drilled in one night.
    """
    if settings.every is None:
        return None
    ahead = int(hashlib.sha256(rollout.encode()).hexdigest()[:8], 16) % settings.every
    local = datetime.fromtimestamp(now, tz=zone(settings.time_zone))
    return _on(settings, local, ahead + (_on(settings, local, 0) <= now))


def next_due(settings: DrillSettings, due: float, now: float) -> float | None:
    """When the drill after the one of ``due`` is due. Days that passed while no replica ran are left out."""
    if settings.every is None:
        return None
    local = datetime.fromtimestamp(due, tz=zone(settings.time_zone))
    days = 0
    while True:
        days += settings.every
        at = _on(settings, local, days)
        if at > now:
            return at


def is_sound(settings: DrillSettings, due: float | None, now: float) -> bool:
    """Whether a stored ``due`` can be of this schedule: one that a wrong clock wrote lies years ahead, or is lost."""
    if settings.every is None:
        return due is None
    return due is not None and due <= now + (settings.every + 1) * DAY


def _on(settings: DrillSettings, local: datetime, days: int) -> float:
    hours, minutes = divmod(round(settings.at) // 60, 60)
    day = local.date() + timedelta(days=days)
    # an hour that summer time leaves out is read as the one after it
    return datetime.combine(day, time(hours, minutes), tzinfo=local.tzinfo).timestamp()
