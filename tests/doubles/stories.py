"""Incidents with all that is known of them afterwards, and with nothing of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from killswitch.flags.change import Deed, FlagChange, FlagSummary
from killswitch.flags.cited_alert import cited
from killswitch.flags.incident import Acknowledged, Incident, Paged, RoutersFollowed
from killswitch.flags.transitions import State
from killswitch.incidents.story import Sources
from killswitch.model import Unit
from killswitch.trends.trend import Moment, RuleTrend, Trend
from tests.doubles.pages import AT, proven_incident

ID = "support-copilot.7"
BEGAN = AT - 101  # as the double's evidence has it
ALERT = cited(
    "CopilotErrors", "f1", AT - 30, {"alertname": "CopilotErrors", "severity": "critical"}, {"summary": "8%"},
    "http://prometheus:9090/graph",
)  # fmt: skip


def change(deed: Deed, after: float, *, reason: str = "", generation: int = 7, by: str = "ann") -> FlagChange:
    """A line of the history, ``after`` seconds from the trip."""
    before = FlagSummary(State.TRIPPED, generation, "ramp_5", 0.0, "model-old", "model-new")
    new = replace(before, state=State.ARMED, generation=generation + 1) if deed is Deed.REARM else before
    return FlagChange("support-copilot", AT + after, deed, by, "Slack", reason, before, new)


def trend() -> Trend:
    """Half an hour in minutes: the canary goes up at the end, control stays, and some minutes are not known."""
    times = tuple(AT - 1800 + 60 * number for number in range(1, 31))
    moments = tuple(
        Moment() if 5 <= number < 8 else Moment(canary=0.011 if number < 28 else 0.28, control=0.011, limit=0.061)
        for number in range(30)
    )
    return Trend(
        "support-copilot", AT - 1800, AT, 60.0, times, (RuleTrend("refusal_rate", Unit.FRACTION, moments, 400.0),)
    )


def all_known(**changes: Any) -> Sources:
    """Paged, acknowledged, followed by all routers, held and re-armed. ``changes``: of the incident."""
    incident = proven_incident(
        pages=(Paged("slack", "TRIPPED", AT + 2, "C1/1"), Paged("pagerduty", "TRIPPED", AT + 3, "x", True)),
        routers=RoutersFollowed(12, 12, AT + 9),
        acknowledged=Acknowledged("ben", "Slack", AT + 60),
        latency=1.5,
        **changes,
    )
    history = (
        change(Deed.RAISE, -4000, generation=6),
        change(Deed.TRIP, 0),
        change(Deed.ACKNOWLEDGE, 60),
        change(Deed.HOLD, 120, reason="wait for legal"),
        change(Deed.REARM, 600, reason="prompt fixed"),
        change(Deed.TRIP, 900, generation=8),
        change(Deed.REARM, 990, generation=8),
    )
    return Sources(ID, incident, history, None, trend(), None)


def nothing_known(**changes: Any) -> Sources:
    """A trip by hand of which nothing else is kept."""
    incident: Incident = proven_incident(
        automatic=False, by="ann", reason="wrong language", rules=(), findings=(), **changes
    )
    return Sources(ID, incident)
