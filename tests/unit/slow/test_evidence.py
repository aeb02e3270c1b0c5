"""The evidence that users of the canary are worse off: its numbers, its bounds, and what it must not do."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from killswitch.slow.counts import Moments, StretchCounts, UserSpread
from killswitch.slow.evidence import Difference, difference, log_evidence, log_mixture, log_sum, recent_starts, weights

NOBODY = Moments()


def stretch(control: Moments, canary: Moments, share: float = 0.05) -> StretchCounts:
    return StretchCounts(share, control, canary, control, canary)


def compared(control: Moments, canary: Moments, spread: float = 0.5) -> Difference | None:
    spreads = UserSpread(spread, control.users, canary.users)
    return difference([stretch(control, canary)], spreads, lower_is_worse=True)


@given(st.floats(-20, 20), st.floats(0.01, 1000))
def test_evidence_is_the_mean_likelihood_ratio(z: float, ratio: float) -> None:
    """Over a half normal distribution of drifts of z, as the formula's source has it."""
    drifts = NormalDist(0.0, math.sqrt(ratio))

    def integrand(drift: float) -> float:
        return 2 * drifts.pdf(drift) * math.exp(drift * z - drift * drift / 2 - z * z / 2)

    at = max(z * ratio / (1 + ratio), 0.0)
    width = math.sqrt(ratio / (1 + ratio))
    points = [at + step * width for step in (-8, -4, -1, 0, 1, 4, 8)]
    edges = [0.0, *(point for point in points if point > 0), max(points[-1], 1.0) * 4]
    total = sum(integrate.quad(integrand, low, high)[0] for low, high in itertools.pairwise(edges))
    if total > 1e-250:
        assert log_evidence(z, ratio) - z * z / 2 == pytest.approx(math.log(total), abs=1e-5)


@given(st.floats(-50, 50), st.floats(1e-9, 1e9))
def test_evidence_is_always_a_number(z: float, ratio: float) -> None:
    assert math.isfinite(log_evidence(z, ratio))


def test_evidence_reaches_its_line_by_luck_no_more_often_than_said() -> None:
    """At the limit, over 200 looks of growing data, 1 in 100 crosses 1 in 100 at most (here 0.5 %)."""
    draw = np.random.default_rng(3)
    crossed = 0
    for _ in range(2000):
        walk = np.cumsum(draw.normal(size=200))
        looks = np.arange(1, 201)
        best = max(log_evidence(float(s / math.sqrt(t)), 0.04 * t) for s, t in zip(walk, looks, strict=True))
        crossed += best >= math.log(100)
    assert crossed <= 20


def test_a_rare_value_that_no_canary_user_had_proves_nothing() -> None:
    """Twenty canary users without a purchase, 2 % of control's with one: their own variance would be 0."""
    control, canary = Moments(400, 2.0, 196.0), Moments(20, 0.0, 0.0)
    found = compared(control, canary, spread=196.0 / 400)
    assert found is not None
    assert found.error == pytest.approx(math.sqrt(196.0 / 400 + 196.0 / 20))
    assert found.log_evidence(0.0) < math.log(4)


def test_users_who_are_all_alike_cannot_be_compared() -> None:
    assert compared(Moments(50, 1.0, 0.0), Moments(50, 1.0, 0.0), spread=0.0) is None
    assert compared(NOBODY, Moments(50, 1.0, 0.0), spread=0.0) is None


def test_a_stretch_weighs_its_canary_users() -> None:
    control = Moments(100, 70.0, 400.0)
    stretches = [stretch(control, Moments(10, 60.0, 400.0)), stretch(control, Moments(30, 70.0, 400.0)),
                 stretch(NOBODY, Moments(500, 0.0, 1.0))]  # fmt: skip
    assert weights(stretches) == (0.25, 0.75, 0.0)
    found = difference(stretches, UserSpread(1.0, 100, 40), lower_is_worse=True)
    assert found is not None
    assert found.worse == pytest.approx(2.5)
    found = difference(stretches, UserSpread(1.0, 100, 40), lower_is_worse=False)
    assert found is not None
    assert found.worse == pytest.approx(-2.5)


USUAL = Difference(2.0, 1.0, 30.0, 19_000, 1_000, 70.0, 68.0)


def test_a_comparison_of_its_own_begins_each_week() -> None:
    assert recent_starts(100, 106) == ()
    assert recent_starts(100, 107) == (107,)
    assert recent_starts(100, 140) == (114, 121, 128, 135)


def test_the_parts_of_the_evidence_weigh_no_more_than_one() -> None:
    """Half is of the whole time, an eighth of each of four weeks; too few users add nothing."""
    parts = log_mixture(USUAL, [USUAL] * 4, 0.0)
    assert log_sum(parts) == pytest.approx(USUAL.log_evidence(0.0))
    assert parts[0] - parts[1] == pytest.approx(math.log(4))
    few = replace(USUAL, canary_users=19)
    assert log_mixture(few, [None, few], 0.0) == [-math.inf] * 3
    assert log_sum([-math.inf] * 3) == -math.inf
    assert log_sum([1000.0, -math.inf]) == 1000.0


def test_the_interval_is_what_evidence_does_not_refuse() -> None:
    low, high = USUAL.interval(0.01)
    assert low < USUAL.worse < high
    assert USUAL.log_evidence(low) == pytest.approx(math.log(200), abs=1e-6)
    assert high - USUAL.worse == pytest.approx(USUAL.worse - low)


def test_days_to_see_shrink_with_the_drop_and_grow_with_the_error() -> None:
    assert USUAL.days_to_see(3.0, 3.0, 100.0, 10) is None
    many, few = USUAL.days_to_see(3.0, 0.0, 100.0, 10), USUAL.days_to_see(10.0, 0.0, 100.0, 10)
    assert many is not None
    assert few is not None
    assert few < many
    slower = replace(USUAL, error=2.0).days_to_see(3.0, 0.0, 100.0, 10)
    assert slower is not None
    assert slower == pytest.approx(4 * many, abs=4)
    assert USUAL.days_to_see(0.01, 0.0, 100.0, 10) is None
