"""The pages about drills: one that is made, how it ended, one that failed, and one that could not be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.model import PageSettings
from killswitch.pages.building import (
    as_good_news,
    incident_payload,
    page_of_event,
    page_of_incident,
    with_severity,
)
from killswitch.pages.page import MAX_NAME, Page, PageKind, identified, with_steps
from killswitch.wording import plain


def drill(incident: Incident, flag: Flag, drill_id: str, settings: PageSettings, *, live: bool) -> Page:
    """The page of the drill itself, as a trip's would be, but calm and marked. ``incident``: what was rehearsed.

    ``flag``: the rollout's own, which stays armed unless the drill is ``live``.
    """
    if live:
        done = f"all users get {plain(flag.control, MAX_NAME)} for about a minute, then the canary has its users again"
        headline = f"DRILL of {flag.rollout}, live: {done}. No action is needed"
    else:
        done = "none (drill): no user is rerouted"
        headline = f"DRILL of {flag.rollout}: no action is needed, and no user is rerouted. The breach below is made up"
    page = page_of_incident(incident, settings, PageKind.DRILL, drill_id, headline)
    payload = incident_payload(incident, page, alert="canary kill-switch drill", auto_action=done)
    payload |= {"incident": drill_id, "generation": flag.generation, "drill": True}
    del payload["exposed"]  # no user had the made-up breach
    page = replace(page, generation=flag.generation, exposed="", payload=payload)
    steps = (
        "There is nothing to do. The drill ends by itself, and its result follows here",
        f"To time how soon a person sees a page: `killswitch drill {flag.rollout} --ack`",
    )
    return with_steps(_calm(page), steps)


def drill_over(
    flag: Flag, drill_id: str, *, ended: str, result: str, why: str, at: float, settings: PageSettings
) -> Page:
    """The drill is over. Continues its page, and resolves an alert that it has opened. ``why``: each leg.

    Where it failed, `drill_failed` is a page of its own besides: what is added to an open alert notifies no one.
    """
    headline = f"DRILL of {flag.rollout} {ended}: {result}"
    page = page_of_event(
        PageKind.DRILL, (flag,), headline, why, settings,
        at=at, identity="", alert=f"canary kill-switch drill {ended}", auto_action="none",
        steps=(f"See every leg: `killswitch drill {flag.rollout} --last`",),
    )  # fmt: skip
    page = as_good_news(identified(page, f"{drill_id}.over"), drill_id)
    return replace(page, payload={**page.payload, "drill": True})


def drill_failed(
    flag: Flag | None,
    rollout: str,
    drill_id: str,
    *,
    why: str,
    slow: bool,
    left: str,
    at: float,
    settings: PageSettings,
) -> Page:
    """A leg of the drill did not work, or the rollback took too long. ``left``: what the flag is like now, in words."""
    what = "was too slow" if slow else "failed"
    headline = f"DRILL of {rollout} {what}: a real rollback would not go as it should"
    steps = (
        left,
        f"See every leg: `killswitch drill {rollout} --last`",
        f"Fix what it names, then drill again: `killswitch drill {rollout}`",
    )
    page = page_of_event(
        PageKind.DRILL_FAILED, (flag,) if flag is not None else (), headline, why, settings,
        at=at, identity="", alert=f"canary kill-switch drill {what}", auto_action="none", steps=steps,
    )  # fmt: skip
    page = _about(identified(page, f"{drill_id}.failed"), rollout)
    return with_severity(page, "warning" if slow else "error")


def drill_missed(flag: Flag, *, why: str, due: str, identity: str, at: float, settings: PageSettings) -> Page:
    """A scheduled drill could not begin in its time. ``due``: when it was, in words."""
    headline = f"{flag.rollout}: the drill of {due} was missed. Whether a rollback works here is not known"
    steps = (
        f"Fix what it names, then drill by hand: `killswitch drill {flag.rollout}`",
        "The next scheduled drill stays as it is; change it with `drill:` in the rule file",
    )
    page = page_of_event(
        PageKind.DRILL_MISSED, (flag,), headline, why, settings,
        at=at, identity=identity, alert="canary kill-switch drill missed", auto_action="none", steps=steps,
    )  # fmt: skip
    return with_severity(page, "warning")


def _calm(page: Page) -> Page:
    """The page as no reason to wake anyone: a drill at three in the morning mentions no one."""
    return replace(with_severity(page, "info"), mention=None)


def _about(page: Page, rollout: str) -> Page:
    named: Mapping[str, object] = {"rollout": rollout, "rollouts": [rollout], "rollouts_count": 1}
    return replace(page, rollout=rollout, payload={**page.payload, **named})
