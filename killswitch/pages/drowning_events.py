"""The page about a control that cannot take the traffic which a trip has given it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.pages.building import page_of_event
from killswitch.pages.page import MAX_NAME, Page, PageKind, identified
from killswitch.wording import plain


def page_id(incident: str) -> str:
    """The id of the page about a control that drowns after this incident."""
    return f"{incident}.control-drowns"


def control_drowns(
    flag: Flag, rules: Sequence[str], sentences: Sequence[str], *, at: float, settings: PageSettings
) -> Page:
    """``flag``: tripped. ``rules``: what is proven to be worse than before the trip, each with its sentence."""
    assert flag.trip is not None
    control = plain(flag.control, MAX_NAME)
    headline = f"{flag.rollout}: {control} cannot take all traffic since the trip ({', '.join(rules)})"
    why = f"`killswitch explain {flag.rollout}`"
    moved = f"The trip moved {flag.trip.percent_before:g}% of users to {control}"
    page = page_of_event(
        PageKind.CONTROL_DROWNS, (flag,), headline, "; ".join(sentences), settings,
        at=at, identity="", alert="control drowns after the trip", auto_action="none: everyone stays on control",
        steps=(
            f"{moved}. Shed load: queue, shorten or refuse what can wait",
            f"Add capacity for {control}: replicas, or a higher rate limit at its provider",
            f"Do not re-arm to relieve it: the canary was tripped for harm of its own ({why})",
        ),
    )  # fmt: skip
    # shown in the channel as well as in the thread of the trip
    return replace(identified(page, page_id(flag.trip.incident)), follows=flag.trip.incident)
