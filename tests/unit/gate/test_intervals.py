"""Intervals of shares, differences and ratios: known values, symmetry, and what no interval may do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from killswitch.gate.intervals import (
    difference_high,
    difference_low,
    mean_ratio,
    p95,
    p95_ratio,
    share_high,
    share_low,
)

counts = st.integers(1, 5000).flatmap(lambda rows: st.tuples(st.integers(0, rows), st.just(rows)))
levels = st.floats(1e-5, 0.2)


@given(counts, levels)
def test_ends_of_a_share_are_those_of_the_beta_law(count: tuple[int, int], level: float) -> None:
    """Clopper and Pearson (1934), as scipy's distribution has it."""
    hits, rows = count
    low = 0.0 if hits == 0 else beta.ppf(level, hits, rows - hits + 1)
    high = 1.0 if hits == rows else beta.ppf(1 - level, hits + 1, rows - hits)
    assert share_low(hits, rows, level) == pytest.approx(low, abs=1e-9)
    assert share_high(hits, rows, level) == pytest.approx(high, abs=1e-6)


def test_48_of_50_has_the_textbook_interval() -> None:
    interval = binomtest(48, 50).proportion_ci(0.95)
    assert share_low(48, 50, 0.025) == pytest.approx(interval.low)
    assert share_high(48, 50, 0.025) == pytest.approx(interval.high)
    assert share_low(48, 50, 0.05) == pytest.approx(0.879, abs=0.001)


def test_299_rows_without_a_failure_show_99_percent_298_do_not() -> None:
    assert share_low(299, 299, 0.05) >= 0.99
    assert share_low(298, 298, 0.05) < 0.99


@given(counts.filter(lambda count: count[0] > 0), levels)
def test_a_failure_more_never_raises_an_end_of_a_share(count: tuple[int, int], level: float) -> None:
    hits, rows = count
    assert share_low(hits - 1, rows, level) <= share_low(hits, rows, level)
    assert share_high(hits - 1, rows, level) <= share_high(hits, rows, level)


def test_the_interval_of_a_paired_difference_is_tangos() -> None:
    """Tango (1998): without a discordant row of n, the upper end is z² / (n + z²)."""
    z = 1.959964
    assert difference_high(0, 0, 44, 0.025) == pytest.approx(z**2 / (44 + z**2), abs=1e-4)
    assert difference_low(0, 0, 44, 0.025) == pytest.approx(-(z**2) / (44 + z**2), abs=1e-4)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(120, 3000), levels)
def test_a_paired_difference_lies_in_its_interval(more: int, less: int, rows: int, level: float) -> None:
    """And it turns round with the two marks, and moves up with one more row of the first mark alone."""
    low, high = difference_low(more, less, rows, level), difference_high(more, less, rows, level)
    assert -1 <= low <= (more - less) / rows + 1e-9
    assert (more - less) / rows - 1e-9 <= high <= 1
    assert difference_high(less, more, rows, level) == pytest.approx(-low)
    assert difference_high(more + 1, less, rows, level) >= high - 1e-9


def test_p95_of_50_is_the_third_largest() -> None:
    assert p95(np.arange(1.0, 51.0)) == 48.0
    assert p95(np.arange(1.0, 101.0)) == 95.0
    assert p95(np.array([7.0])) == 7.0


def test_a_p95_has_an_upper_end_from_59_rows_on() -> None:
    """0.95^59 is the first power below 5 %: below, even the largest value may be under the p95."""
    draw = np.random.default_rng(1)
    one, other = np.exp(draw.normal(size=(2, 59)))
    assert math.isfinite(p95_ratio(one, other, 0.05, 0.05)[1])
    assert p95_ratio(one[:58], other[:58], 0.05, 0.05)[1] == math.inf


def test_the_ends_of_one_p95_are_ordered_values() -> None:
    """With prod constant the ratio is the candidate's p95 itself; of 100 the 90th and the 99th value enclose it."""
    low, high = p95_ratio(np.arange(1.0, 101.0), np.ones(100), 0.05, 0.05)
    assert (round(low, 6), round(high, 6)) == (91.0, 99.0)


@given(st.integers(1, 400), st.integers(0, 1000), st.floats(0.1, 10.0))
def test_a_ratio_of_p95s_turns_round_and_scales(rows: int, seed: int, scale: float) -> None:
    one, other = np.exp(np.random.default_rng(seed).normal(size=(2, rows)))
    low, high = p95_ratio(one, other, 0.03, 0.03)
    back_low, back_high = p95_ratio(other, one, 0.03, 0.03)
    assert low <= p95(one) / p95(other) <= high
    assert back_low == (pytest.approx(1 / high) if math.isfinite(high) else 0.0)
    assert back_high == (pytest.approx(1 / low) if low else math.inf)
    assert p95_ratio(scale * one, other, 0.03, 0.03)[0] == pytest.approx(scale * low)


@given(st.integers(2, 200), st.integers(0, 1000))
def test_a_ratio_of_means_lies_in_its_interval(rows: int, seed: int) -> None:
    one, other = np.exp(np.random.default_rng(seed).normal(size=(2, rows)))
    low, high = mean_ratio(one, other, 0.03, 0.03)
    assert low <= one.mean() / other.mean() * (1 + 1e-9)
    assert high >= one.mean() / other.mean() * (1 - 1e-9)


def test_costs_in_a_fixed_proportion_have_no_width() -> None:
    prod = np.tile([100.0, 250.0, 90.0], 20)
    assert mean_ratio(1.05 * prod, prod, 0.01, 0.01) == pytest.approx((1.05, 1.05), abs=1e-8)


def test_a_single_row_says_nothing_of_a_ratio() -> None:
    assert mean_ratio(np.array([1.0]), np.array([9.0]), 0.05, 0.05) == (0.0, math.inf)
    assert p95_ratio(np.array([1.0]), np.array([9.0]), 0.05, 0.05) == (0.0, math.inf)


def test_a_mean_without_skew_has_students_interval() -> None:
    """Against a constant prod, Fieller's interval is the mean and t standard errors."""
    values = np.array([8.0, 9.0, 10.0, 11.0, 12.0])
    low, high = mean_ratio(values, np.ones(5), 0.05, 0.05)
    half = 2.131847 * math.sqrt(2.5 / 5)
    assert low == pytest.approx(10 - half, abs=1e-5)
    assert high == pytest.approx(10 + half, abs=1e-5)


def test_rare_dear_calls_widen_the_upper_end() -> None:
    """Student's t alone would give about 1.26; Hall's knows that dear calls may not all have been seen."""
    prod = np.ones(300)
    candidate = np.ones(300)
    candidate[:3] = 20.0
    student = candidate.mean() + 1.65 * candidate.std(ddof=1) / math.sqrt(300)
    assert mean_ratio(candidate, prod, 0.05, 0.05)[1] > student * 1.05


def test_a_free_prod_has_no_ratio() -> None:
    with pytest.raises(ValueError, match="costs nothing"):
        mean_ratio(np.ones(3), np.zeros(3), 0.05, 0.05)
