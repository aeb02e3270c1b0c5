"""What a rule file says about outcomes that are known days later. Plain values; times are seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SlowSignal:
    """A number a user has that is known days later, and how much worse it may be in the canary.

    ``query``: the statement that it is read with, None for that of all users. ``low`` to ``high``: the range of
    ``column``; a value outside is left out. Exactly one of ``max_drop`` and ``max_increase`` is set, in the column's
    unit. ``sustained``: seconds for which the literal rule wants the limit exceeded. ``settle``: seconds after a day
    until its values are final. ``max_response_drop``: a fraction of those asked.
    """

    name: str
    column: str
    query: str | None = None
    low: float = 0.0
    high: float = 1.0
    max_drop: float | None = None
    max_increase: float | None = None
    sustained: float = 172_800.0
    settle: float = 86_400.0
    decide: Literal["evidence", "threshold"] = "evidence"
    max_response_drop: float = 0.05

    @property
    def limit(self) -> float:
        """How much worse the canary may be, in the column's unit."""
        return self.max_drop if self.max_drop is not None else self.max_increase or 0.0


@dataclass(frozen=True, slots=True)
class SlowSettings:
    """What a rule file says about outcomes that arrive days later.

    ``source``: a URL without a password; ``password``: where it is, ``file:/path`` or ``env:NAME``. ``users``: the
    statement for one row a user and day, with the columns ``user`` and ``day``. ``at``: seconds after midnight in
    ``time_zone`` at which a day is judged. ``assignments``: the table of who was in which cohort; None to compute it.
    ``assignments_key``: where the key is with which its users are hashed.
    """

    source: str
    users: str
    user: str
    day: str
    signals: tuple[SlowSignal, ...]
    password: str | None = None
    at: float = 21_600.0
    time_zone: str = "UTC"
    assignments: str | None = None
    assignments_key: str | None = None
