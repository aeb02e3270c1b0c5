"""How many requests a regression takes to show: the formula against draws, and where it says never."""

from __future__ import annotations

import math

import numpy as np
import pytest

from killswitch.detectable import chance, shares, trials_needed
from killswitch.model import Counts, Limits, QuantileSignal, RatioSignal, Rule, Selector, Unit
from killswitch.plan import WorseBy
from killswitch.verdicts.evidence import measure_offset

RATE = Rule("error_rate", RatioSignal((Selector("e"),), (Selector("t"),)), Limits(maximum=0.02), Unit.FRACTION)
P95 = Rule("latency_p95", QuantileSignal(Selector("b"), 0.95), Limits(max_ratio=1.5), Unit.SECONDS)


@pytest.mark.parametrize(
    ("control", "canary"), [(0.01, 0.02), (0.011, 0.041), (0.05, 0.15), (0.2, 0.25), (0.001, 0.005)]
)
@pytest.mark.parametrize("part", [0.01, 0.05, 0.25, 0.5, 0.99])
def test_nine_of_ten_draws_show_a_regression_of_that_size(control: float, canary: float, part: float) -> None:
    """Drawn 2,000 times with the number of requests that the formula names, and looked at as stage `aa` is."""
    rng = np.random.default_rng(7)
    trials = trials_needed(canary, control, canary_part=part)
    of_canary, of_control = math.ceil(trials * part), math.ceil(trials * (1 - part))
    seen = 0
    for x, y in zip(rng.binomial(of_canary, canary, 2000), rng.binomial(of_control, control, 2000), strict=True):
        offset = measure_offset(Counts(float(x), of_canary), Counts(float(y), of_control))
        seen += offset is not None and offset.low > 0
    assert 0.86 <= seen / 2000 <= 0.95


def test_the_chance_at_the_needed_number_is_the_power() -> None:
    trials = trials_needed(0.02, 0.01, canary_part=0.05, phi=2.0)
    at_it = chance(0.02, 0.01, canary_trials=trials * 0.05, control_trials=trials * 0.95, phi=2.0)
    assert at_it == pytest.approx(0.9, abs=0.001)
    assert trials == pytest.approx(2.0 * trials_needed(0.02, 0.01, canary_part=0.05), rel=0.002)


def test_what_is_no_regression_or_has_no_requests_never_shows() -> None:
    assert chance(0.01, 0.01, canary_trials=1e9, control_trials=1e9) == 0.0
    assert chance(0.02, 0.01, canary_trials=0.0, control_trials=1e9) == 0.0
    assert chance(0.02, 0.01, canary_trials=1e9, control_trials=0.0) == 0.0
    assert trials_needed(0.01, 0.01, canary_part=0.05) == math.inf
    assert trials_needed(0.02, 0.01, canary_part=0.0) == math.inf


def test_a_regression_is_of_controls_own_rate() -> None:
    assert shares(RATE, WorseBy("ratio", 2.0), 0.03) == (0.03, 0.06)
    assert shares(RATE, WorseBy("points", 0.03), 0.03) == (0.03, 0.06)
    assert shares(RATE, WorseBy("ratio", 2.0), None) == (0.01, 0.02)
    assert shares(RATE, WorseBy("ratio", 100.0), 0.03) == (0.03, 1.0)


def test_slower_answers_are_more_answers_over_controls_quantile() -> None:
    control, canary = shares(P95, WorseBy("ratio", 1.5), None)
    assert control == pytest.approx(0.05)
    assert canary == pytest.approx(0.2024, abs=0.001)
