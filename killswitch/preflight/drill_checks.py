"""Checks of drills: has a rollback of each armed rollout been rehearsed lately, and how did it go?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from killswitch.drill.keeping import standings_of_all
from killswitch.drill.record import GOAL, DrillOutcome
from killswitch.drill.standing import DrillStanding
from killswitch.flags.flag import Flag
from killswitch.model import Rollout
from killswitch.preflight.checks import Check, Status
from killswitch.stores import Store
from killswitch.timestamps import DAY
from killswitch.wording import duration_in_words

LONGEST = 90 * DAY  # without a drill that passed


def examine_drills(
    store: Store, rollouts: Sequence[Rollout], flags: Mapping[str, Flag], *, now: float
) -> Iterator[Check]:
    """``now``: Unix seconds. Raises what reading the store raises."""
    known = standings_of_all(store)
    for rollout in rollouts:
        flag = flags.get(rollout.name)
        if flag is not None and flag.armed:
            standing = known[rollout.name][0] if rollout.name in known else DrillStanding(rollout.name)
            yield _examined(flag, standing, now)


def _examined(flag: Flag, standing: DrillStanding, now: float) -> Check:
    about = f"{flag.rollout} drills"
    fix = f"`killswitch drill {flag.rollout}`, and `drill: {{every: 7d}}` in its rule file so that it is made by itself"
    since = standing.passed_at if standing.passed_at is not None else flag.armed_at
    days = int((now - since) // DAY)
    if standing.outcome in (DrillOutcome.FAILED, DrillOutcome.SLOW):
        found = f"the last drill {'failed' if standing.outcome == DrillOutcome.FAILED else 'was too slow'}"
        return Check(about, Status.WARNING, found, f"`killswitch drill {flag.rollout} --last` names the leg; fix it")
    if standing.missed:
        return Check(about, Status.WARNING, "the last scheduled drill was missed", fix)
    if now - since > LONGEST:
        what = "no drill has passed" if standing.passed_at is not None else "armed, and no drill was ever made"
        return Check(about, Status.WARNING, f"{what} for {days} days: whether a rollback works is not known", fix)
    if standing.passed_at is None:
        return Check(about, Status.NOTE, "no drill so far", fix)
    rollback = standing.legs.get("rollback")
    took = "" if rollback is None else f": a rollback takes {duration_in_words(rollback)} (goal: {GOAL:g} s)"
    return Check(about, Status.OK, f"one passed {days} days ago{took}")
