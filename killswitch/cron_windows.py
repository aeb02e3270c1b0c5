"""Windows of time by cron expressions: the minutes that they name, on the wall clock of one time zone. Pure.

An expression names minutes, as in ``* 18-23 * * fri``. A minute is inside if the wall clock shows it: an hour that a
change to summer time leaves out is never inside, and an hour that occurs twice in autumn is inside both times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from cronsim import CronSim

MINUTE = 60.0
_DAY_MINUTES = 24 * 60
_WHOLE_DAY = (1 << _DAY_MINUTES) - 1
_ANY_DAY = datetime(2024, 1, 1)  # noqa: DTZ001  only the expression is read
# Weekdays and dates repeat after 28 years, leap years included.
_CALENDAR = (date(2024, 1, 1), 28 * 366)


@dataclass(frozen=True, slots=True)
class _Minutes:
    """One expression: which days it is about, and a bit for each of its minutes of such a day."""

    expression: CronSim
    mask: int

    def of(self, day: date) -> int:
        expression = self.expression
        return self.mask if day.month in expression.months and expression.match_day(day) else 0


class CronWindows:
    """The minutes that any of ``expressions`` names, by the clock of ``time_zone`` (an IANA name).

    Raises ValueError for what is not five fields of cron, and for an unknown time zone.
    """

    def __init__(self, expressions: Sequence[str], time_zone: str = "UTC") -> None:
        self._zone = zone(time_zone)
        self._minutes = tuple(_read(expression) for expression in expressions)

    def covers(self, at: float) -> bool:
        """Whether the minute of ``at`` (Unix seconds) is inside."""
        local = datetime.fromtimestamp(at, tz=self._zone)
        return bool(self._of(local.date()) >> (local.hour * 60 + local.minute) & 1)

    def ends(self, at: float, *, days: int = 400) -> float | None:
        """The first minute from ``at`` on that is outside, in Unix seconds; None if none is within ``days``."""
        if not self.covers(at):
            return at
        moment = datetime.fromtimestamp(at, tz=UTC).replace(second=0, microsecond=0)
        last = moment + timedelta(days=days)
        while moment < last:
            local = moment.astimezone(self._zone)
            mask = self._of(local.date())
            if mask == _WHOLE_DAY:
                # to the next midnight by the wall clock, by way of an hour before it, in case the day has 23 hours
                moment += timedelta(minutes=max(_DAY_MINUTES - (local.hour * 60 + local.minute) - 60, 1))
            elif mask >> (local.hour * 60 + local.minute) & 1:
                moment += timedelta(minutes=1)
            else:
                return moment.timestamp()
        return None

    def always(self) -> bool:
        """Whether no minute of any year is outside."""
        first, days = _CALENDAR
        return all(self._of(first + timedelta(days=day)) == _WHOLE_DAY for day in range(days))

    def _of(self, day: date) -> int:
        mask = 0
        for minutes in self._minutes:
            mask |= minutes.of(day)
        return mask


def zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises ValueError for any other text."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # a folder's name is an OSError, an unknown key a KeyError
        raise ValueError(f"{name!r} is not a time zone") from error


def _read(expression: str) -> _Minutes:
    # only a plan that names windows needs the library
    from cronsim import CronSim, CronSimError  # noqa: PLC0415

    if len(expression.split()) != 5:
        raise ValueError("a cron expression has five fields: minute, hour, day of the month, month, day of the week")
    try:
        read = CronSim(expression, _ANY_DAY)
    except (CronSimError, ValueError, IndexError) as error:
        raise ValueError(str(error) or "not a cron expression") from error
    mask = 0
    for hour in read.hours:
        for minute in read.minutes:
            mask |= 1 << (hour * 60 + minute)
    return _Minutes(read, mask)
