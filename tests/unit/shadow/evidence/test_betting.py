from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.shadow.evidence.betting import FRACTIONS, STEPS, Excess, Sample, bisected, growth_needed


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float]:
    """Values in [-1, 1], their probabilities, and a number at or above their mean."""
    values = np.array(draw(st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=4, unique=True)))
    weights = np.array(draw(st.lists(st.floats(0.01, 1.0), min_size=values.size, max_size=values.size)))
    chances = weights / weights.sum()
    mean = float(values @ chances)
    return values, chances, mean + draw(st.floats(0.0, 1.0)) * (1.0 - mean)


@given(worlds(), st.integers(1, 3))
def test_evidence_has_a_mean_of_at_most_one(world: tuple[np.ndarray, np.ndarray, float], size: int) -> None:
    """Exactly summed in worlds whose mean is at most m: the expected evidence for "above m" is at most 1."""
    values, chances, m = world
    expected = 0.0
    for places in itertools.product(range(values.size), repeat=size):
        evidence = float(Sample.of(values[list(places)], -1.0, 1.0).log_above(m))
        expected += math.prod(chances[list(places)]) * math.exp(evidence)
    assert expected <= 1.0 + 1e-9


@given(worlds(), st.integers(1, 3))
def test_evidence_for_below_is_that_for_above_mirrored(world: tuple[np.ndarray, np.ndarray, float], size: int) -> None:
    values, _, m = world
    numbers = np.resize(values, size)
    above = float(Sample.of(numbers, -1.0, 1.0).log_above(m))
    assert float(Sample.of(-numbers, -1.0, 1.0).log_below(-m)) == pytest.approx(above, abs=1e-9)


def test_evidence_by_hand() -> None:
    """Two worse pairs of three at margin 0: each bet f becomes (1 + f)(1 + f)(1), shared by 1/2, 1/3, 1/4 …"""
    shares = [1.0 / (place + 2) for place in range(len(FRACTIONS))]
    money = sum(share * (1.0 + f) ** 2 for share, f in zip(shares, FRACTIONS, strict=True)) / sum(shares)
    assert float(Sample.of([1.0, 0.0, 1.0], -1.0, 1.0).log_above(0.0)) == pytest.approx(math.log(money))


def test_pairs_that_agree_are_evidence_that_the_margin_holds() -> None:
    """1,251 pairs without a difference prove at 1 % that it is less than half a point; 1,200 do not."""
    assert float(Sample.of_signs(0, 1251, 0).log_below(0.005)) >= math.log(100)
    assert float(Sample.of_signs(0, 1200, 0).log_below(0.005)) < math.log(100)
    assert float(Sample.of_signs(0, 10_000, 0).log_above(0.005)) < 0.0


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), max_size=60), st.floats(-0.9, 0.8))
def test_evidence_falls_as_the_number_asked_about_rises(numbers: list[float], m: float) -> None:
    sample = Sample.of(numbers, -1.0, 1.0)
    assert float(sample.log_above(m)) >= float(sample.log_above(m + 0.1)) - 1e-9
    assert float(sample.log_below(m)) <= float(sample.log_below(m + 0.1)) + 1e-9


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 1.0]), max_size=200))
def test_the_interval_holds_the_mean_and_what_is_not_refused(numbers: list[float]) -> None:
    excess = Excess(Sample.of(numbers, -1.0, 1.0))
    low, high = excess.interval(0.01)
    assert -1.0 <= low <= high <= 1.0
    if numbers:
        assert low - 1e-9 <= np.mean(numbers) <= high + 1e-9
    if low > -0.99:
        assert excess.log_worse(low - 0.001) >= math.log(100) > excess.log_worse(low + 0.001)
    if high < 0.99:
        assert excess.log_within(high + 0.001) >= math.log(100) > excess.log_within(high - 0.001)


def test_nothing_is_proven_of_nothing() -> None:
    empty = Sample.of([], -1.0, 1.0)
    assert float(empty.log_above(0.0)) == float(empty.log_below(0.0)) == pytest.approx(0.0)
    assert math.isnan(empty.mean)
    assert Excess(empty).interval(0.01) == (-1.0, 1.0)


@pytest.mark.parametrize("numbers", [[1.5], [-1.1, 0.0], [math.nan], [math.inf]])
def test_a_number_outside_its_bounds_is_refused(numbers: list[float]) -> None:
    """An impossible number would be a bet that can lose more than its money."""
    with pytest.raises(ValueError, match="numbers between -1 and 1 are compared"):
        Sample.of(numbers, -1.0, 1.0)


