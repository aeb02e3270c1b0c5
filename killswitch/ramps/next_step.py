"""The next step: from a plan, a flag, what was watched and the gate, to one move at most, with its reason.

The gate says whether the proof is there. What is asked here again does not depend on it:

- the stage is one of the plan, and the gate is about the stage that the flag is in
- no later tick is recorded than the one that was judged
- a whole `for` has passed by each of three clocks

So a mistake in a check cannot make two steps of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from killswitch.flags.flag import Flag
from killswitch.plan import Advance, Plan, PlanStage
from killswitch.ramps.gate import Gate
from killswitch.ramps.progress import StageProgress
from killswitch.wording import span_in_words

_ROUNDING = 0.01  # seconds: times are stored in milliseconds


class Move(StrEnum):
    HOLD = "hold"
    READY = "ready"  # a person takes the step unasked (`advance: by_hand`)
    PROPOSE = "propose"
    ADVANCE = "advance"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class NextStep:
    """``to``: the stage that comes next, None after the last or where no one can say. ``page``: a person must know."""

    move: Move
    to: PlanStage | None
    sentence: str
    page: bool = False


def next_step(
    plan: Plan, flag: Flag, progress: StageProgress | None, gate: Gate, *, now: float, tick: float | None
) -> NextStep:
    """The move of this cycle. ``now``: Unix seconds of this replica; ``tick``: the newest tick, of the metric store."""
    if not flag.armed:
        return NextStep(Move.HOLD, None, _ended(plan, flag))
    place = next((place for place, stage in enumerate(plan.stages) if stage.stage == flag.stage), None)
    if place is None:
        return NextStep(Move.HOLD, None, _unknown_stage(plan, flag), page=True)
    stage = plan.stages[place]
    if stage.percent != flag.canary_percent:
        said = f"{flag.stage} has {stage.percent:g}% in the plan, and someone has set {flag.canary_percent:g}%"
        return NextStep(Move.HOLD, None, f"{said}; use `killswitch stage {flag.rollout} …` to go back to it", page=True)
    to = plan.stages[place + 1] if place + 1 < len(plan.stages) else None
    why_not = _too_early(stage, flag, progress, now=now, tick=tick)
    if not _is_about(gate, flag):
        why_not = "the gate is about another stage"
    elif not gate.ready:
        why_not = gate.reason
    if why_not is not None:
        return NextStep(Move.HOLD, to, why_not)
    if to is None:
        return NextStep(Move.COMPLETE, None, _complete(flag), page=True)
    return _move(plan, flag, to, gate.sight)


def _move(plan: Plan, flag: Flag, to: PlanStage, sight: str) -> NextStep:
    seen = f"; {sight}" if sight else ""
    going = f"every check of {flag.stage} passes{seen}; next is {to.stage} with {to.percent:g}%"
    command = f"`killswitch advance {flag.rollout}`"
    match plan.advance:
        case Advance.AUTOMATIC:
            return NextStep(Move.ADVANCE, to, going, page=True)
        case Advance.PROPOSED:
            return NextStep(Move.PROPOSE, to, f"{going}; use {command}", page=True)
        case Advance.BY_HAND:
            return NextStep(Move.READY, to, f"{going}; use {command}")


def _too_early(
    stage: PlanStage, flag: Flag, progress: StageProgress | None, *, now: float, tick: float | None
) -> str | None:
    """Why a whole `for` has not passed yet, by the watched time, the metric store's clock and this replica's."""
    if tick is None:
        return "the metric store has not said what time it is"
    if progress is None or not progress.is_of(flag):
        return f"stage {flag.stage} has not been watched yet"
    began = flag.stages[-1].at
    passed = min(now - began, tick - began, progress.watched)
    if passed < stage.seconds:
        return f"stage {flag.stage} has {span_in_words(max(stage.seconds - passed, 1.0))} to go"
    if progress.tick > tick + _ROUNDING:
        return "another replica has judged a later tick; what that said counts, not the verdicts of this one"
    return None


def _is_about(gate: Gate, flag: Flag) -> bool:
    return (gate.generation, gate.stage, round(gate.began_at, 3)) == (
        flag.generation,
        flag.stage,
        round(flag.stages[-1].at, 3),
    )


def _unknown_stage(plan: Plan, flag: Flag) -> str:
    names = ", ".join(stage.stage for stage in plan.stages) or "none"
    return (
        f"stage {flag.stage} with {flag.canary_percent:g}% is not in the plan ({names}); "
        f"use `killswitch stage {flag.rollout} …` to enter one of them, or add it to the plan"
    )


def _ended(plan: Plan, flag: Flag) -> str:
    if flag.completion is not None:
        return f"it is complete: everyone has {flag.control}, by {flag.completion.by}"
    first = plan.after_a_trip
    again = "ramp_1" if first is None else first.stage
    return f"it is {flag.state}, which ends the plan; a re-arm begins at {again} again"


def _complete(flag: Flag) -> str:
    share = f"{flag.rollout_canary} has {flag.canary_percent:g}% of users"
    return (
        f"the plan is over: {share}; to give it to everyone use `killswitch complete {flag.rollout}`, and leave "
        f"{flag.control} in service before that; the switch is armed until then"
    )
