"""Which receivers a page is for, by the routes of its rule file. Pure.

A route never loses a page that someone must see: a critical page, a trip, or a pin, whose route names no receiver that
is set up here goes to all of them. So does what ends the alert that such a trip has opened.
"""

from __future__ import annotations

from collections.abc import Iterable

from killswitch.page_addresses import SILENT
from killswitch.pages.page import Page, PageKind

_STOPS = frozenset({PageKind.TRIPPED, PageKind.PINNED})
# what continues a trip, and must come wherever that has gone
_AFTER_A_TRIP = frozenset({PageKind.RE_ARMED, PageKind.ENDED, PageKind.ACKNOWLEDGED, PageKind.FOLLOWED})


def receivers_of(page: Page, available: Iterable[str]) -> frozenset[str]:
    """The receivers that get the page, of those that are ``available`` (set up, and with an address for this page).

    A page that continues another goes wherever the first one may have gone, whatever its own severity is: an alert that
    was opened must be resolved, also by a re-arm, whose severity is `info`.
    """
    here = frozenset(available)
    route = page.addresses.any_route() if page.follows else page.addresses.route(page.severity)
    if route is None:
        return here
    routed = here & frozenset(route)
    return here if _must_arrive(page) and not routed - SILENT else routed


def _must_arrive(page: Page) -> bool:
    after = page.kind in _AFTER_A_TRIP and bool(page.follows)
    return page.kind in _STOPS or after or page.severity == "critical"


def wanted_nowhere(page: Page) -> bool:
    """The rule file says that no receiver gets this page, so that the fallback gets none either."""
    return not page.follows and page.addresses.route(page.severity) == () and not _must_arrive(page)
