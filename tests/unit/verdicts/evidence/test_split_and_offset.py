"""Is the traffic where the flag says; and how far do the canary's users differ by themselves?"""

from __future__ import annotations

import numpy as np
import pytest

from killswitch.model import Counts
from killswitch.verdicts.evidence import Offset, Trace, advance, measure_offset, split_counts, split_rules, start

TICKS = 600


def judge(percent: float, actual: float, *, rate: float = 1500.0, wobble: float = 0.0) -> Trace:
    rng = np.random.default_rng(8)
    share = actual / 100 * np.exp(rng.normal(-(wobble**2) / 2, wobble, TICKS))
    canary = rng.poisson(rate * share).astype(np.float64)
    control = rng.poisson(rate * np.maximum(1 - share, 0)).astype(np.float64)
    ticks = 30.0 * np.arange(TICKS, dtype=np.float64)
    _, trace = advance(start(split_rules("r", percent, 0.01)), split_counts(canary, control), ticks, step=30.0)
    return trace


@pytest.mark.parametrize("percent", [1.0, 5.0, 25.0, 50.0, 99.0])
def test_traffic_where_the_flag_says_is_no_split(percent: float) -> None:
    assert not judge(percent, percent).breach.any()


@pytest.mark.parametrize("actual", [2.0, 10.0])
def test_uneven_users_that_move_the_share_by_half_are_no_split(actual: float) -> None:
    assert not judge(5.0, actual, wobble=0.3).breach.any()


def test_a_router_that_sends_nothing_to_the_canary_is_seen() -> None:
    trace = judge(5.0, 0.0)
    assert trace.breach[-1].tolist() == [True, False]


def test_a_router_that_sends_far_too_much_is_seen() -> None:
    trace = judge(5.0, 40.0)
    assert trace.breach[-1].tolist() == [False, True]


def test_no_traffic_at_all_says_nothing_about_its_split() -> None:
    trace = judge(5.0, 5.0, rate=0.0)
    assert not trace.updated.any()
    assert not trace.numeric.any()


def test_an_offset_comes_with_its_interval() -> None:
    offset = measure_offset(Counts(180, 10_000), Counts(1_900, 190_000))
    assert offset is not None
    assert offset.difference == pytest.approx(0.008)
    assert offset.low < 0.008 < offset.high
    assert offset.certain


def test_bursts_widen_the_interval() -> None:
    calm = measure_offset(Counts(180, 10_000), Counts(1_900, 190_000))
    bursts = measure_offset(Counts(180, 10_000), Counts(1_900, 190_000), phi=10.0)
    assert calm is not None
    assert bursts is not None
    assert bursts.high - bursts.low > 2 * (calm.high - calm.low)
    assert not bursts.certain


@pytest.mark.parametrize(
    ("canary", "control", "low", "high"),
    [
        (Counts(56, 70), Counts(48, 80), 0.0524, 0.3339),
        (Counts(9, 10), Counts(3, 10), 0.1705, 0.8090),
        (Counts(5, 56), Counts(0, 29), -0.0381, 0.1926),
        (Counts(0, 10), Counts(0, 20), -0.1611, 0.2775),
        (Counts(10, 10), Counts(0, 20), 0.6791, 1.0),
    ],
)
def test_the_interval_is_the_one_of_newcombes_paper(canary: Counts, control: Counts, low: float, high: float) -> None:
    """Statistics in Medicine 17 (1998), table II, method 10: 95 % intervals."""
    offset = measure_offset(canary, control, confidence=0.95)
    assert offset is not None
    assert [offset.low, offset.high] == pytest.approx([low, high], abs=6e-5)
    assert (offset.canary, offset.control) == (canary.events / canary.trials, control.events / control.trials)
    assert offset.difference == pytest.approx(offset.canary - offset.control)
    mirrored = measure_offset(control, canary, confidence=0.95)
    assert mirrored is not None
    assert [mirrored.low, mirrored.high] == pytest.approx([-offset.high, -offset.low])
    assert mirrored.certain == offset.certain == (low > 0)


def test_an_interval_that_begins_or_ends_at_zero_is_not_certain() -> None:
    assert not Offset(0.1, 0.0, 0.1, 0.0, 0.2).certain
    assert not Offset(0.0, 0.1, -0.1, -0.2, 0.0).certain


def test_a_dispersion_of_ten_leaves_a_tenth_of_the_trials() -> None:
    few, many = (Counts(18, 1_000), Counts(190, 19_000)), (Counts(180, 10_000), Counts(1_900, 190_000))
    assert measure_offset(*many, phi=10.0) == measure_offset(*few, phi=1.0, confidence=0.99) == measure_offset(*few)


@pytest.mark.parametrize("counts", [Counts(0, 0), Counts(0, float("nan"))])
def test_without_trials_there_is_no_offset(counts: Counts) -> None:
    assert measure_offset(counts, Counts(1, 100)) is None
    assert measure_offset(Counts(1, 100), counts) is None


def test_one_trial_in_each_cohort_is_an_offset() -> None:
    assert measure_offset(Counts(0, 1), Counts(0, 1)) is not None


def test_more_events_than_trials_are_a_rate_of_one() -> None:
    assert measure_offset(Counts(80, 50), Counts(1, 100)) == measure_offset(Counts(50, 50), Counts(1, 100))


@pytest.mark.parametrize("events", [0.0, 50.0, 80.0])
def test_an_offset_of_extreme_rates_stays_finite(events: float) -> None:
    offset = measure_offset(Counts(events, 50), Counts(0, 1_000))
    assert offset is not None
    assert -1 <= offset.low <= offset.high <= 1


@pytest.mark.parametrize(("percent", "least", "most"), [(5.0, 0.985, 0.15), (50.0, 0.85, 1.0)])
def test_the_rules_of_the_split_are_exactly_these(percent: float, least: float, most: float) -> None:
    little, much = split_rules("r", percent, 0.01)
    assert (little.key, much.key) == (("r", "too_little"), ("r", "too_much"))
    assert (little.alpha, much.alpha) == (0.005, 0.005)
    assert little.stands
    assert much.stands
    for rule, name, shift in ((little, "too_little", least), (much, "too_much", most)):
        [bound] = rule.bounds
        assert (bound.name, bound.half_plane.ratio) == (name, 0.0)
        assert bound.half_plane.shift == pytest.approx(shift, rel=1e-12)
