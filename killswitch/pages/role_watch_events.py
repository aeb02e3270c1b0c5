"""The page about a trip that should have rolled a role back, and could not."""

from __future__ import annotations

from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.pages.building import page_of_event
from killswitch.pages.page import MAX_NAME, Page, PageKind
from killswitch.wording import plain


def not_rolled_back(role: str, flag: Flag, why: str, *, at: float, settings: PageSettings) -> Page:
    """``flag``: tripped, so users of routers are back already. Services that ask for the role still get its prod."""
    good = plain(flag.control, MAX_NAME)
    headline = f"role {role}: cannot act: {flag.rollout} has tripped, and the role is NOT rolled back"
    return page_of_event(
        PageKind.CANNOT_ACT, (flag,), headline, plain(why), settings,
        at=at, identity=f"role.{role}",
        alert="canary kill-switch cannot roll a role back",
        auto_action=f"none: services that ask for role {role} keep its prod; the rollback is tried every few seconds",
        steps=(
            f'Roll it back by hand: `killswitch role rollback {role} --to "{good}" --reason "why"`',
            f"See the role, and how a damaged one is restored before that: `killswitch role show {role}`",
            f"See what the trip has found: `killswitch explain {flag.rollout}`",
        ),
    )  # fmt: skip
