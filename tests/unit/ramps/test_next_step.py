"""The next step: one move at most, never past a gate, never early, and why it waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.flags.flag import trip
from killswitch.flags.transitions import Actor
from killswitch.plan import Advance, Plan, PlanStage
from killswitch.ramps.gate import Gate, gate
from killswitch.ramps.gate_check import failed, passed
from killswitch.ramps.gate_inputs import GateInputs, Hold
from killswitch.ramps.next_step import Move, NextStep, next_step
from killswitch.ramps.progress import StageProgress
from tests.unit.ramps.ramped import DAY, NOW, flag_in, inputs_of, plan_of, stepped


def step_of(inputs: GateInputs, **changes: float | None) -> NextStep:
    plan = plan_of(inputs.rollout)
    assert isinstance(inputs.progress, StageProgress)
    now = changes.get("now") or inputs.now
    tick = changes.get("tick", inputs.now)
    return next_step(plan, inputs.flag, inputs.progress, gate(plan, inputs), now=now, tick=tick)


def advancing(plan: Plan, advance: Advance) -> Plan:
    return replace(plan, advance=advance)


def test_it_advances_to_the_next_stage_of_the_plan() -> None:
    step = step_of(inputs_of("ramp_1"))
    assert (step.move, step.page) == (Move.ADVANCE, True)
    assert step.to is not None
    assert (step.to.stage, step.to.percent) == ("ramp_5", 5.0)
    assert step.sentence.startswith("every check of ramp_1 passes; its requests would have shown, of control's value:")
    assert step.sentence.endswith("; next is ramp_5 with 5%")


@pytest.mark.parametrize(
    ("advance", "move", "page"), [(Advance.PROPOSED, Move.PROPOSE, True), (Advance.BY_HAND, Move.READY, False)]
)
def test_without_automatic_a_person_takes_the_step(advance: Advance, move: Move, *, page: bool) -> None:
    inputs = inputs_of("ramp_1")
    plan = advancing(plan_of(inputs.rollout), advance)
    assert isinstance(inputs.progress, StageProgress)
    step = next_step(plan, inputs.flag, inputs.progress, gate(plan, inputs), now=inputs.now, tick=inputs.now)
    assert (step.move, step.page) == (move, page)
    assert step.sentence.endswith("use `killswitch advance copilot`")


def test_a_gate_that_is_not_ready_holds_with_its_reason() -> None:
    step = step_of(inputs_of("shadow", shadow="NO_GO"))
    assert (step.move, step.page) == (Move.HOLD, False)
    assert step.sentence.startswith("shadow report: the recorded pairs say NO_GO")


def test_after_full_it_is_complete() -> None:
    step = step_of(inputs_of("full"))
    assert (step.move, step.to, step.page) == (Move.COMPLETE, None, True)
    assert "`killswitch complete copilot`" in step.sentence
    assert "the switch is armed until then" in step.sentence


def test_a_trip_ends_the_plan() -> None:
    inputs = inputs_of("ramp_1")
    gone = trip(
        inputs.flag, rollout="copilot", reason="r", rules=(), incident="i", now=NOW, by="c", actor=Actor.CONTROLLER
    )  # fmt: skip
    step = step_of(replace(inputs, flag=gone))
    assert (step.move, step.to) == (Move.HOLD, None)
    assert "tripped, which ends the plan" in step.sentence


def test_a_stage_that_is_not_in_the_plan_holds_and_pages() -> None:
    step = step_of(inputs_of("ramp_10", flag=flag_in("ramp_10", 10.0)))
    assert (step.move, step.page) == (Move.HOLD, True)
    assert "ramp_10 with 10% is not in the plan (shadow, aa, ramp_1, ramp_5, ramp_25, full)" in step.sentence


def test_a_percent_set_by_hand_holds_and_pages() -> None:
    step = step_of(inputs_of("ramp_5", flag=flag_in("ramp_5", 7.0)))
    assert (step.move, step.page) == (Move.HOLD, True)
    assert step.sentence.startswith("ramp_5 has 5% in the plan, and someone has set 7%")


def test_a_plan_edited_in_flight_finds_its_stage_by_name() -> None:
    """ramp_1 was taken out in front of it: the stage after ramp_5 is the same."""
    inputs = inputs_of("ramp_5")
    plan = plan_of(inputs.rollout)
    shorter = replace(plan, stages=tuple(stage for stage in plan.stages if stage.stage != "ramp_1"))
    assert isinstance(inputs.progress, StageProgress)
    step = next_step(
        shorter, inputs.flag, inputs.progress, gate(shorter, inputs), now=inputs.now, tick=inputs.now
    )  # fmt: skip
    assert step.to is not None
    assert step.to.stage == "ramp_25"


def edited(inputs: GateInputs, **stages: PlanStage | None) -> NextStep:
    """The step with other stages in place of these; None: it is gone."""
    plan = plan_of(inputs.rollout)
    replaced = tuple(stages.get(stage.stage, stage) for stage in plan.stages)
    changed = replace(plan, stages=tuple(stage for stage in replaced if stage is not None))
    assert isinstance(inputs.progress, StageProgress)
    return next_step(
        changed, inputs.flag, inputs.progress, gate(changed, inputs), now=inputs.now, tick=inputs.now
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "stage ramp_5 with 5% is not in the plan (shadow, aa, ramp_1, ramp_25, full)"),
        (PlanStage("five", 5.0, DAY), "stage ramp_5 with 5% is not in the plan (shadow, aa, ramp_1, five, ramp_25"),
        (PlanStage("ramp_5", 6.0, DAY), "ramp_5 has 6% in the plan, and someone has set 5%"),
    ],
    ids=["vanished", "renamed", "another percent"],
)
def test_an_edit_that_takes_the_stage_away_holds_and_pages(change: PlanStage | None, said: str) -> None:
    step = edited(inputs_of("ramp_5"), ramp_5=change)
    assert (step.move, step.page) == (Move.HOLD, True)
    assert step.sentence.startswith(said)


def test_a_shorter_for_counts_at_once_and_no_other_check_falls() -> None:
    """What was watched is compared with the `for` in force; a whole one must have passed, and the gate must pass."""
    inputs = inputs_of("ramp_1", seconds=DAY / 2)
    assert edited(inputs, ramp_1=PlanStage("ramp_1", 1.0, DAY)).move is Move.HOLD
    assert edited(inputs, ramp_1=PlanStage("ramp_1", 1.0, DAY / 2)).move is Move.ADVANCE
    assert edited(inputs, ramp_1=PlanStage("ramp_1", 1.0, DAY / 2 + 1)).move is Move.HOLD
    held = replace(inputs, hold=Hold("wait", "ann"))
    assert edited(held, ramp_1=PlanStage("ramp_1", 1.0, 60.0)).move is Move.HOLD


def test_a_stage_that_moved_goes_on_to_its_new_neighbour() -> None:
    """The plan is followed from the place at which the stage is now, not from where it was."""
    inputs = inputs_of("ramp_5")
    plan = plan_of(inputs.rollout)
    ten = PlanStage("ten", 10.0, DAY)
    moved = replace(plan, stages=(plan.stages[3], ten, *plan.stages[4:]))  # ramp_5 is the first now
    assert isinstance(inputs.progress, StageProgress)
    found = gate(moved, inputs)
    step = next_step(moved, inputs.flag, inputs.progress, found, now=inputs.now, tick=inputs.now)
    assert (step.move, step.to) == (Move.ADVANCE, ten)


def test_a_plan_without_stages_holds_and_pages() -> None:
    """`check` refuses such a plan; wherever one comes from, it moves nothing."""
    inputs = inputs_of("ramp_1")
    empty = replace(plan_of(inputs.rollout), stages=())
    assert isinstance(inputs.progress, StageProgress)
    step = next_step(empty, inputs.flag, inputs.progress, gate(empty, inputs), now=inputs.now, tick=inputs.now)
    assert (step.move, step.to, step.page) == (Move.HOLD, None, True)
    assert "not in the plan (none)" in step.sentence


# --- whatever the gate says ---------------------------------------------------------------------


def all_passed(inputs: GateInputs) -> Gate:
    flag = inputs.flag
    return Gate(flag.generation, flag.stage, flag.stages[-1].at, (passed("all", "fine"),))


@pytest.mark.parametrize(
    ("now", "tick", "watched"),
    [(NOW + DAY - 1, NOW + 9 * DAY, DAY), (NOW + 9 * DAY, NOW + DAY - 1, DAY), (NOW + 9 * DAY, NOW + 9 * DAY, DAY - 1)],
    ids=["this clock", "the metric store's", "the time watched"],
)
def test_a_whole_for_must_have_passed_by_each_clock(now: float, tick: float, watched: float) -> None:
    inputs = inputs_of("ramp_1")
    assert isinstance(inputs.progress, StageProgress)
    plan, progress = plan_of(inputs.rollout), replace(inputs.progress, watched=watched)
    step = next_step(plan, inputs.flag, progress, all_passed(inputs), now=now, tick=tick)
    assert (step.move, step.sentence) == (Move.HOLD, "stage ramp_1 has 1s to go")


def test_without_progress_tick_or_the_right_gate_it_holds() -> None:
    inputs = inputs_of("ramp_1")
    plan, flag = plan_of(inputs.rollout), inputs.flag
    late = NOW + 9 * DAY
    assert isinstance(inputs.progress, StageProgress)
    fine = all_passed(inputs)
    assert next_step(plan, flag, inputs.progress, fine, now=late, tick=late).move is Move.ADVANCE
    assert next_step(plan, flag, None, fine, now=late, tick=late).move is Move.HOLD
    assert next_step(plan, flag, inputs.progress, fine, now=late, tick=None).move is Move.HOLD
    for other in (replace(fine, generation=2), replace(fine, stage="aa"), replace(fine, began_at=NOW - 60)):
        assert next_step(plan, flag, inputs.progress, other, now=late, tick=late).move is Move.HOLD
    broken = replace(fine, checks=(*fine.checks, failed("breach", "error_rate")))
    assert next_step(plan, flag, inputs.progress, broken, now=late, tick=late).move is Move.HOLD
    moved = stepped(flag, "ramp_1", 1.0, NOW + 60)
    assert next_step(plan, moved, inputs.progress, fine, now=late, tick=late).move is Move.HOLD
