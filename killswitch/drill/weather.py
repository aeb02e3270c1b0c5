"""Why a drill is not begun now: each reason in words, all of them at once. Pure.

A rehearsal changes nothing for users, but a person who is busy with a real incident must not get a made-up page, and a
drill on a fleet that is known to be broken proves nothing that is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from killswitch.cron_windows import CronWindows
from killswitch.drill.routers import RouterLook
from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.pinning import stopped_in_words
from killswitch.model import Mode, Rollout, Verdict
from killswitch.verdicts.decide import DecisionKind
from killswitch.wording import counted, duration_in_words, span_in_words

BUSY_AFTER_A_TRIP: Final = 3600.0  # seconds in which people are busy with it
LIVE_REPLICAS: Final = 2  # one of them re-arms if the other dies
_OLD_CYCLES: Final = 3.0


@dataclass(frozen=True, slots=True)
class NewestCycle:
    """What this replica's newest cycle says of the rollout. ``age``: seconds since it ended.

    ``action``: the decision's; ``problem``: why the metric store or the flag store could not be read; ``step_due``:
    whether a step of the rollout's plan is due, or is proposed; ``trips``: rollouts whose trips are under way.
    """

    age: float
    action: str
    verdicts: Mapping[str, Verdict]
    problem: str | None = None
    step_due: bool = False
    trips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Weather:
    """Everything that a drill must look at before it begins. ``now``: Unix seconds; ``interval``: of ticks, seconds.

    ``flag``: None where there is none, ``unreadable`` says why it cannot be read. ``flags``: of all rollouts.
    ``outages``: of the fleet, in words. ``other``: a drill of this rollout that is under way, in words. ``replicas``:
    how many are alive. ``by_role``: whether its two models are slots of a role.
    """

    rollout: str
    rules: Rollout | None
    flag: Flag | None
    now: float
    interval: float
    live: bool
    unreadable: str | None = None
    flags: Mapping[str, Flag] = field(default_factory=dict)
    judged: NewestCycle | None = None
    outages: tuple[str, ...] = ()
    other: str | None = None
    replicas: int = 0
    routers: RouterLook = field(default_factory=RouterLook)
    revision: int = 0
    by_role: bool = False


def bad_weather(seen: Weather) -> list[str]:
    """Why no drill is begun; empty where one may."""
    if seen.other is not None:
        return [seen.other]
    if seen.unreadable is not None:
        return [f"its flag cannot be read: {seen.unreadable}"]
    if seen.flag is None:
        return ["it has no flag, so there is nothing to roll back"]
    if not seen.flag.armed:
        return [f"it is not armed: {stopped_in_words(seen.flag)}"]
    return [*_unjudged(seen), *_people(seen), *_routers(seen), *(_live(seen) if seen.live else ())]


def _unjudged(seen: Weather) -> Iterator[str]:
    if seen.rules is None:
        yield "no rule file has it, so no rule would trip it"
        return
    judged = seen.judged
    if judged is None:
        yield "this replica has not judged it yet; wait for the next cycle"
        return
    if judged.problem is not None:
        yield f"the newest cycle could not read everything: {judged.problem}"
    if judged.age > _OLD_CYCLES * seen.interval:
        yield f"the newest cycle ended {duration_in_words(judged.age)} ago, so the daemon is late"
    if judged.action == DecisionKind.BLIND:
        yield "it is blind: no rule has a usable verdict"
    bad = sorted(name for name, verdict in judged.verdicts.items() if verdict in (Verdict.BREACH, Verdict.SUSPECT))
    if bad:
        yield f"it is not healthy: {', '.join(bad[:5])} {'is' if len(bad) == 1 else 'are'} over the limit now"
    if judged.step_due:
        yield "a step of its plan is due; drill once it is taken"
    if seen.rollout in judged.trips:
        yield "a trip of it is under way"


def _people(seen: Weather) -> Iterator[str]:
    for outage in seen.outages[:3]:
        yield f"an outage is open: {outage}"
    for name, flag in sorted(seen.flags.items()):
        ago = None if flag.trip is None else seen.now - flag.trip.at
        if ago is not None and ago < BUSY_AFTER_A_TRIP and name != seen.rollout:
            yield f"{name} was tripped {span_in_words(max(ago, 0.0))} ago, so people are busy with it"


def _routers(seen: Weather) -> Iterator[str]:
    if seen.replicas < 1:
        yield "no controller is alive"
    known, behind = seen.routers.known, seen.routers.behind(seen.revision)
    if not known:
        yield "no router reports, so none could say that it has followed; see `report` in docs/router.md"
    elif behind:
        yield f"{counted(behind, 'router')} of {known} have not followed the flag's last change yet"


def _live(seen: Weather) -> Iterator[str]:
    assert seen.flag is not None
    settings = None if seen.rules is None else seen.rules.drill
    if settings is None or not settings.quiet:
        yield 'a live drill needs a quiet window: name one with `drill: {quiet: "* 2-4 * * *"}` in its rule file'
    elif not CronWindows(settings.quiet, settings.time_zone).covers(seen.now):
        yield f"it is outside the quiet window ({', '.join(settings.quiet)}, {settings.time_zone})"
    if seen.rules is not None and seen.rules.mode is Mode.DRY_RUN:
        yield "its rule file says `mode: dry_run`, so nothing but a person may change its flag"
    if seen.replicas < LIVE_REPLICAS:
        alive = counted(seen.replicas, "controller")
        yield f"{alive} alive, and a live drill needs {LIVE_REPLICAS}: one re-arms if the other dies"
    if seen.by_role:
        yield "its models are slots of a role, and a trip would roll the role back; rehearse it without --live"
    if seen.flag.stage == SHADOW or seen.flag.canary_percent == 0.0:
        yield "no user has its canary, so a live drill would show no more than a rehearsal"
    if seen.flag.canary_percent > 99.0:
        yield "no control cohort is left above 99 %, so control may not take everyone at once"
    if seen.rules is not None and seen.rules.slow is not None:
        yield "its slow signals count users by generation, and a live drill begins another; rehearse it without --live"
