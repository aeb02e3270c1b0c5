from __future__ import annotations

import math

import numpy as np
import pytest

from killswitch.shadow.evidence.thresholds import FIRST, RatioExcess, dearer, slower, stretches


def seconds(pairs: int, seed: int, *, slower_by: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Both sides' seconds, with slow-downs that both have at once."""
    rng = np.random.default_rng(seed)
    load = rng.gamma(4.0, 0.25, pairs)
    return load * rng.lognormal(0, 0.3, pairs) * slower_by, load * rng.lognormal(0, 0.3, pairs)


def test_stretches_double_and_end_with_the_pairs() -> None:
    assert list(stretches(450, 100)) == [(100, 200), (200, 400), (400, 450)]
    assert list(stretches(100, 100)) == []


@pytest.mark.parametrize(("slower_by", "proven"), [(1.0, "within"), (0.5, "within"), (1.6, "worse")])
def test_a_ratio_of_p95_is_proven_on_the_right_side(slower_by: float, proven: str) -> None:
    """An equal canary and one that is twice as fast are below 1.2 times; one that takes 1.6 times is over it."""
    excess = RatioExcess(slower(*seconds(6000, 2, slower_by=slower_by)))
    within, worse = excess.log_within(1.2), excess.log_worse(1.2)
    assert (within > math.log(100)) == (proven == "within")
    assert (worse > math.log(1000)) == (proven == "worse")
    low, high = excess.interval(0.01)
    assert low < slower_by < high


def test_marks_come_from_earlier_pairs_alone() -> None:
    """Slow pairs that are added change nothing of what was counted before: else a bet would be made afterwards."""
    candidate, control = seconds(2000, 3)
    late = np.full(50, 500.0)
    for size in (FIRST + 1, 150, 399, 801):
        before = slower(candidate[:size], control[:size])(1.2)
        after = slower(np.append(candidate[:size], late), np.append(control[:size], late))(1.2)
        assert (after.counts - before.counts).tolist() == [0.0, 50.0, 0.0]


def test_failures_that_control_has_too_make_no_one_slower() -> None:
    """Control's failures leave no pair, so an equal canary of which 6 % fail would be "slower" by them."""
    candidate, control = seconds(6000, 4)
    candidate[np.random.default_rng(5).random(6000) < 0.06] = math.nan
    excess = RatioExcess(slower(candidate, control))
    assert excess.log_within(1.2) > math.log(100)
    assert excess.log_worse(1.0) < math.log(100)
    assert slower(candidate, control)(1.2).size == 6000 - FIRST


def test_too_few_pairs_to_make_a_mark_prove_nothing() -> None:
    excess = RatioExcess(slower(*seconds(FIRST, 5)))
    assert excess.log_worse(1.2) == excess.log_within(1.2) == pytest.approx(0.0)


def test_one_endless_answer_does_not_decide_a_months_bill() -> None:
    """Costs are winsorised: a call that costs a million times the others moves the evidence by at most one bet."""
    rng = np.random.default_rng(6)
    candidate, control = rng.lognormal(5, 0.8, 5000), rng.lognormal(5, 0.8, 5000)
    plain = RatioExcess(dearer(candidate, control))
    candidate[3000] = 1e12
    spoiled = RatioExcess(dearer(candidate, control))
    assert plain.log_within(1.2) > math.log(100)
    assert spoiled.log_within(1.2) > math.log(100)
    assert spoiled.interval(0.01)[1] < plain.interval(0.01)[1] + 0.02


def test_a_candidate_that_costs_half_more_is_dearer() -> None:
    rng = np.random.default_rng(7)
    excess = RatioExcess(dearer(rng.lognormal(5, 0.8, 8000) * 1.5, rng.lognormal(5, 0.8, 8000)))
    assert excess.log_worse(1.2) > math.log(1000)
    low, high = excess.interval(0.01)
    assert 1.2 < low < 1.5 < high


def test_calls_that_cost_nothing_prove_nothing() -> None:
    free = np.zeros(1000)
    excess = RatioExcess(dearer(free, free))
    assert excess.log_worse(1.2) == excess.log_within(1.2) == pytest.approx(0.0)