def test_rounding_is_against_whoever_bets() -> None:
    """More distinct numbers than steps are rounded; the evidence is never larger than without rounding."""
    numbers = np.random.default_rng(5).normal(0.1, 0.2, STEPS + 4000).clip(-1.0, 1.0)
    rounded = Sample.of(numbers, -1.0, 1.0)
    exact = Sample(numbers, np.ones(numbers.size), -1.0, 1.0)
    assert rounded.rounding > 0.0
    assert rounded.values.size <= STEPS + 1
    for m in (-0.2, 0.05, 0.1, 0.15, 0.4):
        for one, other in ((rounded.log_above(m), exact.log_above(m)), (rounded.log_below(m), exact.log_below(m))):
            assert float(one) <= float(other) + 1e-9
    assert float(rounded.log_above(0.05)) == pytest.approx(float(exact.log_above(0.05)), rel=0.02)


def test_half_of_the_money_bets_on_the_candidate_alone() -> None:
    """A canary that never errs is within the margin, whatever few noise pairs say of control."""
    matched, alone = Sample.of_signs(0, 30, 0), Sample.of(np.zeros(1500), 0.0, 1.0)
    assert Excess(matched).log_within(0.005) < math.log(100)
    assert Excess(matched, alone).log_within(0.005) >= math.log(100)
    assert Excess(matched, alone).log_worse(0.005) == Excess(matched).log_worse(0.005)
    nothing = Sample.of([], 0.0, 1.0)
    assert Excess(nothing, nothing).log_within(0.005) == pytest.approx(0.0)


def test_a_forecast_is_the_number_that_proves_it() -> None:
    excess = Excess(Sample.of_signs(2, 96, 2))
    growth = growth_needed(excess, 0.05, log_needed=math.log(100), worse=False, most=1e5)
    assert growth is not None
    assert excess.grown(growth * 1.01).log_within(0.05) >= math.log(100) > excess.grown(growth * 0.99).log_within(0.05)


def test_at_the_margin_no_number_of_pairs_is_promised() -> None:
    excess = Excess(Sample.of_signs(0, 95, 5))
    assert growth_needed(excess, 0.05, log_needed=math.log(100), worse=True, most=1e5) is None
    assert growth_needed(excess, 0.05, log_needed=math.log(100), worse=False, most=1e5) is None


def test_bisection_finds_where_a_condition_ends() -> None:
    assert bisected(lambda m: m <= 0.3, 0.0, 1.0) == pytest.approx(0.3)
    assert bisected(lambda _: False, 0.0, 1.0) == 0.0
    assert bisected(lambda _: True, 0.0, 1.0) == 1.0


ALPHA = 0.01
RUNS = 1000
# three standard deviations of a share of 1 % among the runs
BAR = ALPHA + 3.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / RUNS)


def shares_proven(chances: list[float], m: float, runs: int, looks: int = 1500) -> tuple[float, float]:
    """The shares of runs in which "above m" and "below m" are proven at any look, one after every pair."""
    rng = np.random.default_rng(11)
    edges = np.cumsum(chances)[:-1]
    above = below = 0
    for _ in range(runs // 50):
        drawn = np.searchsorted(edges, rng.random((50, looks)), side="right")
        worse, better = (drawn == 2).cumsum(axis=1), (drawn == 0).cumsum(axis=1)
        sample = Sample.of_signs(better, np.arange(1, looks + 1) - worse - better, worse)
        above += int((sample.log_above(m).max(axis=1) >= math.log(1.0 / ALPHA)).sum())
        below += int((sample.log_below(m).max(axis=1) >= math.log(1.0 / ALPHA)).sum())
    return above / runs, below / runs


@pytest.mark.simulation
@pytest.mark.parametrize(
    "chances", [[0.002, 0.991, 0.007], [0.1, 0.795, 0.105], [0.0, 0.995, 0.005]], ids=["rare", "noisy", "one-sided"]
)
def test_looking_after_every_pair_stays_within_the_budget(chances: list[float]) -> None:
    """At the margin itself, where both sentences are as hard as they can be, 1,000 runs of 1,500 looks."""
    above, below = shares_proven(chances, 0.005, RUNS)
    assert above <= BAR
    assert below <= BAR


def test_the_simulation_can_fail() -> None:
    """The same looks at a mean that is over the margin: nearly every run proves it."""
    above, below = shares_proven([0.0, 0.95, 0.05], 0.005, 50, looks=600)
    assert above > 0.9
    assert below == 0.0


@pytest.mark.simulation
def test_refusals_from_1_to_9_percent_are_seen_in_about_180_pairs() -> None:
    """1.1 % -> 8.7 % with 0.2 % refused by control alone: the median is 177 pairs at 1 in 583, margin 0.5 points.

    The bound for a test that knows both rates is 152, and 130 at 1 in 400 without a margin.
    """
    rng = np.random.default_rng(3)
    draws = rng.random((400, 600))
    worse, better = (draws < 0.078).cumsum(axis=1), ((draws >= 0.078) & (draws < 0.080)).cumsum(axis=1)
    looks = np.arange(1, 601)
    evidence = Sample.of_signs(better, looks - worse - better, worse).log_above(0.005)
    found = evidence >= math.log(583)
    first = np.where(found.any(axis=1), found.argmax(axis=1) + 1, 10_000)
    assert np.median(first) <= 230
    assert np.quantile(first, 0.9) <= 350
