"""The pages about a plan: a step that is ready, one that was taken, a plan that holds, and one that is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.pages.building import event_id, page_of_event, with_severity
from killswitch.pages.page import MAX_NAME, Page, PageKind
from killswitch.pages.stage_rows import MAX_STAGES, stage_rows
from killswitch.timestamps import to_iso
from killswitch.wording import plain

Timeline = Mapping[str, Any]  # as JSON: where the rollout is in its plan


def ready(
    flag: Flag, why: str, *, to: str, percent: float, timeline: Timeline, at: float, settings: PageSettings
) -> Page:
    """Every check passes, and a person is asked to take the step."""
    headline = f"{flag.rollout}: ready to go from {flag.stage} to {to} ({percent:g}%)"
    steps = (
        f"See every check: `killswitch ready {flag.rollout}`",
        f"To go on: `killswitch advance {flag.rollout}`",
        f'To stay: do nothing, or `killswitch hold {flag.rollout} --reason "why"`',
    )
    wait = "none: it waits"
    page = _page(flag, PageKind.READY, headline, why, steps, timeline, at=at, settings=settings, auto_action=wait)
    return _calm(page)


def advanced(
    flag: Flag, why: str, *, before: Flag, by: str, timeline: Timeline, at: float, settings: PageSettings
) -> Page:
    """The rollout has gone up one stage. ``flag``: as it is now; ``before``: as it was."""
    to = f"{flag.stage}, {flag.canary_percent:g}%"
    headline = f"{flag.rollout}: went from {before.stage} to {to}, by {plain(by, MAX_NAME)}"
    steps = (
        f"See what comes next: `killswitch plan {flag.rollout}`",
        f'To end it: `killswitch trip {flag.rollout} --reason "why"`',
    )
    done = f"canary raised to {flag.canary_percent:g}%"
    page = _page(
        flag, PageKind.ADVANCED, headline, why, steps, timeline, at=at, settings=settings, auto_action=done
    )  # fmt: skip
    # where a person was asked for this step, it is told in the thread of that page
    return replace(_calm(page), follows=page_id(before, PageKind.READY))


def plan_held(flag: Flag, why: str, *, timeline: Timeline, at: float, settings: PageSettings) -> Page:
    """The plan cannot go on before a person has changed something."""
    headline = f"{flag.rollout}: its plan holds at {flag.stage}, {flag.canary_percent:g}%"
    steps = (f"See the plan: `killswitch plan {flag.rollout}`",)
    page = _page(
        flag, PageKind.PLAN_HELD, headline, why, steps, timeline,
        at=at, settings=settings, auto_action="none: it holds",
    )  # fmt: skip
    return with_severity(page, "warning")


def complete(flag: Flag, why: str, *, timeline: Timeline, at: float, settings: PageSettings) -> Page:
    """The last stage of the plan is over."""
    headline = f"{flag.rollout}: the plan is over, {plain(flag.rollout_canary, MAX_NAME)} has shown itself"
    canary, control = plain(flag.rollout_canary, MAX_NAME), plain(flag.control, MAX_NAME)
    steps = (
        f"To give {canary} to everyone: `killswitch complete {flag.rollout}`. The switch is armed until then",
        f"To stay as it is: do nothing. {control} must stay in service, because a trip sends everyone there",
        f"Not `killswitch end {flag.rollout}`: it removes the flag, and everyone gets the control model",
    )
    page = _page(flag, PageKind.COMPLETE, headline, why, steps, timeline, at=at, settings=settings, auto_action="none")
    return _calm(page)


def rolled_out(flag: Flag, why: str, *, before: Flag, timeline: Timeline, at: float, settings: PageSettings) -> Page:
    """A person has completed the rollout. ``flag``: as it is now; ``before``: as it was."""
    assert flag.completion is not None
    model, old = plain(flag.control, MAX_NAME), plain(flag.completion.control_before, MAX_NAME)
    headline = f"{flag.rollout}: complete, everyone gets {model}, by {plain(flag.completion.by, MAX_NAME)}"
    steps = (
        f"See how many routers have followed: `killswitch status {flag.rollout}`",
        f'To send users back to {old}: `killswitch trip {flag.rollout} --reason "why"`. Nothing does so by itself now',
        f"Name {model} as the control model in your service's code, and deploy it",
        f"Then remove the flag: `killswitch end {flag.rollout}`. Decommission {old} after that, not before",
    )
    page = _page(
        flag, PageKind.ROLLED_OUT, headline, why, steps, timeline,
        at=at, settings=settings, auto_action=f"none: everyone gets {model}, and nothing is compared any more",
    )  # fmt: skip
    return replace(_calm(page), follows=page_id(before, PageKind.COMPLETE))


def _calm(page: Page) -> Page:
    """The page as no reason to wake anyone."""
    return replace(with_severity(page, "info"), mention=None)


def _page(
    flag: Flag,
    kind: PageKind,
    headline: str,
    why: str,
    steps: Sequence[str],
    timeline: Timeline,
    *,
    at: float,
    settings: PageSettings,
    auto_action: str,
) -> Page:
    page = page_of_event(
        kind, (flag,), headline, why, settings,
        at=at, identity=_visit(flag), alert=f"plan {kind.value.lower()}", auto_action=auto_action, steps=steps,
    )  # fmt: skip
    plan = {"stages": timeline["stages"][:MAX_STAGES], "why": plain(str(timeline["why"]))}
    return replace(page, stages=stage_rows(timeline), payload={**page.payload, "plan": plan})


def _visit(flag: Flag) -> str:
    """What tells one visit to a stage from another."""
    return f"{flag.stage}.{to_iso(flag.stages[-1].at)}"


def page_id(flag: Flag, kind: PageKind) -> str:
    """The id of the page of this kind about the stage that the flag is in."""
    return event_id(kind, (flag,), _visit(flag))
