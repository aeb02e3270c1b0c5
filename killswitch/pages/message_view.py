"""What one message about an incident shows: its page, and what followed.

The view is a pure function of the page and of the pages that follow it, in whatever order and how often they are seen.
So every replica comes to the same view, and a receiver that can change its messages always ends with the right one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from killswitch.pages.page import Page, PageKind, page_to_json

MAX_TOLD = 12  # lines; of more, the newest are shown

# After one of these nothing is left to do about the page that it follows.
SETTLING = frozenset({
    PageKind.RE_ARMED, PageKind.ENDED, PageKind.RECOVERED, PageKind.ADVANCED, PageKind.ROLLED_OUT, PageKind.DRILL,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """One page that followed, as a line. ``at`` is Unix seconds."""

    at: float
    kind: PageKind
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class MessageView:
    """``told``: what followed, oldest first; ``earlier`` counts what was left out before it.

    ``settled_by``: the page after which nothing is left to do. ``acknowledged``: someone has taken it on.
    ``pinned``: whether the canary is pinned at 0 %, as the newest page about a pin says.
    """

    page: Page
    told: tuple[Told, ...]
    earlier: int
    settled_by: Told | None
    acknowledged: bool
    pinned: bool

    @property
    def fingerprint(self) -> str:
        """The same for the same view, in every process."""
        whole = [page_to_json(self.page), [[one.at, one.kind, one.what, one.why] for one in self.told], self.earlier]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]


def message_view(page: Page, followed: Iterable[Page]) -> MessageView:
    """The view of the message about ``page``. A page that is handed in twice counts once."""
    pages = sorted({one.id: one for one in followed}.values(), key=lambda one: (one.at, one.id))
    told = tuple(_told(one) for one in pages)
    pins = [one.kind for one in (page, *pages) if one.kind in {PageKind.PINNED, PageKind.UNPINNED}]
    return MessageView(
        page,
        told[-MAX_TOLD:],
        max(0, len(told) - MAX_TOLD),
        next((one for one in reversed(told) if one.kind in SETTLING), None),
        acknowledged=any(one.kind is PageKind.ACKNOWLEDGED for one in pages),
        pinned=bool(pins) and pins[-1] is PageKind.PINNED,
    )


def _told(page: Page) -> Told:
    what = page.headline.removeprefix(f"{page.rollout}: ") if page.rollout else page.headline
    return Told(page.at, page.kind, what, page.why)
