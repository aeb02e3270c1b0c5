"""A trend: both cohorts of each of a rollout's rules over a time, as values. Nothing in it is guessed.

What was not judged, or is not known, is None in every series: a chart shows a gap there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
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
_FIELDS = tuple(field.name for field in fields(Moment))


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


def merged(rollout: str, since: float, until: float, step: float, trends: Sequence[Trend | None]) -> Trend:
    """One trend at every ``step`` in (since, until]; what the first does not know is taken from the next."""
    there = [one for one in trends if one is not None]
    count = round((until - since) / step)
    times = tuple(since + step * number for number in range(1, count + 1))
    names: dict[str, RuleTrend] = {}
    for rule in (rule for one in there for rule in one.rules):
        names.setdefault(rule.rule, rule)
    rules = tuple(_merged_rule(first, times, step, there) for first in names.values())
    note = next((one.note for one in there if one.note), "")
    return Trend(rollout, since, until, step, times, rules, note)


def _merged_rule(first: RuleTrend, times: Sequence[float], step: float, trends: Sequence[Trend]) -> RuleTrend:
    found: dict[int, Moment] = {}
    needed = first.needed
    for trend in trends:
        rule = trend.of(first.rule)
        if rule is None:
            continue
        needed = needed or rule.needed
        for at, moment in zip(trend.times, rule.moments, strict=True):
            place = math.ceil(at / step - 1e-9)
            found[place] = _filled(found.get(place, NOTHING), moment)
    moments = tuple(found.get(math.ceil(at / step - 1e-9), NOTHING) for at in times)
    return RuleTrend(first.rule, first.unit, moments, needed)


def _filled(one: Moment, other: Moment) -> Moment:
    """The first, with the other's values where it knows nothing."""
    if one == NOTHING:
        return other
    missing = {name: getattr(other, name) for name in _FIELDS if getattr(one, name) is None}
    return replace(one, **missing)
