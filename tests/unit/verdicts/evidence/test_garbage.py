"""Ten ticks of anything a source can say, and an hour later evidence sees as if they had never been."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from killswitch.verdicts.evidence import (
    DetectorSpec,
    Evidence,
    TickCounts,
    advance,
    slow_counts,
    start,
    tau_before,
    tau_next,
    warm_up,
)
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence.tested_limits import WORSE_THAN_CONTROL, Bound, Edge, half_plane

pytestmark = pytest.mark.simulation

STEP = 30.0
NAMES = tuple(field.name for field in fields(TickCounts))
RULES = (
    DetectorSpec("max", (Bound("max", half_plane(0.0, 0.02)), Bound("worse", WORSE_THAN_CONTROL)), 0.0025),
    DetectorSpec("increase", (Bound("max_increase", half_plane(1.0, 0.05)),), 0.0025),
    DetectorSpec("ratio", (Bound("max_ratio", half_plane(2.0, 0.0)),), 0.0025),
)
BOUNDS = 4
HOUR, GARBAGE, LATE = 120, 10, 2
HUGE = 1.7976931348623157e308
ODD = (0.0, 1.0, 75.0, 1425.0, 1e6, 1e9, 1e11, 1e12, 1e13, 1e300, HUGE, 5e-324, 1e-9, -1.0, np.inf, -np.inf, np.nan)
anything = st.one_of(st.sampled_from(ODD), st.floats(0.0, 3000.0), st.floats())
garbage = hnp.arrays(np.float64, (len(NAMES), GARBAGE, BOUNDS), elements=anything, fill=st.nothing())


def traffic(ticks: int, seed: int, share: float = 0.01) -> Array:
    """50 requests a second, a canary of 5 %: (4, T, B)."""
    rng = np.random.default_rng(seed)
    n_c, n_b = rng.poisson(75, (ticks, BOUNDS)), rng.poisson(1425, (ticks, BOUNDS))
    return np.array([rng.binomial(n_c, share), n_c, rng.binomial(n_b, 0.01), n_b], dtype=np.float64)


def take(state: Evidence, counts: Array) -> tuple[Evidence, npt.NDArray[np.bool_]]:
    times = STEP * np.arange(1, counts.shape[1] + 1)
    state, trace = advance(state, TickCounts(*counts), times, step=STEP)
    return state, trace.breach


def until_total_failure_is_seen(state: Evidence) -> Array:
    """Ticks until each rule trips, after an hour of sane traffic."""
    state, _ = take(state, traffic(HOUR, seed=1))
    _, breach = take(state, traffic(30, seed=2, share=1.0))
    return np.where(breach.any(axis=0), breach.argmax(axis=0) + 1.0, np.inf)


def finite(state: Evidence) -> bool:
    past = [
        getattr(getattr(state.past, side.name), f.name)
        for side in fields(state.past)
        for f in fields(state.past.control)
    ]
    return all(np.isfinite(values).all() for values in (*past, state.excursions)) and not np.isnan(state.log_sums).any()


FRESH = until_total_failure_is_seen(start(RULES))


@given(ticks=garbage, known=st.booleans())
@settings(max_examples=60, deadline=None)
def test_ten_arbitrary_ticks_are_forgotten_within_an_hour(ticks: Array, known: bool) -> None:
    state = start(RULES)
    if known:
        state, _ = take(state, traffic(HOUR, seed=3))
    state, _ = take(state, ticks)
    assert finite(state)
    assert np.all(until_total_failure_is_seen(state) <= FRESH + LATE)


@given(ticks=garbage)
@settings(max_examples=60, deadline=None)
def test_a_warm_up_on_arbitrary_ticks_is_forgotten_within_an_hour(ticks: Array) -> None:
    state = warm_up(start(RULES), ticks[2], ticks[3])
    assert finite(state)
    assert np.all(until_total_failure_is_seen(state) <= FRESH + LATE)


@pytest.mark.parametrize("value", [1e13, 1e200, HUGE])
@pytest.mark.parametrize("name", NAMES)
def test_a_count_no_service_can_have_is_numeric(name: str, value: float) -> None:
    state, _ = take(start(RULES), traffic(HOUR, seed=3))
    counts = traffic(1, seed=4, share=0.5)
    counts[NAMES.index(name)] = value
    after, trace = advance(state, TickCounts(*counts), np.array([STEP]), step=STEP)
    assert trace.numeric.all()
    assert not trace.updated.any()
    assert np.array_equal(after.log_sums, state.log_sums)


@pytest.mark.parametrize("cohort", ["canary", "control"])
def test_events_far_beyond_the_possible_number_are_numeric(cohort: str) -> None:
    state, _ = take(start(RULES), traffic(HOUR, seed=3))
    counts = traffic(1, seed=4)
    counts[NAMES.index(f"{cohort}_events")] = 1e6
    after, trace = advance(state, TickCounts(*counts), np.array([STEP]), step=STEP)
    assert trace.numeric.all()
    assert np.array_equal(after.log_sums, state.log_sums)


def test_late_feedback_of_a_third_of_requests_is_no_garbage() -> None:
    # a canary lowered from 750 requests a tick to 75: a tenth of the many users' thumbs arrives for five minutes more
    before, after = traffic(HOUR, seed=3), traffic(10, seed=4)
    before[:2] *= 10.0
    after[0] = 75.0
    state, _ = take(start(RULES), before)
    _, trace = advance(state, TickCounts(*after), STEP * np.arange(1.0, 11.0), step=STEP)
    assert not trace.numeric.any()


def test_one_huge_tick_below_the_bound_does_not_move_the_share() -> None:
    state, _ = take(start(RULES), traffic(HOUR, seed=3))
    counts = traffic(1, seed=4)
    counts[2], counts[3] = 1e11, 1e11
    _, trace = advance(take(state, counts)[0], TickCounts(*traffic(1, seed=5)), np.array([STEP]), step=STEP)
    # one tick among fifty, at four times its weight
    assert np.all(trace.control_share < 0.11)


# --- histograms -----------------------------------------------------------------------------------

EDGES = np.array([0.5, 1.0, 2.0, 5.0, np.inf])
CALM = np.array([10.0, 60.0, 95.0, 100.0, 100.0])
SLOW = Bound("max_ratio", WORSE_THAN_CONTROL, Edge(1.5, 0.0), Edge(1.0, 0.0))
P95 = (DetectorSpec("p95", (SLOW,), 0.0025),)
histograms = hnp.arrays(np.float64, (2, GARBAGE, EDGES.size), elements=anything, fill=st.nothing())


def p95_trips(before: tuple[Array, Array]) -> float:
    """Ticks until a canary whose requests all take long is tripped, an hour of sane traffic after ``before``."""
    sane = np.repeat(CALM[None], HOUR + 30, axis=0)
    canary, control = sane * 0.75, sane * 14.25
    canary[HOUR:, :-2] = 0.0
    whole = [np.concatenate([odd, calm]) for odd, calm in zip(before, (canary, control), strict=True)]
    tau = tau_before(EDGES, whole[1], 0.95, step=STEP)
    slow = slow_counts(SLOW, EDGES, whole[0], whole[1], tau)
    columns = (slow[0], whole[0][:, -1], slow[1], whole[1][:, -1])
    _, breach = take(start(P95), np.stack([np.where(np.isnan(slow[0] + slow[1]), np.nan, c)[:, None] for c in columns]))
    late = breach[-30:, 0]
    return float(late.argmax() + 1) if late.any() else np.inf


NO_HISTOGRAM = np.full((0, EDGES.size), np.nan)
FRESH_P95 = p95_trips((NO_HISTOGRAM, NO_HISTOGRAM))


@given(ticks=histograms)
@settings(max_examples=60, deadline=None)
def test_ten_arbitrary_histograms_are_forgotten_within_an_hour(ticks: Array) -> None:
    assert p95_trips((ticks[0], ticks[1])) <= FRESH_P95 + LATE


@given(ticks=histograms)
@settings(max_examples=60, deadline=None)
def test_tau_is_the_same_in_a_replay_for_any_histograms(ticks: Array) -> None:
    past = np.concatenate([ticks[1], np.repeat(CALM[None] * 14.25, HOUR, axis=0)])[-HOUR:]
    replayed = tau_before(EDGES, np.concatenate([past, CALM[None]]), 0.95, step=STEP)[-1]
    assert replayed == pytest.approx(float(tau_next(EDGES, past[None], 0.95)[0]), rel=1e-9)
    assert np.isfinite(replayed)
