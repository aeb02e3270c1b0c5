"""The pages about a pin: 0 % until a person lifts it."""

from __future__ import annotations

from dataclasses import replace

from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.model import PageSettings
from killswitch.pages.building import as_good_news, incident_payload, page_of_event, page_of_incident
from killswitch.pages.page import MAX_NAME, Page, PageKind, with_steps
from killswitch.wording import plain


def pinned_by_trip(incident: Incident, settings: PageSettings) -> Page:
    """A pin has ended the canary's traffic."""
    canary, control = plain(incident.canary, MAX_NAME), plain(incident.control, MAX_NAME)
    by = "" if incident.automatic else f" by {plain(incident.by, MAX_NAME)}"
    done = f"all traffic routed to {control}"
    headline = f"{incident.rollout}: canary {canary} pinned at 0%{by}, {done}"
    page = page_of_incident(incident, settings, PageKind.PINNED, incident.id, headline)
    payload = incident_payload(incident, page, alert="canary pinned at 0 %", auto_action=done)
    steps = (f"See why: `killswitch explain {incident.id}`", *_ways_back(incident.rollout))
    return with_steps(replace(page, payload=payload), steps)


def pinned(flag: Flag, *, settings: PageSettings) -> Page:
    """A tripped canary was pinned: its traffic had ended before."""
    assert flag.pin is not None
    who = plain(flag.pin.by, MAX_NAME)
    headline = f"{flag.rollout}: canary {plain(flag.rollout_canary, MAX_NAME)} pinned at 0% by {who}; it was tripped"
    page = page_of_event(
        PageKind.PINNED, (flag,), headline, flag.pin.reason, settings,
        at=flag.pin.at, identity=f"{flag.pin.at:.0f}", alert="canary pinned at 0 %",
        auto_action="none: its traffic had ended before", steps=_ways_back(flag.rollout),
    )  # fmt: skip
    # the re-arm that ends the alert of the trip ends that of the pin, too
    return page if flag.trip is None else replace(page, follows=flag.trip.incident)


def unpinned(flag: Flag, *, reason: str, by: str, settings: PageSettings) -> Page:
    """A person has lifted the pin. The canary stays at 0 %."""
    who = plain(by, MAX_NAME)
    headline = f"{flag.rollout}: unpinned by {who}; its canary stays at 0% until someone re-arms it"
    page = page_of_event(
        PageKind.UNPINNED, (flag,), headline, reason, settings,
        at=flag.updated_at, identity=f"{flag.updated_at:.0f}", alert="canary unpinned",
        auto_action="none: it stays at 0 %",
        steps=(f'To give it users again: `killswitch rearm {flag.rollout} --reason "what was fixed"`',),
    )  # fmt: skip
    return as_good_news(page, "" if flag.trip is None else flag.trip.incident)


def _ways_back(rollout: str) -> tuple[str, str]:
    return (
        f'When it is settled, lift the pin: `killswitch unpin {rollout} --reason "why"`',
        f'Then give it users again: `killswitch rearm {rollout} --reason "what was fixed"`',
    )
