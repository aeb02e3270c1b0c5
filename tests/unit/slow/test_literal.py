"""The literal rule, and how often it pins a canary as good as control."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from killswitch.slow.counts import DayCounts, Moments
from killswitch.slow.literal import GOOD_ENOUGH, days_of, false_pins, percent_needed, usual_error, usual_users

SD = 30.0


def error_of(answers: int) -> float:
    return SD * math.sqrt(1 / answers + 1 / (19 * answers))


@pytest.mark.parametrize(("answers", "share"), [(20, 0.44), (50, 0.28), (100, 0.13), (300, 0.014), (1000, 0.0)])
def test_a_healthy_canary_is_pinned_as_often_as_was_simulated(answers: int, share: float) -> None:
    """On two days in a row 3 points under control, within a week."""
    assert false_pins(error_of(answers), 3.0, 2) == pytest.approx(share, abs=0.03)


def test_the_chance_is_that_of_drawn_days() -> None:
    draw = np.random.default_rng(1)
    over = draw.normal(0.0, error_of(50), (20_000, 7)) >= 3.0
    pinned = np.any(over[:, :-2] & over[:, 1:-1] & over[:, 2:], axis=1).mean()
    assert false_pins(error_of(50), 3.0, 3) == pytest.approx(pinned, abs=0.01)


@pytest.mark.parametrize(("sustained", "days"), [(86_400.0, 1), (172_800.0, 2), (180_000.0, 3)])
def test_a_part_of_a_day_is_a_day(sustained: float, days: int) -> None:
    assert days_of(sustained) == days


def days_with(canary: int, control: int) -> list[DayCounts]:
    return [DayCounts(day, Moments(control, 70.0, SD**2), Moments(canary, 70.0, SD**2)) for day in range(5)]


def test_the_percent_at_which_the_rule_works_is_named() -> None:
    assert percent_needed(days_with(75, 1425), 3.0, 2) == pytest.approx(33.0)
    assert percent_needed(days_with(500, 9500), 3.0, 2) == pytest.approx(5.0)
    assert percent_needed(days_with(5, 95), 3.0, 2) is None
    assert percent_needed(days_with(500, 9500), 0.0, 2) is None
    assert percent_needed([], 3.0, 2) is None


def test_users_a_day_are_those_since_the_last_raise() -> None:
    """Days of 5 % said that the rule fails in 12 % of runs at 25 %, next to the percent at which it works: 20."""
    raised = [*days_with(62, 1180), *(replace(one, day=one.day + 5) for one in days_with(312, 953))]
    assert usual_users(raised) == (953.0, 312.0)
    assert false_pins(usual_error(raised), 3.0, 2) < 0.05
    works_from = percent_needed(raised, 3.0, 2)
    assert works_from is not None
    assert (works_from <= 25.0) is (false_pins(usual_error(raised), 3.0, 2) <= GOOD_ENOUGH)


def test_days_without_a_cohort_have_no_error() -> None:
    assert usual_error([DayCounts(1, Moments(), Moments(5, 1.0, 1.0))]) == math.inf
    assert false_pins(math.inf, 3.0, 2) == 0.0
    assert false_pins(0.0, 3.0, 2) == 0.0
