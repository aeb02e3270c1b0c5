"""The page about slow signals that have had no verdict for days. A breach of one is a pin, with its own page."""

from __future__ import annotations

from collections.abc import Sequence

from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.pages.building import page_of_event, with_severity
from killswitch.pages.page import Page, PageKind
from killswitch.timestamps import to_iso
from killswitch.wording import plain


def slow_unknown(
    flag: Flag, signals: Sequence[str], sentences: Sequence[str], *, at: float, settings: PageSettings
) -> Page:
    """These signals have had no verdict for two days, so they protect no one. ``sentences``: why, one for each."""
    names = ", ".join(plain(name, 60) for name in signals)
    headline = f"{flag.rollout}: slow signals without a verdict for two days, so they protect no one: {names}"
    page = page_of_event(
        PageKind.SLOW_UNKNOWN, (flag,), headline, "; ".join(sentences), settings,
        at=at, identity=to_iso(at)[:10], alert="slow signals have no verdict",
        auto_action="none: the warehouse is asked again", steps=(
            f"Ask now, and see why: `killswitch slow {flag.rollout} --explain`",
            "Look whether yesterday was loaded into the warehouse",
        ),
    )  # fmt: skip
    return with_severity(page, "warning")
