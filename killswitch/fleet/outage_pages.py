"""The pages of outages: when one begins, when its rollouts are seen again, when no one watches them any more."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from killswitch.flags.bucketing import obeyed_percent
from killswitch.flags.flag import AA, Flag
from killswitch.fleet.outages import Blind, Outage, OutageChange
from killswitch.model import Mode, PageSettings
from killswitch.pages import events
from killswitch.pages.page import Page, PageKind, identified
from killswitch.timestamps import to_iso
from killswitch.verdicts.armed_rollout import ArmedRollout


@dataclass(frozen=True, slots=True)
class Concerned:
    """Of every rollout with a flag, watched here or not: its flag, and who is paged of it."""

    flags: Mapping[str, Flag]
    settings: Callable[[str], PageSettings]


def trips_after(armed: ArmedRollout) -> float | None:
    """After how many seconds of blindness the rule file says to trip; None also where no user has the canary."""
    without_canary = armed.flag.stage == AA or obeyed_percent(armed.flag) == 0.0
    return None if without_canary else armed.rollout.trip_when_blind_after


def pages_of(
    change: OutageChange,
    armed: Mapping[str, ArmedRollout],
    blind: Mapping[str, Blind],
    tick: float,
    concerned: Concerned,
) -> dict[str, Page]:
    """By the outage's id."""
    built = {outage.id: _blind_page(outage, armed, blind, tick) for outage in change.started}
    built |= {outage.id: _recovered_page(outage, concerned, tick) for outage in change.ended}
    built |= {outage.id: _left_page(outage, concerned, tick) for outage in change.left}
    return {outage: page for outage, page in built.items() if page is not None}


def _blind_page(
    outage: Outage, armed: Mapping[str, ArmedRollout], blind: Mapping[str, Blind], tick: float
) -> Page | None:
    names = sorted(outage.members.keys() & blind.keys())
    if not names:
        return None
    trips = {
        name: outage.members[name].since + after
        for name in names
        if armed[name].rollout.mode is not Mode.DRY_RUN and (after := trips_after(armed[name])) is not None
    }
    came_back = f" (it came back {outage.reopened} times before)" if outage.reopened else ""
    page = events.blind(
        [armed[name].flag for name in names],
        why="; ".join(sorted({blind[name].why for name in names})) + came_back,
        since=outage.since,
        at=tick,
        settings=armed[names[0]].rollout.page,
        trips=trips,
    )
    return identified(page, outage.id)


def _recovered_page(outage: Outage, concerned: Concerned, tick: float) -> Page | None:
    flags, settings = _flags_of(outage, concerned)
    if not flags:
        return None
    page = events.recovered(
        PageKind.BLIND,
        flags,
        follows=outage.id,
        since=outage.since,
        at=tick,
        settings=settings,
        why=_came_and_went(outage),
    )
    return _each_return(page, outage)


def _left_page(outage: Outage, concerned: Concerned, tick: float) -> Page | None:
    flags, settings = _flags_of(outage, concerned)
    if not flags:
        return None
    page = events.no_longer_watched(flags, follows=outage.id, since=outage.since, at=tick, settings=settings)
    return _each_return(page, outage)


def _each_return(page: Page, outage: Outage) -> Page:
    """Each return of one outage has an end of its own."""
    return identified(page, f"{page.id}.{outage.reopened}") if outage.reopened else page


def _flags_of(outage: Outage, concerned: Concerned) -> tuple[list[Flag], PageSettings]:
    names = sorted(outage.members.keys() & concerned.flags.keys())
    settings = concerned.settings(names[0]) if names else PageSettings()
    return [concerned.flags[name] for name in names], replace(
        settings, slack=outage.target.slack, mention=outage.target.mention
    )


def _came_and_went(outage: Outage) -> str:
    if not outage.reopened:
        return ""
    times = "once" if outage.reopened == 1 else f"{outage.reopened} times"
    return (
        f"blind since {to_iso(math.floor(outage.since))}, off and on: it came back {times} after a RECOVERED, unpaged"
    )
