"""The TEST page: clearly marked, about nothing that has happened, and its end."""

from __future__ import annotations

from dataclasses import replace

from killswitch.model import PageSettings
from killswitch.pages.building import as_good_news, page_of_event, with_severity
from killswitch.pages.page import Page, PageKind, identified


def trial(rollout: str, settings: PageSettings, *, severity: str, by: str, at: float, identity: str) -> Page:
    """A page as rollout ``rollout`` would send one of this severity. Only a critical one mentions someone.

    ``identity`` tells one test from another; ``at`` is Unix seconds.
    """
    page = page_of_event(
        PageKind.TEST, (), f"TEST of {rollout}'s pages by {by}: nothing has happened", "Nothing to do", settings,
        at=at, identity=f"{rollout}.{identity}", alert="test of pages", auto_action="none: no flag was read or changed",
        steps=(f"Sent by `killswitch page-test`. A real page about {rollout} comes this way",),
    )  # fmt: skip
    page = with_severity(page, severity)
    named = {**page.payload, "rollout": rollout, "rollouts": [rollout], "rollouts_count": 1}
    return replace(page, rollout=rollout, payload=named, mention=page.mention if severity == "critical" else None)


def trial_over(page: Page) -> Page:
    """What ends the alert that the TEST page has opened."""
    headline = f"TEST of {page.rollout}'s pages is over"
    over = identified(replace(page, headline=headline), f"{page.id}.over")
    return as_good_news(replace(over, payload={**over.payload, "headline": headline}), page.id)
