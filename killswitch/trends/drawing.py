"""A trend as charts: both cohorts against the limit, and the evidence on its way to where it trips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from killswitch.charts.chart import Chart, ChartMark, LineRole, MarkKind, Scale, Series
from killswitch.flags.flag import StageEntry
from killswitch.flags.incident import Incident
from killswitch.trends.trend import RuleTrend, Trend

MOST_PICTURED: Final = 3  # rules in one picture of a trip


def cohorts_chart(trend: Trend, rule: RuleTrend, marks: Iterable[ChartMark] = ()) -> Chart:
    """The rule's two cohorts and the limit that the canary must not exceed."""
    return Chart(
        title=rule.rule,
        scale=Scale.of(rule.unit),
        since=trend.since,
        until=trend.until,
        series=(
            Series("canary", LineRole.CANARY, _points(trend, [one.canary for one in rule.moments])),
            Series("control", LineRole.CONTROL, _points(trend, [one.control for one in rule.moments])),
            Series("limit", LineRole.LIMIT, _points(trend, [one.limit for one in rule.moments])),
        ),
        marks=tuple(marks),
        note=trend.note,
    )


def evidence_chart(trend: Trend, rule: RuleTrend, marks: Iterable[ChartMark] = ()) -> Chart | None:
    """The rule's evidence and where it trips, None for a rule that is judged without evidence."""
    if rule.needed is None:
        return None
    evidence = _points(trend, [one.evidence for one in rule.moments])
    threshold: Sequence[tuple[float, float | None]] = ((trend.since, rule.needed), (trend.until, rule.needed))
    return Chart(
        title=f"{rule.rule}: evidence",
        scale=Scale.ODDS,
        since=trend.since,
        until=trend.until,
        series=(Series("evidence", LineRole.CANARY, evidence), Series("trips at", LineRole.LIMIT, threshold)),
        marks=tuple(marks),
        note=trend.note,
    )


def charts_of_trip(trend: Trend, incident: Incident) -> tuple[Chart, ...]:
    """Both cohorts around a trip: a chart for each rule that tripped, or of the first rules if no rule did."""
    wanted = trend.only(incident.rules) if trend.only(incident.rules).rules else trend
    marks = marks_of_trip(incident)
    return tuple(cohorts_chart(trend, rule, marks) for rule in wanted.rules[:MOST_PICTURED])


def marks_of_trip(incident: Incident) -> tuple[ChartMark, ...]:
    """The steps of the generation that was tripped, and its trip."""
    return (*marks_of_steps(incident.stages), ChartMark(incident.decided_at, MarkKind.TRIP, "trip"))


def marks_of_steps(stages: Iterable[StageEntry]) -> tuple[ChartMark, ...]:
    return tuple(ChartMark(one.at, MarkKind.STEP, f"{one.percent:g}%") for one in stages)


def _points(trend: Trend, values: Sequence[float | None]) -> list[tuple[float, float | None]]:
    return list(zip(trend.times, values, strict=True))
