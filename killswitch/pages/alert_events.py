"""The page about a plan that an alert of another system holds."""

from __future__ import annotations

from dataclasses import replace

from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.pages.building import page_of_event, with_severity
from killswitch.pages.page import Page, PageKind


def held_by_alert(flag: Flag, why: str, *, identity: str, at: float, settings: PageSettings) -> Page:
    """An alert holds the rollout's plan. ``identity`` names the alert and when it began; ``at`` is Unix seconds."""
    headline = f"{flag.rollout}: an alert holds it at {flag.stage}, {flag.canary_percent:g}%: no step up"
    steps = (
        f"See what our own rules say: `killswitch status {flag.rollout}`",
        f'To end the canary now: `killswitch trip {flag.rollout} --reason "why"`',
        f"When the alert is understood, let the plan go on: `killswitch resume {flag.rollout}`",
    )
    page = page_of_event(
        PageKind.PLAN_HELD, (flag,), headline, why, settings,
        at=at, identity=f"alert.{identity}", alert="plan held by an alert", auto_action="held: no step up",
        steps=steps,
    )  # fmt: skip
    return replace(with_severity(page, "warning"), mention=None)
