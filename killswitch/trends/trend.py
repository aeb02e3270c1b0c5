"""A trend: both cohorts of each of a rollout's rules over a time, as values. Nothing in it is guessed.

What was not judged, or is not known, is None in every series: a chart shows a gap there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from killswitch.model import Finding, Unit
from killswitch.timestamps import DAY, HOUR


class Span(StrEnum):
    """How far back people look. Each has a resolution of its own."""

    HOUR = "1h"
    SIX_HOURS = "6h"
    DAY = "24h"
    WEEK = "7d"

    @property
    def seconds(self) -> float:
        return {Span.HOUR: HOUR, Span.SIX_HOURS: 6 * HOUR, Span.DAY: DAY, Span.WEEK: 7 * DAY}[self]

    @property
    def step(self) -> float:
        """Seconds between two points; a point of a longer span is the mean of the finer ones within it."""
        return {Span.HOUR: 60.0, Span.SIX_HOURS: 360.0, Span.DAY: 1800.0, Span.WEEK: 14_400.0}[self]


@dataclass(frozen=True, slots=True)
class Moment:
    """One rule at one moment. Values in the rule's unit; ``samples_*`` are requests in the window that ends there.

    ``evidence``: 400 is 1 in 400 by luck. None for what is not known.
    """

    canary: float | None = None
    control: float | None = None
    limit: float | None = None
    evidence: float | None = None
    samples_canary: float | None = None
    samples_control: float | None = None

    @classmethod
    def of(cls, finding: Finding) -> Moment:
        return cls(
            finding.canary,
            finding.control,
            finding.limit,
            finding.evidence,
            finding.samples_canary,
            finding.samples_control,
        )


NOTHING = Moment()


@dataclass(frozen=True, slots=True)
class RuleTrend:
    """One rule's moments, one for each of the trend's times. ``needed``: the evidence at which it trips, None if none.

    Requests are kept to half a percent and evidence to about two percent; the cohorts' values are exact to 7 digits.
    """

    rule: str
    unit: Unit
    moments: tuple[Moment, ...]
    needed: float | None = None

    @property
    def empty(self) -> bool:
        return all(moment == NOTHING for moment in self.moments)


@dataclass(frozen=True, slots=True)
class Trend:
    """A rollout's rules from ``since`` to ``until`` (Unix seconds) at ``times``, about ``step`` seconds apart.

    ``note`` says what is not known and why, "" where there is nothing to say.
    """

    rollout: str
    since: float
    until: float
    step: float
    times: tuple[float, ...]
    rules: tuple[RuleTrend, ...]
    note: str = ""

    def of(self, rule: str) -> RuleTrend | None:
        return next((one for one in self.rules if one.rule == rule), None)

    @property
    def empty(self) -> bool:
        return all(rule.empty for rule in self.rules)

    def only(self, rules: Sequence[str]) -> Trend:
        """The trend of these rules, in this order; rules that it does not have are left out."""
        return replace(self, rules=tuple(one for name in rules if (one := self.of(name)) is not None))


def known_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)
