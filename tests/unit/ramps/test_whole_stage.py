"""The gate's checks on the stage as a whole: is it within the limits, and what would it have shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.model import Counts
from killswitch.ramps.gate import gate
from killswitch.ramps.gate_check import CheckOutcome, GateCheck
from killswitch.ramps.gate_inputs import GateInputs, Missing
from killswitch.ramps.progress import RuleWatch, StageProgress
from tests.unit.ramps.ramped import DAY, inputs_of, plan_of, watch


def with_rule(name: str, found: RuleWatch) -> GateInputs:
    """Everything as it should be, but for what one rule was in the stage."""
    inputs = inputs_of("ramp_1")
    assert isinstance(inputs.progress, StageProgress)
    return replace(inputs, progress=replace(inputs.progress, rules={**inputs.progress.rules, name: found}))


def check(inputs: GateInputs, name: str) -> GateCheck:
    (found,) = [one for one in gate(plan_of(inputs.rollout), inputs).checks if one.name == name]
    return found


@pytest.mark.parametrize(("errors", "outcome"), [(216, CheckOutcome.PASS), (217, CheckOutcome.NOT_YET)])
def test_a_stage_over_a_limit_goes_no_further(errors: int, outcome: CheckOutcome) -> None:
    """10,800 requests of a canary at the limit of 2 % have 216 errors, whatever its newest window shows."""
    counts = RuleWatch(DAY, DAY, Counts(float(errors), 10_800.0), Counts(324.0, 32_400.0))
    assert check(with_rule("error_rate", counts), "limits").outcome is outcome


def test_what_is_over_is_named_with_its_limit() -> None:
    counts = RuleWatch(DAY, DAY, Counts(324.0, 10_800.0), Counts(324.0, 32_400.0))
    found = check(with_rule("error_rate", counts), "limits")
    assert found.sentence == "over the whole stage, error_rate is 3.0%, and its limit 2.0%"


@pytest.mark.parametrize(("healthy", "outcome"), [(0.5, CheckOutcome.PASS), (0.49, CheckOutcome.NOT_YET)])
def test_a_latency_must_be_healthy_half_of_the_time(healthy: float, outcome: CheckOutcome) -> None:
    counts = replace(watch(DAY), healthy=healthy * DAY)
    assert check(with_rule("latency_p95", counts), "limits").outcome is outcome


def test_a_rule_without_requests_of_control_needs_verdicts() -> None:
    nothing = Counts(0.0, 0.0)
    counts = RuleWatch(DAY, 0.0, Counts(5.0, 10_800.0), nothing)
    assert check(with_rule("error_rate", counts), "limits").outcome is CheckOutcome.NOT_YET


def test_without_progress_neither_is_known() -> None:
    inputs = inputs_of("ramp_1", progress=Missing("the store is away"))
    for name in ("limits", "sees"):
        assert check(inputs, name).outcome is CheckOutcome.NOT_YET


@pytest.mark.parametrize("stage", ["shadow", "aa"])
def test_stages_without_the_canarys_answers_are_not_asked(stage: str) -> None:
    inputs = inputs_of(stage)
    names = {one.name for one in gate(plan_of(inputs.rollout), inputs).checks}
    assert not {"limits", "sees"} & names


def test_a_gate_says_how_small_a_regression_would_show() -> None:
    """A day of 1 % at 0.2 requests/s is 173 requests of the canary: about 2 errors."""
    few = check(with_rule("error_rate", watch(DAY, rate=0.2, percent=1.0)), "sees")
    assert few.outcome is CheckOutcome.PASS
    assert "error_rate from 10x" in few.sentence
    many = check(with_rule("error_rate", watch(DAY, rate=50.0, percent=1.0)), "sees")
    assert "error_rate from 1.25x" in many.sentence


def test_what_could_not_be_seen_at_all_is_said() -> None:
    found = check(with_rule("refusal_rate", watch(DAY, rate=0.02, percent=1.0)), "sees")
    assert found.sentence.endswith("its requests could not have shown even 10x of refusal_rate")
