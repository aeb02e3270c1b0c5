"""Quantiles and tails of bucket increments, as histogram_quantile has them."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from killswitch.model import Buckets
from killswitch.verdicts import histogram

INF = math.inf
TEN_EACH = Buckets((0.1, 0.5, 1.0, INF), (10.0, 20.0, 30.0, 40.0))


@st.composite
def histograms(draw: st.DrawFn) -> Buckets:
    finite = draw(st.lists(st.integers(1, 10_000), min_size=1, max_size=8, unique=True).map(sorted))
    counts = draw(st.lists(st.integers(0, 50), min_size=len(finite) + 1, max_size=len(finite) + 1))
    return Buckets((*(bound / 1000 for bound in finite), INF), tuple(float(count) for count in accumulate(counts)))


@pytest.mark.parametrize(
    ("share", "value"),
    [(0.0, 0.0), (0.125, 0.05), (0.25, 0.1), (0.375, 0.3), (0.5, 0.5), (0.75, 1.0), (0.9, 1.0), (1.0, 1.0)],
)
def test_quantiles_interpolate_linearly_inside_a_bucket_from_zero(share: float, value: float) -> None:
    assert histogram.quantile(TEN_EACH, share) == pytest.approx(value)


@pytest.mark.parametrize(("share", "value"), [(-0.1, -INF), (1.1, INF)])
def test_a_share_outside_0_to_1_is_infinite_as_in_promql(share: float, value: float) -> None:
    assert histogram.quantile(TEN_EACH, share) == value


@pytest.mark.parametrize(
    "buckets",
    [Buckets((1.0, INF), (0.0, 0.0)), Buckets((INF,), (9.0,)), Buckets((), ()), Buckets((1.0, INF), (1, INF))],
)
def test_an_empty_or_infinite_histogram_is_never_an_error(buckets: Buckets) -> None:
    value = histogram.quantile(buckets, 0.95)
    assert math.isnan(value) or value == 1.0


def test_a_quantile_beyond_the_last_bound_is_marked_as_clamped() -> None:
    assert histogram.quantile(TEN_EACH, 0.95) == 1.0
    assert histogram.is_saturated(TEN_EACH, 0.95)
    assert not histogram.is_saturated(TEN_EACH, 0.75)
    assert histogram.last_finite_bound(TEN_EACH) == 1.0
    assert histogram.is_saturated(Buckets((INF,), (3.0,)), 0.5)
    assert not histogram.is_saturated(Buckets((1.0, INF), (0.0, 0.0)), 0.95)
    assert not histogram.is_saturated(Buckets((), ()), 0.95)


def test_a_first_bound_that_is_not_positive_is_its_own_quantile() -> None:
    below_zero = Buckets((-1.0, 1.0, INF), (4.0, 8.0, 8.0))
    assert histogram.quantile(below_zero, 0.25) == -1.0
    assert histogram.count_below(below_zero, -1.0) == 4.0
    assert histogram.count_below(below_zero, -2.0) == 0.0


def test_counts_that_dip_by_a_rounding_are_taken_as_level() -> None:
    dipped = Buckets((0.1, 0.5, INF), (10.0, 9.999999, 20.0))
    assert histogram.quantile(dipped, 0.5) == pytest.approx(0.1)
    assert histogram.count_below(dipped, 0.5) == 10.0


@pytest.mark.parametrize(
    ("value", "below"), [(-1.0, 0), (0.0, 0), (0.05, 5), (0.1, 10), (0.3, 15), (1.0, 30), (2.0, 30), (INF, 40)]
)
def test_counts_below_and_above_a_value_interpolate_and_add_up(value: float, below: float) -> None:
    assert histogram.count_below(TEN_EACH, value) == pytest.approx(below)
    assert histogram.count_above(TEN_EACH, value) == pytest.approx(40 - below)


@given(histograms(), st.floats(0.01, 0.99))
def test_as_many_lie_below_a_quantile_as_its_share_says(buckets: Buckets, share: float) -> None:
    assume(buckets.counts[-1] > 0 and not histogram.is_saturated(buckets, share))
    value = histogram.quantile(buckets, share)
    assert histogram.count_below(buckets, value) == pytest.approx(share * buckets.counts[-1])


@given(histograms(), st.floats(0, 12), st.floats(0, 12))
def test_counts_never_fall_as_the_value_rises(buckets: Buckets, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= histogram.count_below(buckets, low) <= histogram.count_below(buckets, high) <= buckets.counts[-1]
    assert histogram.count_above(buckets, high) >= 0


def test_merging_adds_counts_at_the_bounds_all_share() -> None:
    other = Buckets((0.5, 2.0, INF), (1.0, 2.0, 3.0))
    assert histogram.merge(TEN_EACH, other) == Buckets((0.5, INF), (21.0, 43.0))
    assert histogram.merge(TEN_EACH) == TEN_EACH


def test_a_value_that_is_no_number_has_no_count() -> None:
    assert math.isnan(histogram.count_below(TEN_EACH, math.nan))
    assert math.isnan(histogram.quantile(TEN_EACH, math.nan))
