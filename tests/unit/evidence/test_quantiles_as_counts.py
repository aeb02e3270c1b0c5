"""Histograms become counts as PromQL would interpolate them, and tau never knows its own tick."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch import histogram
from killswitch.evidence import bounds_of, push, quantile_of, slow_counts, slower_than, tau_before, tau_next
from killswitch.model import Buckets, Limits, QuantileSignal, Rule, Selector, Unit

Array = npt.NDArray[np.float64]
EDGES = np.array([0.25, 0.5, 1.0, 2.0, 4.0, np.inf])
P95 = QuantileSignal(Selector("latency"), 0.95)


def rule(limits: Limits) -> Rule:
    return Rule("latency_p95", P95, limits, Unit.SECONDS)


increments = st.lists(st.integers(0, 500), min_size=6, max_size=6)


@given(counts=increments, seconds=st.floats(0, 4))
@settings(deadline=None)
def test_requests_slower_than_an_edge_agree_with_the_histogram_arithmetic(counts: list[int], seconds: float) -> None:
    cumulative = np.cumsum(counts).astype(np.float64)
    expected = histogram.count_above(Buckets(tuple(EDGES), tuple(cumulative)), seconds)
    assert slower_than(EDGES, cumulative, seconds) == pytest.approx(expected, abs=1e-9)


@given(counts=increments, share=st.floats(0.01, 0.99))
@settings(deadline=None)
def test_quantiles_agree_with_the_histogram_arithmetic(counts: list[int], share: float) -> None:
    buckets = Buckets(tuple(EDGES), tuple(np.cumsum(counts).astype(np.float64)))
    found = quantile_of(EDGES, np.array(buckets.counts), share)
    if not sum(counts) or histogram.is_saturated(buckets, share):
        assert np.isnan(found)
    else:
        assert found == pytest.approx(histogram.quantile(buckets, share))


def test_nothing_is_known_beyond_the_last_finite_edge() -> None:
    cumulative = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert np.isnan(slower_than(EDGES, cumulative, 4.1))
    assert slower_than(EDGES, cumulative, 4.0) == 1.0


def drawn(ticks: int, rng: np.random.Generator, requests: int) -> Array:
    shares = [0.2, 0.3, 0.3, 0.15, 0.04, 0.01]
    return rng.multinomial(requests, shares, size=ticks).cumsum(axis=-1).astype(np.float64)


@given(seed=st.integers(0, 1000), requests=st.sampled_from([0, 5, 300, 5000]))
@settings(deadline=None, max_examples=30)
def test_tau_uses_the_fewest_past_ticks_that_hold_two_thousand_requests_or_an_hour(seed: int, requests: int) -> None:
    control = drawn(140, np.random.default_rng(seed), requests)
    tau = tau_before(EDGES, control, 0.95, step=30.0)
    for tick in (0, 1, 3, 50, 139):
        window: list[Array] = []
        while len(window) < min(tick, 120) and sum(row[-1] for row in window) < 2000:
            window.append(control[tick - 1 - len(window)])
        expected = quantile_of(EDGES, np.sum(window, axis=0), 0.95) if window else np.nan
        assert tau[tick] == pytest.approx(expected, nan_ok=True)


def test_tau_does_not_move_with_the_tick_it_is_used_in() -> None:
    control = drawn(20, np.random.default_rng(1), 1000)
    changed = control.copy()
    changed[10:] *= 7
    before = tau_before(EDGES, control, 0.95, step=30.0)
    assert np.array_equal(before[:11], tau_before(EDGES, changed, 0.95, step=30.0)[:11], equal_nan=True)


@given(seed=st.integers(0, 1000), requests=st.sampled_from([0, 5, 300, 5000]))
@settings(deadline=None, max_examples=12)
def test_tick_by_tick_and_in_one_replay_tau_is_the_same(seed: int, requests: int) -> None:
    control = drawn(130, np.random.default_rng(seed), requests)
    control[7] = np.nan
    replayed = tau_before(EDGES, control, 0.95, step=30.0)
    past = np.zeros((2, 0, EDGES.size))
    for tick in range(130):
        live = tau_next(EDGES, past, 0.95)
        np.testing.assert_allclose(live, [replayed[tick]] * 2, rtol=1e-12)
        past = push(past, np.stack([control[tick]] * 2), step=30.0)
    assert past.shape[1] == 120


def test_a_ratio_compares_the_canarys_scaled_tail_with_controls_tail() -> None:
    (bound,) = bounds_of(rule(Limits(max_ratio=1.5)))
    control, canary = np.array([[0.0, 50, 90, 95, 99, 100]]), np.array([[0.0, 10, 50, 80, 90, 100]])
    x_c, x_b = slow_counts(bound, EDGES, canary, control, np.array([2.0]))
    assert x_b.tolist() == [5.0]
    assert x_c.tolist() == [pytest.approx(15.0)]  # slower than 3 s: half of (2, 4], and the last


def test_an_increase_in_seconds_moves_the_canarys_edge() -> None:
    (bound,) = bounds_of(rule(Limits(max_increase=1.0)))
    row = np.array([[0.0, 50, 90, 95, 99, 100]])
    x_c, x_b = slow_counts(bound, EDGES, row, row, np.array([1.0]))
    assert (x_c[0], x_b[0]) == (5.0, 10.0)


def test_a_maximum_needs_no_tau_and_is_also_compared_with_control() -> None:
    bounds = bounds_of(rule(Limits(maximum=2.0)))
    row = np.array([[0.0, 50, 90, 95, 99, 100]])
    assert [bound.name for bound in bounds] == ["max", "worse_than_control"]
    for bound in bounds:
        x_c, x_b = slow_counts(bound, EDGES, row, row, np.array([np.nan]))
        assert (x_c[0], x_b[0]) == (5.0, 5.0)


def test_an_edge_beyond_the_histogram_is_unknown_and_not_zero() -> None:
    (bound,) = bounds_of(rule(Limits(max_ratio=1.5)))
    row = np.array([[0.0, 50, 90, 95, 99, 100]])
    x_c, x_b = slow_counts(bound, EDGES, row, row, np.array([3.5]))
    assert np.isnan(x_c[0])
    assert np.isfinite(x_b[0])


def test_a_rates_bound_has_no_edges_to_count_at() -> None:
    bound = bounds_of(rule(Limits(maximum=2.0)))[0]
    row = np.zeros((1, 6))
    with pytest.raises(ValueError, match="counters"):
        slow_counts(type(bound)("max", bound.half_plane), EDGES, row, row, np.zeros(1))
