"""The page about the end of a rollout that was tripped: what its trip's page said to do is no longer to be done."""

from __future__ import annotations

from dataclasses import replace

from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.pages.building import as_good_news, page_of_event
from killswitch.pages.page import MAX_NAME, Page, PageKind
from killswitch.wording import plain


def ended(trip: Page, flag: Flag, *, reason: str, by: str, at: float) -> Page:
    """A person has removed the flag of a tripped rollout. It goes where the page ``trip`` went, and continues it.

    ``flag``: as it was. ``at``: Unix seconds. No rule file is needed: the rollout may have none any more.
    """
    who, control = plain(by, MAX_NAME), plain(flag.control, MAX_NAME)
    made = page_of_event(
        PageKind.ENDED, (flag,), f"{flag.rollout}: ended by {who}; everyone keeps {control}",
        reason or "no reason was given", PageSettings(),
        at=at, identity="", alert="canary rollout ended", auto_action=f"none: {who} ended the rollout",
        steps=(f"Who changed what: `killswitch log {flag.rollout}`",),
    )  # fmt: skip
    # what says where a page goes is the trip's
    page = replace(
        trip, id=made.id, kind=made.kind, generation=made.generation, at=made.at, headline=made.headline, why=made.why,
        rows=(), next_steps=made.next_steps, payload={**made.payload, "link": trip.link}, exposed="", stages=(),
    )  # fmt: skip
    return as_good_news(page, trip.id)
