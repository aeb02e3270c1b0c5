"""Metric sources: both cohorts' numbers at exact points in time.

An adapter speaks to one metric store and satisfies `Source`. It never raises for a failed read: every want is
answered, if necessary with `Unreadable` and its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from killswitch.deadline import Deadline
from killswitch.model import Readings, Want


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
