"""Calendar days of a time zone, as numbers of days since 1970: a day may have 23 or 25 hours.

Pure: times are Unix seconds, given by the caller.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_EPOCH = date(1970, 1, 1)


def number_of(day: date) -> int:
    return (day - _EPOCH).days


def date_of(day: int) -> date:
    return _EPOCH + timedelta(days=day)


def local_day(at: float, zone: ZoneInfo) -> int:
    """The day in which ``at`` is."""
    return number_of(datetime.fromtimestamp(at, tz=zone).date())


def begin_of(day: int, zone: ZoneInfo, after_midnight: float = 0.0) -> float:
    """When the day begins, or when its clock shows this many seconds after midnight."""
    minutes, seconds = divmod(int(after_midnight), 60)
    clock = time(minutes // 60, minutes % 60, seconds)
    return datetime.combine(date_of(day), clock, tzinfo=zone).timestamp()


def evaluated_at(now: float, at: float, zone: ZoneInfo) -> float:
    """The newest evaluation that is not after ``now``; there is one a day, ``at`` seconds after midnight.

    All replicas judge the same instant, whenever they come to it.
    """
    today = local_day(now, zone)
    due = begin_of(today, zone, at)
    return due if due <= now else begin_of(today - 1, zone, at)


def last_settled(evaluated: float, settle: float, zone: ZoneInfo) -> int:
    """The newest day that ended ``settle`` seconds before the evaluation, or earlier."""
    return local_day(evaluated - settle, zone) - 1


def first_counted(exposed_at: float, settle: float, zone: ZoneInfo) -> int:
    """The first whole day that began ``settle`` after an exposure or later. The day of the exposure never counts."""
    day = local_day(exposed_at + settle, zone)
    if begin_of(day, zone) < exposed_at + settle:
        day += 1
    return max(day, local_day(exposed_at, zone) + 1)
