"""What is counted of one slow signal: users of both cohorts, by day and by stretch of days. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Moments:
    """Of ``users`` numbers, one a user: their mean and their variance (with ``users`` - 1); 0 without any."""

    users: int = 0
    mean: float = 0.0
    variance: float = 0.0


@dataclass(frozen=True, slots=True)
class DayCounts:
    """One day (days since 1970): a number is the mean of a user's rows of that day."""

    day: int
    control: Moments
    canary: Moments


@dataclass(frozen=True, slots=True)
class StretchCounts:
    """A stretch of days in which no user changes cohort, so the same users are compared on the same days.

    ``control`` and ``canary``: a number is the mean of a user's days. ``control_answers`` and ``canary_answers``: the
    share of a user's days with an answer, of all users who were asked. ``share``: the canary's share of users that the
    flag's history says.
    """

    share: float
    control: Moments
    canary: Moments
    control_answers: Moments
    canary_answers: Moments


@dataclass(frozen=True, slots=True)
class UserSpread:
    """How far the difference of all stretches may be off, and the users it rests on.

    ``squared``: the sum over users of the square of what each adds to the difference, over all stretches together. So
    the days of one user are one observation, however many they are. ``control`` and ``canary``: users, each once.
    """

    squared: float = 0.0
    control: int = 0
    canary: int = 0


@dataclass(frozen=True, slots=True)
class RecentCounts:
    """The comparison of the days from ``first`` on alone, so that harm that begins late is not averaged away."""

    first: int
    stretches: tuple[StretchCounts, ...]
    values: UserSpread


@dataclass(frozen=True, slots=True)
class SlowCounts:
    """All that a verdict rests on. ``newest``: the newest day with a row, None without one.

    ``first`` and ``last``: the days that could count. ``left_out``: user-days and rows that count nowhere, by reason;
    ``bad`` of the ``rows`` could not be used at all. ``values`` and ``answers``: the spread of each comparison.
    ``recent``: the same comparison of the newest weeks. ``seen``: users with a row by day, of whichever cohort or none.
    """

    first: int
    last: int
    newest: int | None = None
    days: tuple[DayCounts, ...] = ()
    stretches: tuple[StretchCounts, ...] = ()
    values: UserSpread = UserSpread()
    answers: UserSpread = UserSpread()
    recent: tuple[RecentCounts, ...] = ()
    seen: Mapping[int, int] = field(default_factory=dict)
    rows: int = 0
    bad: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
