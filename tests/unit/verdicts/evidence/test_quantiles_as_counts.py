"""Histograms become counts as PromQL would interpolate them, and tau never knows its own tick."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.model import Buckets, Limits, QuantileSignal, Rule, Selector, Unit
from killswitch.verdicts import histogram
from killswitch.verdicts.evidence import bounds_of, push, quantile_of, slow_counts, slower_than, tau_before, tau_next
from killswitch.verdicts.evidence.evariables import LARGEST_COUNT, Array
from killswitch.verdicts.evidence.quantiles import possible

EDGES = np.array([0.25, 0.5, 1.0, 2.0, 4.0, np.inf])
P95 = QuantileSignal(Selector("latency"), 0.95)


def rule(limits: Limits) -> Rule:
    return Rule("latency_p95", P95, limits, Unit.SECONDS)


increments = st.lists(st.integers(0, 500), min_size=6, max_size=6)


@given(counts=increments, seconds=st.floats(0, 4))
@settings(deadline=None)
def test_slow_requests_agree_with_the_histogram_arithmetic(counts: list[int], seconds: float) -> None:
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
def test_tau_uses_the_fewest_ticks_of_2000_requests_or_an_hour(seed: int, requests: int) -> None:
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


def test_a_ratio_compares_the_scaled_canary_tail_with_controls() -> None:
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


def test_within_a_bucket_requests_are_spread_evenly() -> None:
    cumulative = np.array([10.0, 30.0, 60.0, 100.0, 150.0, 170.0])
    middles = slower_than(EDGES, np.tile(cumulative, (5, 1)), np.array([0.125, 0.375, 0.75, 1.5, 3.0]))
    assert middles.tolist() == [165.0, 150.0, 125.0, 90.0, 45.0]
    edges = slower_than(EDGES, np.tile(cumulative, (6, 1)), np.array([0.0, 0.25, 0.5, 1.0, 2.0, 4.0]))
    assert edges.tolist() == [170.0, 160.0, 140.0, 110.0, 70.0, 20.0]
    assert slower_than(EDGES, np.minimum(cumulative, 150.0), 4.0) == 0.0


def test_a_first_bucket_that_ends_at_zero_or_below_has_no_width() -> None:
    cumulative = np.array([3.0, 5.0, 10.0])
    assert slower_than(np.array([0.0, 1.0, np.inf]), cumulative, 0.0) == 7.0
    assert slower_than(np.array([-1.0, 1.0, np.inf]), cumulative, 0.0) == 6.0
    assert quantile_of(np.array([-1.0, 1.0, np.inf]), cumulative, 0.2) == -1.0
    assert quantile_of(np.array([-1.0, 1.0, np.inf]), cumulative, 0.4) == 0.0
    assert np.isnan(slower_than(EDGES, np.arange(6.0), -0.1))


def test_a_quantile_lies_where_its_rank_does_in_its_bucket() -> None:
    cumulative = np.array([10.0, 30.0, 30.0, 70.0, 90.0, 100.0])
    shares = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9)
    found = [float(quantile_of(EDGES, cumulative, share)) for share in shares]
    assert found == pytest.approx([0.125, 0.25, 0.375, 0.5, 1.5, 2.0, 3.0, 4.0])
    assert np.isnan(quantile_of(EDGES, cumulative, 0.91))
    assert quantile_of(EDGES, np.array([1.0] * 6), 0.5) == 0.125


def odd_ticks() -> Array:
    """Ticks of exactly 1,000 requests, two in five of them beyond the last edge, each slower than the one before."""
    ticks = [[500.0 - 100 * tick, 550 - 100 * tick, 580, 590, 600, 1000] for tick in range(5)]
    return np.array(ticks)


@pytest.mark.parametrize("minimum", [1000.0, 2000.0, 2001.0])
def test_tau_needs_no_tick_beyond_those_that_hold_enough(minimum: float) -> None:
    control, used = odd_ticks(), math.ceil(minimum / 1000)
    expected = quantile_of(EDGES, control[-used:].sum(axis=0), 0.4)
    assert expected != quantile_of(EDGES, control[-used - 1 :].sum(axis=0), 0.4)
    replayed = tau_before(EDGES, np.concatenate([control, control[:1]]), 0.4, step=30.0, minimum=minimum)
    assert replayed[-1] == expected
    assert np.isnan(replayed[0])
    assert tau_next(EDGES, control[None], 0.4, minimum=minimum).tolist() == [expected]


def test_the_tau_of_one_rule_knows_nothing_of_anothers() -> None:
    past = np.stack([odd_ticks() * 7, odd_ticks()[::-1], odd_ticks()])
    alone = [tau_next(EDGES, each[None], 0.4).item() for each in past]
    assert len(set(alone)) > 1
    assert tau_next(EDGES, past, 0.4).tolist() == alone


def test_live_and_replayed_tau_agree_where_traffic_is_uneven() -> None:
    control = odd_ticks() * np.array([[2.0], [3.0], [0.5], [1.0], [0.8]])
    replayed = tau_before(EDGES, np.concatenate([control, control[:1]]), 0.4, step=30.0)
    assert tau_next(EDGES, control[None], 0.4)[0] == replayed[-1]
    assert replayed[-1] == quantile_of(EDGES, control[-3:].sum(axis=0), 0.4)


@pytest.mark.parametrize("step", [30.0, 60.0, 900.0])
def test_tau_remembers_an_hour_whatever_the_step(step: float) -> None:
    hour = int(3600 / step)
    fast, slow = [10.0] * 6, [0.0, 0, 0, 0, 10, 10]
    control = np.array([slow, *[fast] * (hour - 1), fast, fast])
    tau = tau_before(EDGES, control, 0.995, step=step)
    assert tau[hour] > 2.0  # the slow tick is the oldest of the hour
    assert tau[hour + 1] < 0.25
    past = np.zeros((1, 0, EDGES.size))
    for row in control[: hour + 1]:
        past = push(past, row[None], step=step)
    assert past.shape == (1, hour, EDGES.size)
    assert tau_next(EDGES, past, 0.995)[0] == tau[hour + 1]


@pytest.mark.parametrize(("value", "counts"), [(1e-6, True), (2e-6, False)])
@pytest.mark.parametrize("column", [0, 3, 5])
def test_a_count_below_zero_by_no_more_than_rounding_is_a_count(value: float, column: int, *, counts: bool) -> None:
    row = np.full((2, 6), 5.0)
    row[0, column] = -value
    assert possible(row).tolist() == [counts, True]
    assert possible(row[0]) == counts


def test_the_largest_count_is_possible_and_no_larger_one() -> None:
    rows = np.full((3, 6), 1.0)
    rows[0, -1], rows[1, -1], rows[2, 2] = LARGEST_COUNT, LARGEST_COUNT * 1.01, np.nan
    assert possible(rows).tolist() == [True, False, False]


def test_a_tick_of_garbage_is_not_remembered_in_tau() -> None:
    control = drawn(12, np.random.default_rng(3), 500)
    garbage, gap = control.copy(), control.copy()
    garbage[8, 2], gap[8] = -7.0, np.nan
    for bad in (garbage, gap):
        np.testing.assert_array_equal(
            tau_before(EDGES, bad, 0.95, step=30.0)[9:], tau_before(EDGES, without(control, 8), 0.95, step=30.0)[9:]
        )
    np.testing.assert_array_equal(tau_next(EDGES, garbage[None], 0.95), tau_next(EDGES, gap[None], 0.95))


def without(control: Array, tick: int) -> Array:
    less = control.copy()
    less[tick] = 0.0
    return less


def test_a_bad_histogram_has_infinite_events_missing_is_unknown() -> None:
    (bound,) = bounds_of(rule(Limits(max_ratio=1.5)))
    good = np.array([0.0, 50, 90, 95, 99, 100])
    rows = np.stack([good, np.full(6, np.nan), good, good, good])
    rows[2, 0], rows[3, 5], rows[4, 1] = np.nan, LARGEST_COUNT * 2, -3.0
    canary, control = slow_counts(bound, EDGES, rows, rows[::-1], np.full(5, 2.0))
    np.testing.assert_array_equal(canary, [3.0, np.nan, np.inf, np.inf, np.inf])
    np.testing.assert_array_equal(control, [np.inf, np.inf, np.inf, np.nan, 5.0])


def test_a_bound_with_one_edge_alone_is_no_quantile_rules() -> None:
    (bound,) = bounds_of(rule(Limits(max_ratio=1.5)))
    row = np.zeros((1, 6))
    for half in (replace(bound, canary_edge=None), replace(bound, control_edge=None)):
        with pytest.raises(
            ValueError, match=f"^bound {bound.name} is not of a quantile rule: its events are counters$"
        ):
            slow_counts(half, EDGES, row, row, np.zeros(1))
