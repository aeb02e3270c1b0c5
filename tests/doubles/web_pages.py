"""The web pages of a small team and of a large one: a trip, a suspect, a plan, and a thousand that are fine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from killswitch.flags import flag as flags
from killswitch.flags.change import Deed, FlagChange, FlagSummary
from killswitch.flags.flag import Flag, StageEntry
from killswitch.flags.incident import Acknowledged, Incident
from killswitch.flags.transitions import Actor, State
from killswitch.incidents.story import IncidentStory, Sources, story_of
from killswitch.model import Finding, Reason, Unit, Verdict
from killswitch.router.presence import Report
from killswitch.status.document import explain_document, status_document
from killswitch.status.reports import CycleReport, RolloutReport, idle
from killswitch.status.rollout_page import Course, StoredFacts
from killswitch.trends.trend import Moment, RuleTrend, Span, Trend
from tests.doubles.pages import AT, BREACH, HEALTHY, PLANNED, UNKNOWN, proven_incident
from tests.doubles.scripted_source import rollout

NAME = "support-copilot"
LONG = "gpt-5-mini-2026-04-14-with-a-name-that-is-as-long-as-vendors-make-them"


@dataclass(frozen=True)
class Shown:
    """Something that a cycle has left for the status."""

    said: dict[str, Any]

    def document(self) -> dict[str, Any]:
        return self.said


def flag(name: str = NAME, percent: float = 5.0, stage: str = "ramp_5") -> Flag:
    return flags.arm(
        None, rollout=name, control="gpt-4o-2024-08-06", canary=LONG, percent=percent, stage=stage, now=AT - 7200,
        by="ann", generation=7,
    )  # fmt: skip


def tripped(name: str = NAME) -> Flag:
    return flags.trip(
        flag(name), rollout=name, reason=BREACH.sentence, rules=("refusal_rate",), incident=f"{name}.7", now=AT,
        by="kill-1", actor=Actor.CONTROLLER,
    )  # fmt: skip


def findings(verdict: Verdict = Verdict.HEALTHY) -> tuple[Finding, ...]:
    """Four rules, the first with this verdict."""
    errors = Finding(
        "error_rate", verdict, None, "error_rate 2.4% (canary, n=1842) over 2.0%, not proven", Unit.FRACTION,
        canary=0.024, control=0.011, limit=0.02, samples_canary=1842.0, samples_control=35_160.0, over=True,
        evidence=38.0, needed=400.0,
    )  # fmt: skip
    if verdict is Verdict.HEALTHY:
        errors = replace(errors, canary=0.012, over=False, evidence=1.0)
    slow = replace(HEALTHY, evidence=2.0, needed=400.0)
    few = replace(UNKNOWN, reason=Reason.TOO_FEW_REQUESTS, sentence="thumbs_down_rate unknown (TOO_FEW_REQUESTS): 12")
    return (errors, slow, *((few,) if verdict is Verdict.UNKNOWN else ()))


def report(more: int = 0) -> CycleReport:
    """One rollout of each kind that a page tells apart, and ``more`` that are healthy."""

    def armed(name: str, said: str, *found: Finding, action: str = "hold", **fields: Any) -> RolloutReport:
        return RolloutReport(name, said, action, flag(name), rollout(name), found, AT, 300.0, **fields)

    reports = {
        NAME: RolloutReport(NAME, "tripped", flag=tripped(), rules=rollout(NAME)),
        "search-answers": armed("search-answers", "1 of 3 rules over", *findings(Verdict.SUSPECT)),
        "summaries": armed(
            "summaries", "all healthy", *findings(), plan=Shown({"advance": "proposed", **PLANNED})
        ),
        "unwatched": RolloutReport("unwatched", "not monitored: no rule file has it", flag=flag("unwatched")),
        "idle": idle("idle", None, rollout("idle")),
    }  # fmt: skip
    for number in range(more):
        name = f"rollout-{number:04d}"
        reports[name] = armed(name, "4 of 4 rules healthy", *findings())
    return CycleReport(AT, 1000.0, 0.21, reports)


def incident() -> Incident:
    return replace(
        proven_incident(), canary=LONG, acknowledged=Acknowledged("Ann Lee", "Slack", AT + 45),
        stages=(StageEntry("ramp_1", 1.0, AT - 7200), StageEntry("ramp_5", 5.0, AT - 2400)),
    )  # fmt: skip


def story() -> IncidentStory:
    return story_of(Sources(f"{NAME}.7", incident(), facts().history, tripped(), trend()))


def status(more: int = 0) -> dict[str, Any]:
    return status_document("kill-1", report(more), 4.0, {NAME: incident()})


def explained(name: str = NAME) -> dict[str, Any]:
    return explain_document(report(), name, {NAME: incident()})


def trend(span: Span = Span.HOUR, rollout_name: str = NAME) -> Trend:
    """Refusals that rise before the trip, latencies with a gap, and nothing known in the first part."""
    until = AT + 600 if span is Span.HOUR else AT
    count = round(span.seconds / span.step)
    times = tuple(until - span.step * (count - 1 - number) for number in range(count))
    refusals, slow = [], []
    for at in times:
        rise = max(0.0, (at - (AT - 300)) / 300) if at <= AT else None
        wave = math.sin(at / 700) / 500
        known = at > times[0] + span.seconds / 6
        canary = None if rise is None else 0.012 + wave + 0.07 * rise
        refusals.append(
            Moment(canary, 0.011 + wave / 3, 0.061, None if rise is None else 412.0**rise, 1800.0, 35_000.0)
            if known
            else Moment()
        )
        there = known and not 0.4 < (at - times[0]) / span.seconds < 0.5 and rise is not None
        slow.append(Moment(2.4 + 50 * wave, 2.2, 3.3, 1.5, 1800.0, 35_000.0) if there else Moment())
    rules = (
        RuleTrend("refusal_rate", Unit.FRACTION, tuple(refusals), 400.0),
        RuleTrend("latency_p95", Unit.SECONDS, tuple(slow), 400.0),
    )
    note = "this controller has watched it since 2026-04-19 13:42:00 UTC"
    return Trend(rollout_name, until - span.seconds, until, span.step, times, rules, note)


def course(span: Span = Span.HOUR) -> Course:
    return Course(span, trend(span))


def facts(routers: int = 3) -> StoredFacts:
    def summary(percent: float, stage: str, state: State = State.ARMED) -> FlagSummary:
        return FlagSummary(state, 7, stage, percent, "gpt-4o-2024-08-06", LONG)

    def change(at: float, deed: Deed, by: str, before: Any, after: Any, reason: str = "") -> FlagChange:
        return FlagChange(NAME, at, deed, by, "command line on host-7", reason, before, after)

    stopped = summary(0.0, "ramp_5", State.TRIPPED)
    history = (
        change(AT - 7200, Deed.ARM, "ann", None, summary(1.0, "ramp_1")),
        change(AT - 2400, Deed.RAISE, "ann", summary(1.0, "ramp_1"), summary(5.0, "ramp_5"), "looks fine"),
        change(AT, Deed.TRIP, "kill-1", summary(5.0, "ramp_5"), stopped, BREACH.sentence),
        change(AT + 45, Deed.ACKNOWLEDGE, "Ann Lee", stopped, stopped),
    )  # fmt: skip
    reports = tuple(
        Report(f"web-{number:02d}-4711-ab12cd", NAME, 90 + (number > 0), 7, "current", 0.0 if number else 5.0, AT)
        for number in range(routers)
    )
    return StoredFacts(history, ((f"{NAME}.7", incident()),), reports, 91)


def hostile(text: str) -> Mapping[str, Any]:
    """A rollout whose every text is this one, as a status would have it."""
    bad = replace(BREACH, rule=text, sentence=text)
    one = replace(incident(), reason=text, by=text, canary=text, control=text, stage_before=text, rules=(text,))
    stopped = replace(tripped(), control=text, canary=text, stage=text)
    known = RolloutReport(NAME, text, "trip", stopped, rollout(NAME), (bad,), AT, 300.0)
    again = replace(one, findings=(bad,), acknowledged=Acknowledged(text, text, AT))
    return explain_document(CycleReport(AT, 1.0, 0.1, {NAME: known}), NAME, {NAME: again})
