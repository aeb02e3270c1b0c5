"""What a gate says before its stage is judged: why no time counts, and no check passes for want of numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from killswitch.model import Verdict
from killswitch.ramps.gate import Gate, gate
from killswitch.ramps.gate_check import CheckOutcome, GateCheck
from killswitch.ramps.gate_inputs import GateInputs, Judged, Missing, RuleNow
from killswitch.ramps.progress import StageProgress
from tests.unit.ramps.ramped import inputs_of, plan_of

ALL_RULES = ("error_rate", "latency_p95", "refusal_rate", "thumbs_down_rate")


def gated(inputs: GateInputs) -> Gate:
    return gate(plan_of(inputs.rollout), inputs)


def checks(inputs: GateInputs) -> dict[str, GateCheck]:
    return {check.name: check for check in gated(inputs).checks}


def unwatched(**changes: Any) -> GateInputs:
    """A stage that began an hour ago, of which no tick was judged."""
    inputs = inputs_of("ramp_1", seconds=3600.0)
    assert isinstance(inputs.progress, StageProgress)
    return replace(inputs, progress=replace(inputs.progress, watched=0.0, rules={}), **changes)


def test_time_that_does_not_count_says_why() -> None:
    """Before the first hour no rule has a verdict: that is why the watched time does not grow."""
    judged = unwatched().judged
    assert isinstance(judged, Judged)
    warming = {name: RuleNow(Verdict.UNKNOWN, f"{name} unknown (WARMING_UP): less than an hour") for name in ALL_RULES}
    inputs = unwatched(judged=replace(judged, rules=warming))
    said = "judged for 0s of 1d; 1d are missing; no time counts now: error_rate unknown (WARMING_UP): less than an hour"
    watched = checks(inputs)["watched"]
    assert (watched.sentence, watched.wait) == (said, None)
    assert gated(inputs).reason == f"watched: {said}"
    one_known = {**warming, "error_rate": RuleNow(Verdict.HEALTHY)}
    again = checks(unwatched(judged=replace(judged, rules=one_known)))
    assert again["watched"].sentence == "judged for 0s of 1d; 1d are missing"


def test_before_the_first_judged_tick_nothing_is_within_limits() -> None:
    found = checks(unwatched())
    assert found["limits"].outcome is CheckOutcome.NOT_YET
    assert found["limits"].sentence == "no time of the stage has been judged yet"
    assert (found["known"].outcome, found["known"].wait) == (CheckOutcome.NOT_YET, None)


def test_an_unknown_control_is_named_as_the_check_is() -> None:
    """The page and the docs list one name for one check."""
    found = checks(inputs_of("ramp_1", way_back=Missing("no controller")))
    assert "way back" not in found
    check = found["control answers"]
    assert check.outcome is CheckOutcome.NOT_YET
    assert check.sentence == "no one knows whether control could take everyone: no controller"
