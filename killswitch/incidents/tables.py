"""What every form of a post-mortem shows of the rules: numbers at the trip, and both cohorts as rows of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from killswitch.flags.incident import Incident, finding_to_json
from killswitch.incidents.sparkline import sparkline, top_of
from killswitch.incidents.story import IncidentStory
from killswitch.pages.finding_rows import finding_rows
from killswitch.trends.drawing import MOST_PICTURED
from killswitch.wording import plain, time_of_day, value_in_words

RULES_HEAD = ("rule", "verdict", "canary", "control", "limit", "requests", "counted")


def rule_rows(incident: Incident) -> Iterator[tuple[str, ...]]:
    """The cells of each line, the rules that tripped first."""
    ordered = sorted(incident.findings, key=lambda one: (one.rule not in incident.rules, one.rule))
    for finding in ordered:
        rows = finding_rows(finding_to_json(finding), window=incident.window, at=incident.decided_at)
        for number, row in enumerate(rows):
            named = (plain(finding.rule, 60), finding.verdict.value) if number == 0 else ("", "")
            yield (*named, row.canary, row.control, row.limit, row.requests, row.counted)


@dataclass(frozen=True, slots=True)
class CohortLines:
    """One rule's two cohorts around the trip: rows of blocks on one scale that ends at ``top``, in words."""

    rule: str
    canary: str
    control: str
    top: str
    when: str


def cohort_lines(story: IncidentStory) -> Iterator[CohortLines]:
    """Of the rules that tripped, else of the first ones; nothing where no trend was kept."""
    trend = story.trend
    if trend is None:
        return
    tripping = trend.only(story.incident.rules)
    for rule in (tripping if tripping.rules else trend).rules[:MOST_PICTURED]:
        canary = [moment.canary for moment in rule.moments]
        control = [moment.control for moment in rule.moments]
        top = top_of(canary, control)
        yield CohortLines(
            plain(rule.rule, 60),
            sparkline(canary, top),
            sparkline(control, top),
            value_in_words(top, rule.unit),
            f"{time_of_day(trend.since)} to {time_of_day(trend.until)} UTC, the trip at "
            f"{time_of_day(story.incident.decided_at)}",
        )
