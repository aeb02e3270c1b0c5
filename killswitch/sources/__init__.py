"""Metric sources: both cohorts' numbers at exact points in time.

An adapter is one file that speaks to one metric store and satisfies `Source`. It never raises for a
failed read: every want is answered, if need be with `Unreadable` and its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from killswitch.deadline import Deadline
from killswitch.model import CohortMatchers, Reading, Signal


class Range(StrEnum):
    """How the counters before a tick are to be counted."""

    WINDOW = "window"  # what PromQL's increase(x[seconds]) shows; overlaps from tick to tick
    STEP = "step"  # the disjoint increments of the evidence step that ends at the tick


@dataclass(frozen=True, slots=True)
class Want:
    """One signal of one rule, over the ``seconds`` before a tick.

    ``part`` tells the several wants of one rule apart ("window", "step", "raw", …); (rollout, rule,
    part) is unique in a call. ``absent_is_zero`` and freshness are as the rule states them. ``shown``: the seconds
    of the window that the reading's queries are to show a person, where it is not what is asked.
    """

    rollout: str
    rule: str
    part: str
    signal: Signal
    cohorts: CohortMatchers
    seconds: float
    range: Range = Range.WINDOW
    absent_is_zero: bool = False
    shown: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.rollout, self.rule, self.part)


Readings = Mapping[tuple[str, str, str], Reading]


class Source(Protocol):
    """What orchestration needs of a metric store."""

    def now(self, deadline: Deadline) -> float:
        """The store's own clock, Unix seconds. Raises Unavailable or AccessDenied."""
        ...

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        """Every want's reading at exactly ``tick``; never raises for what the store does."""
        ...

    def read_back(self, wants: Sequence[Want], ticks: Sequence[float], deadline: Deadline) -> Mapping[float, Readings]:
        """The same for several past ticks at once (evenly spaced, ascending), by range query."""
        ...

    def close(self) -> None: ...
