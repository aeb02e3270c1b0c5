"""Findings, incidents and pages as the controller would make them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from killswitch.flags.completion import complete
from killswitch.flags.flag import Flag, arm
from killswitch.flags.incident import Incident, IncidentDraft
from killswitch.flags.transitions import Actor
from killswitch.model import Excursion, Finding, PageSettings, Reason, Unit, Verdict
from killswitch.pages import events
from killswitch.pages.page import Page
from killswitch.spend.books import Book
from killswitch.spend.caps import Cap, Period
from killswitch.spend.prices import MILLION
from killswitch.spend.standing import Standing

AT = 1_776_608_531.0  # 2026-04-19T14:22:11Z
SETTINGS = PageSettings(
    slack="#llm-oncall",
    mention="<!subteam^S0123456>",
    severity="critical",
    runbook="https://runbooks.example/canary",
    dashboard="https://grafana.example/d/1?a=1&b=2",
)
BREACH = Finding(
    rule="refusal_rate",
    verdict=Verdict.BREACH,
    reason=None,
    sentence="refusal_rate 8.7% (canary, n=1842) over control 1.1% + 5.0 pp (control n=35160)",
    unit=Unit.FRACTION,
    canary=0.087,
    control=0.011,
    limit=0.061,
    samples_canary=1842.0,
    samples_control=35160.0,
    over=True,
    since=AT - 60,
    evidence=412.0,
    needed=400.0,
    queries=('sum(increase(llm_refusals_total{cohort="canary"}[5m]))',),
)
HEALTHY = Finding(
    rule="latency_p95",
    verdict=Verdict.HEALTHY,
    reason=None,
    sentence="latency_p95 2.41 s (canary, n=1842) within 1.5 x control 2.20 s",
    unit=Unit.SECONDS,
    canary=2.41,
    control=2.2,
    limit=3.3,
    samples_canary=1842.0,
    samples_control=35160.0,
)
# a breach by evidence whose window holds minutes from before it began, and so looks well
PROVEN = replace(
    BREACH,
    sentence="refusal_rate 28.0% (canary, 53 of 189 since 14:20:30) over control 1.2% + 5.0 pp; chance of this by luck "
    "under 1 in 410",
    canary=0.054,
    control=0.012,
    limit=0.062,
    over=False,
    since=AT - 101,
    excursion=Excursion(AT - 101, 53.0, 189.0, 41.0, 3410.0, 0.062),
)
UNKNOWN = Finding(
    rule="thumbs_down_rate",
    verdict=Verdict.UNKNOWN,
    reason=Reason.NEVER_SEEN,
    sentence="thumbs_down_rate unknown (NEVER_SEEN): no series",
    unit=Unit.FRACTION,
)

# where a rollout is in its plan, as JSON
PLANNED: dict[str, Any] = {
    "stages": [
        {
            "stage": "ramp_1", "percent": 1.0, "for_seconds": 86_400.0, "standing": "done",
            "begins": "2026-04-18T14:22:11Z", "ends": "2026-04-19T14:22:11Z",
        },
        {
            "stage": "ramp_5", "percent": 5.0, "for_seconds": 86_400.0, "standing": "now",
            "begins": "2026-04-19T14:22:11Z", "ends": "2026-04-20T14:22:11Z",
        },
        {
            "stage": "full", "percent": 99.0, "for_seconds": 604_800.0, "standing": "to come",
            "begins": "2026-04-20T14:22:11Z", "ends": None,
        },
    ],
    "why": "watched: judged for 12h of 1d; 12h are missing, in about 12h at today's traffic",
}  # fmt: skip


def armed(rollout: str = "support-copilot") -> Flag:
    return arm(
        None, rollout=rollout, control="model-old", canary="model-new", percent=5.0, stage="ramp_5", now=AT, by="ann"
    )


def completed(flag: Flag) -> Flag:
    return complete(flag, rollout=flag.rollout, reason="it is well", now=AT, by="ann", actor=Actor.PERSON)


def incident(rollout: str = "support-copilot", generation: int = 7, **changes: object) -> Incident:
    values: dict[str, object] = {
        "rollout": rollout,
        "generation": generation,
        "automatic": True,
        "by": "controller-a",
        "reason": BREACH.sentence,
        "rules": ("refusal_rate",),
        "findings": (BREACH, HEALTHY, UNKNOWN),
        "tick": AT - 5,
        "decided_at": AT,
        "latency": 5.25,
        "control": "model-old",
        "canary": "model-new",
        "percent_before": 5.0,
        "stage_before": "ramp_5",
        "window": 300.0,
        "min_requests": 100,
        "rules_file": "rules/support-copilot.yaml",
        "rules_digest": "sha256:abc",
        "controller": "controller-a",
        "version": "0.1.0",
        **changes,
    }
    return Incident(**values)  # type: ignore[arg-type]  # the tests' own keywords


def incident_draft(rollout: str = "support-copilot", **changes: object) -> IncidentDraft:
    """What `incident` says, but for the flag's part of it."""
    whole = incident(rollout, **changes)  # type: ignore[arg-type]  # the tests' own keywords
    return IncidentDraft(**{field.name: getattr(whole, field.name) for field in fields(IncidentDraft)})


def proven_incident(**changes: object) -> Incident:
    """Tripped by evidence, while the five minutes of the window are still within the limit."""
    values: dict[str, object] = {"reason": PROVEN.sentence, "findings": (PROVEN, HEALTHY, UNKNOWN), **changes}
    return incident(**values)  # type: ignore[arg-type]  # the tests' own keywords


def spent(
    dollars: float,
    *,
    hard: int,
    soft: int | None = None,
    short: float = 0.0,
    scope: str = "shadow:support-copilot",
    period: Period = Period.DAY,
) -> Standing:
    """What a scope has spent of its caps, in dollars, ``short``: what was last asked for in vain."""
    cap = Cap(scope, period, None if soft is None else soft * MILLION, hard * MILLION)
    book = Book.begin(cap, AT)
    account = replace(book.current, spent=round(dollars * MILLION), short=round(short * MILLION))
    return Standing(book.replace(account), AT)


def trip_page(rollout: str = "support-copilot", generation: int = 7, settings: PageSettings = SETTINGS) -> Page:
    return events.tripped(incident(rollout, generation), settings)
