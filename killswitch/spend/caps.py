"""Caps: how much a scope may spend in an hour, a day or a month of UTC."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from killswitch.errors import BadSettings

# A scope is part of a key in the store, so it has no slash.
_SCOPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}", re.ASCII)
MOST_MICROS: Final = 10**15  # a billion dollars: more is a mistake of unit
# the time of the oldest and of the newest period: years 1970 and 9998
_LATEST: Final = datetime(9998, 12, 1, tzinfo=UTC).timestamp()


class Period(StrEnum):
    """What a cap is counted over. Each begins and ends in UTC."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    def start(self, at: float) -> float:
        """Unix seconds: the begin of the period that ``at`` is in."""
        moment = datetime.fromtimestamp(min(max(at, 0.0), _LATEST), tz=UTC)
        begin = moment.replace(minute=0, second=0, microsecond=0)
        if self is not Period.HOUR:
            begin = begin.replace(hour=0)
        if self is Period.MONTH:
            begin = begin.replace(day=1)
        return begin.timestamp()

    def end(self, at: float) -> float:
        """Unix seconds: the end of the period that ``at`` is in, which is the begin of the next one."""
        begin = datetime.fromtimestamp(self.start(at), tz=UTC)
        if self is Period.HOUR:
            return (begin + timedelta(hours=1)).timestamp()
        if self is Period.DAY:
            return (begin + timedelta(days=1)).timestamp()
        return (begin + timedelta(days=32)).replace(day=1).timestamp()


@dataclass(frozen=True, slots=True)
class Cap:
    """What ``scope`` may spend in a ``period``, in micro-dollars.

    ``soft``: over it a person is told. ``hard``: nothing more is reserved. None is no such limit; with neither, the
    spend is only counted. Raises BadSettings.
    """

    scope: str
    period: Period
    soft: int | None = None
    hard: int | None = None

    def __post_init__(self) -> None:
        where = f"cap of {self.scope!r:.120} per {self.period.value}"
        problems = []
        if not _SCOPE.fullmatch(self.scope):
            problems.append(
                f"{where}: a scope is 1 to 100 letters, digits, and . _ : @ -, such as shadow:support or project:eval"
            )
        for name, limit in (("soft", self.soft), ("hard", self.hard)):
            if limit is not None and (type(limit) is not int or not 0 <= limit <= MOST_MICROS):
                problems.append(
                    f"{where}: {name} must be whole micro-dollars from 0 to {MOST_MICROS}, not {limit!r:.40}"
                )
        if not problems and self.soft is not None and self.hard is not None and self.soft > self.hard:
            problems.append(f"{where}: soft is over hard, so it would never be seen; lower it")
        if problems:
            raise BadSettings(problems)


def checked_caps(caps: Iterable[Cap]) -> tuple[Cap, ...]:
    """The caps, at most one for each scope and period. Raises BadSettings."""
    found = tuple(caps)
    seen: set[tuple[str, Period]] = set()
    problems = []
    for cap in found:
        if (cap.scope, cap.period) in seen:
            problems.append(f"cap of {cap.scope} per {cap.period.value}: stated twice; keep one")
        seen.add((cap.scope, cap.period))
    if problems:
        raise BadSettings(problems)
    return found
