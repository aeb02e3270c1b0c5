"""The standing of a plan: one function for the controller's step, the status, the pages and the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from killswitch.flags.transitions import State
from killswitch.model import Counts
from killswitch.ramps.gate import gate
from killswitch.ramps.gate_inputs import Hold, Missing
from killswitch.ramps.next_step import Move
from killswitch.ramps.progress import RuleWatch, StageProgress
from killswitch.ramps.standing import PlanLook
from killswitch.ramps.timeline import StageStanding, just_entered
from tests.unit.ramps.ramped import DAY, NOW, flag_in, inputs_of, plan_of, progress_of, rollout_of, stepped


def look(stage: str = "ramp_5", **changes: Any) -> PlanLook:
    inputs = inputs_of(stage, **changes)
    return PlanLook(plan_of(inputs.rollout), inputs, inputs.now)


def test_the_step_the_gate_and_the_timeline_agree() -> None:
    seen = look().standing
    assert (seen.gate.ready, seen.step.move) == (True, Move.ADVANCE)
    assert seen.timeline.why == seen.step.sentence
    document = json.loads(json.dumps(seen.document(), allow_nan=False))
    assert (document["advance"], document["why"]) == ("automatic", seen.step.sentence)
    assert [stage["standing"] for stage in document["stages"]][3] == "now"


def test_a_young_stage_that_is_held_says_who_holds_it() -> None:
    """What only a person can end is said before the time that is missing."""
    flag, rollout = flag_in("ramp_5"), rollout_of()
    young: dict[str, Any] = {"flag": flag, "progress": progress_of(flag, rollout, DAY / 2), "seconds": DAY / 2}
    assert "12h are missing" in look(**young).standing.timeline.why
    held = look(**young, hold=Hold("wait for legal", "ann")).standing.timeline.why
    assert held == "hold: ann holds it: wait for legal; use `killswitch resume copilot`"


def test_without_progress_nothing_is_promised_before_its_time() -> None:
    seen = look(progress=Missing("nothing has been recorded yet"), seconds=60.0).standing
    now = next(row for row in seen.timeline.rows if row.standing is StageStanding.NOW)
    assert now.ends == NOW + 60.0 + DAY
    assert seen.step.move is Move.HOLD


def test_a_tripped_rollout_has_no_dates() -> None:
    flag = replace(flag_in("ramp_5"), state=State.TRIPPED, canary_percent=0.0)
    seen = look(flag=flag).standing
    assert {(row.standing, row.begins) for row in seen.timeline.rows} == {(StageStanding.TO_COME, None)}
    assert "which ends the plan" in seen.timeline.why


def test_right_after_a_step_the_whole_stage_lies_ahead() -> None:
    flag = stepped(flag_in("ramp_1"), "ramp_5", 5.0, NOW + DAY)
    found = just_entered(plan_of(rollout_of()), flag, now=NOW + DAY)
    assert [(row.stage.stage, row.standing.value, row.ends) for row in found.rows[2:4]] == [
        ("ramp_1", "done", NOW + DAY),
        ("ramp_5", "now", NOW + 2 * DAY),
    ]
    assert found.why == "ramp_5 has just begun and is watched for 1d"


@pytest.mark.parametrize("part", [1e-300, 1e-6])
def test_next_to_nothing_that_was_watched_stops_no_plan(part: float) -> None:
    """The wait that follows from it is infinite, or ends after the calendar: one such document stopped all plans."""
    inputs = inputs_of("ramp_1", seconds=DAY)
    assert isinstance(inputs.progress, StageProgress)
    rules = {name: RuleWatch(one.known, one.healthy, Counts(0.0, part), one.control)
             for name, one in inputs.progress.rules.items()}  # fmt: skip
    progress = replace(inputs.progress, watched=part, rules=rules)
    plan = plan_of(inputs.rollout)
    document = PlanLook(plan, replace(inputs, progress=progress), NOW + DAY).document()
    assert document["why"].startswith("watched: judged for 0s of 1d")
    json.dumps([document, gate(plan, replace(inputs, progress=progress)).document()], allow_nan=False)
