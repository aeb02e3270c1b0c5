"""Whether control answers, by what it serves now."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.controller.plan_watch import served
from killswitch.model import Finding, Unit, Verdict
from killswitch.ramps.gate_inputs import Missing, WayBack
from killswitch.ramps.way_back import ServedNow, way_back
from tests.unit.ramps.ramped import PLAN, plan_of, rollout_of

JUDGED = Finding(
    "error_rate", Verdict.HEALTHY, None, "", Unit.FRACTION,
    canary=0.01, control=0.004, samples_canary=150.0, samples_control=450.0,
)  # fmt: skip
PLANNED = plan_of(rollout_of(PLAN + "  control_capacity: 80/s\n"))


@pytest.mark.parametrize(
    ("control", "errors", "answers"),
    [(14_250.0, 0.01, True), (14_250.0, None, True), (14_250.0, 0.5, False), (14_250.0, 1.0, False), (0.0, None, None)],
)
def test_control_answers_if_it_serves_without_failing(
    control: float, errors: float | None, answers: bool | None
) -> None:
    found = way_back(PLANNED, ServedNow(750.0, control, errors, 300.0))
    assert isinstance(found, WayBack)
    assert found.answers is answers


def test_it_says_what_it_saw() -> None:
    found = way_back(PLANNED, ServedNow(750.0, 14_250.0, 0.01, 300.0))
    said = "control served 14,250 requests in 5m, 1.0% of them with errors"
    assert found == WayBack(True, said, capacity=80.0, rate=50.0)


def test_control_must_take_requests_that_are_not_judged_too() -> None:
    """Rules judge a user's first request in five minutes: 600 of 2,700 here. Control has to take all 2,700."""
    assert served((JUDGED,), 30.0) == ServedNow(150.0, 450.0, 0.004, 30.0)
    both = replace(JUDGED, raw_samples_canary=700.0, raw_samples_control=2000.0)
    assert served((both,), 30.0) == ServedNow(700.0, 2000.0, 0.004, 30.0)
    way = way_back(PLANNED, served((both,), 30.0))
    assert isinstance(way, WayBack)
    assert way.rate == 90.0


def test_without_verdicts_nobody_knows() -> None:
    assert way_back(PLANNED, Missing("no controller")) == Missing("no controller")
