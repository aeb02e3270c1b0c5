"""At which stage a tripped rollout begins again, and which stages a person may choose for that."""

from __future__ import annotations

from collections.abc import Mapping

from killswitch.flags.flag import AA, SHADOW, STAGES
from killswitch.plan import Plan

_FIRST = "ramp_1"


def first_stage(plan: Plan | None) -> str:
    """The stage of a re-arm for which no stage is given: ``ramp_1``, or the plan's first stage that gives users."""
    stage = None if plan is None else plan.after_a_trip
    return _FIRST if stage is None else stage.stage


def percent_of(plan: Plan | None, stage: str | None, percent: float | None) -> float | None:
    """``percent``, or where none is given what the plan gives a stage of its own; None for every other stage."""
    if stage is None or percent is not None or stage in STAGES:
        return percent
    named = None if plan is None else plan.stage_named(stage)
    return None if named is None else named.percent


def stages_to_choose(plan: Plan | None, percent_before: float) -> Mapping[str, float]:
    """Stages with their percents, from `first_stage` up, none with more users than there were before the trip.

    The first stage is always there. More users than before need a terminal: `killswitch rearm --stage`.
    """
    known = {name: percent for name, percent in STAGES.items() if name != SHADOW}
    if plan is not None and plan.after_a_trip is not None:
        exposing = (stage for stage in plan.stages if stage.stage not in (SHADOW, AA))
        known = {stage.stage: STAGES.get(stage.stage, stage.percent) for stage in exposing}
    first = first_stage(plan)
    begins = known.get(first, STAGES[_FIRST])
    more = {name: percent for name, percent in known.items() if begins < percent <= percent_before}
    return {first: begins, **dict(sorted(more.items(), key=lambda one: one[1]))}
