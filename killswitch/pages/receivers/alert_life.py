"""What a page means for the alerts of an outside service: it opens one, acknowledges one, or ends one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from killswitch.pages import drowning_events
from killswitch.pages.page import Page, PageKind

# What these continue is over: a problem, a trip, a question to a person (READY, COMPLETE), a test, or a drill.
_OF_A_TRIP = frozenset({PageKind.RE_ARMED, PageKind.ENDED})
_ENDING = _OF_A_TRIP | {PageKind.RECOVERED, PageKind.ADVANCED, PageKind.ROLLED_OUT, PageKind.TEST, PageKind.DRILL}
# these keep an alert open until something ends it
KEEP_OPEN = frozenset({"pagerduty", "opsgenie", "alertmanager"})


def ends(page: Page) -> bool:
    """Whether the page ends the alert of the page that it continues."""
    return page.kind in _ENDING and bool(page.follows)


def acknowledges(page: Page) -> bool:
    """Whether a person has taken over: the alert of the page that it continues needs no one else."""
    return page.kind is PageKind.ACKNOWLEDGED and bool(page.follows)


def alerts_of(page: Page) -> tuple[str, ...]:
    """The ids of the alerts that the page opens, adds to, acknowledges or ends; its own alert is the last."""
    own = page.id if page.kind is PageKind.CONTROL_DROWNS else page.follows or page.id
    if page.kind in _OF_A_TRIP and page.follows:
        # these services take the end of an alert that they do not have, and open none for it
        return (drowning_events.page_id(page.follows), own)
    return (own,)


def web_links(page: Page) -> Sequence[tuple[str, str]]:
    """Name and address of the page's links, as far as they are addresses of the web."""
    named = (("Incident", page.link), ("Runbook", page.runbook), ("Dashboard", page.dashboard))
    return [(name, link) for name, link in named if link and link.startswith(("https://", "http://"))]
