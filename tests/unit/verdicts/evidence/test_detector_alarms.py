"""Alarms: when an excursion began, when evidence begins again, and how much a single tick can add."""

from __future__ import annotations

import math

import numpy as np
import pytest

from killswitch.verdicts.evidence import DetectorSpec, TickCounts, advance, dispersion, start
from killswitch.verdicts.evidence.detector import cap
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence.tested_limits import WORSE_THAN_CONTROL, Bound, half_plane
from tests.unit.verdicts.evidence.counted_ticks import NAMES, STEP, WIDTH, run, steady, ticks, warm

pytestmark = pytest.mark.simulation


def test_a_regression_is_dated_to_its_onset() -> None:
    healthy, bad = steady(200, canary=0.01, control=0.01), steady(20, canary=0.3, control=0.01)
    state, _ = run(warm(), healthy)
    onset = 200 * STEP
    _, trace = advance(state, bad, ticks(20, onset), step=STEP)
    first = trace.breach.argmax(axis=0)
    assert trace.breach.any(axis=0).all()
    assert np.all(trace.since[first, np.arange(len(first))] == onset)


def test_after_an_unused_alarm_evidence_restarts_from_nothing() -> None:
    """`dry_run` called it a BREACH for hours after the canary was well again, and `enforce` killed it then."""
    state, trace = run(warm(), steady(400, canary=0.1, control=0.01))
    at = trace.breach.argmax(axis=0)
    rules = np.arange(len(at))
    assert not trace.breach[at + 1, rules].any()
    assert np.all(trace.since[at + 1, rules] == (at + 1) * STEP)
    assert trace.breach.sum(axis=0).min() > 3  # it goes on being bad, so it is said again
    # well again: no breach, from the second tick on
    _, after = advance(state, steady(40, canary=0.01, control=0.01), ticks(40, 400 * STEP), step=STEP)
    assert not after.breach[1:].any()


def test_a_gap_in_the_data_ends_no_alarm() -> None:
    """A trip that could not be written at once still has its evidence while nothing new was read."""
    counts = steady(40, canary=0.06, control=0.01)
    _, trace = run(warm(), counts)
    first = int(trace.breach[:, 0].argmax())
    counts.canary_trials[first + 1 : first + 3] = np.nan
    counts.canary_events[first + 1 : first + 3] = np.nan
    _, with_gap = run(warm(), counts)
    assert with_gap.breach[first : first + 3, 0].all()
    assert not with_gap.breach[first + 3, 0]


def test_the_number_of_false_alarms_is_bounded_too() -> None:
    """Each stretch between two alarms is a test of its own, and all of them share the starts that were paid."""
    bounds = (Bound("max", half_plane(0.0, 0.02)), Bound("worse", WORSE_THAN_CONTROL))
    days, width, alpha = 1, 150, 0.3
    specs = [DetectorSpec(number, bounds, alpha) for number in range(width)]
    count = round(days * 86_400 / STEP)
    rng = np.random.default_rng(5)
    shape = (count, 2 * width)
    x_c = np.repeat(rng.binomial(75, 0.02, (count, width)), 2, axis=1).astype(float)
    x_b = np.repeat(rng.binomial(1425, 0.015, (count, width)), 2, axis=1).astype(float)
    counts = TickCounts(x_c, np.full(shape, 75.0), x_b, np.full(shape, 1425.0))
    _, trace = advance(start(specs), counts, ticks(count), step=STEP)
    alarms = int(trace.breach.sum())
    assert 0 < alarms <= alpha * 0.5 * days * width


def test_without_a_healthy_tick_the_excursion_starts_at_step_one() -> None:
    _, trace = advance(warm(), steady(3, canary=0.3, control=0.01), ticks(3, 900.0), step=STEP)
    assert np.all(trace.since[0] == 900.0)


def heads(count: int) -> Array:
    starts = np.zeros((count, 3))
    starts[0] = 0.25
    return starts


@pytest.mark.parametrize("before", [0, 2, 10, 120])
def test_one_tick_alone_trips_nothing(before: int) -> None:
    """A clump, 26 failures of 44, is no 26 independent failures, whenever it comes."""
    calm = steady(before, canary=0.01, control=0.01)
    clump = steady(1, canary=26 / 44, control=0.01, n_c=44)
    whole = TickCounts(*(np.concatenate([getattr(calm, name), getattr(clump, name)]) for name in NAMES))
    _, trace = run(warm(), whole, head_starts=heads(before + 1))
    assert not trace.breach.any()
    assert np.all(trace.evidence[-1] > 0.001 * trace.evidence[0])


@pytest.mark.parametrize("before", [0, 2, 10, 25, 120])
def test_a_fully_failing_canary_trips_within_three_ticks(before: int) -> None:
    calm, failing = steady(before, canary=0.01, control=0.01), steady(3, canary=1.0, control=0.01)
    whole = TickCounts(*(np.concatenate([getattr(calm, name), getattr(failing, name)]) for name in NAMES))
    _, trace = run(warm(), whole, head_starts=heads(before + 3))
    assert trace.breach[before:].any(axis=0).all()
    assert not trace.breach[:before].any()


def test_the_cap_of_a_tick_grows_with_the_known_canary_clumps() -> None:
    ticks_seen = np.array([0.0, 1.0, 30.0, 90.0, 1e9])
    caps = cap(ticks_seen, np.full(5, 1e9))
    assert caps[0] == 1.0
    assert caps[1] == pytest.approx(0.55 + 1.65 / 31)
    assert caps[2] == pytest.approx(0.55 + 1.65 / 2)
    assert np.all(np.diff(caps[1:]) > 0)
    assert caps[-1] == pytest.approx(2.2)
    # many ticks with few events tell nothing of clumps
    assert cap(ticks_seen, np.zeros(5)) == pytest.approx([1.0, caps[1], 0.95, 0.95, 0.95])
    assert cap(np.array(1e9), np.array(20.0)) == pytest.approx((0.95 + 2.2) / 2)
    # the largest that a single tick may be worth leaves a head start of 1/4 under the line
    assert math.log(0.25) + caps[0] * math.log(400) < math.log(400)


def test_no_evidence_of_one_tick_is_above_its_cap() -> None:
    state, _ = run(warm(), steady(60, canary=0.01, control=0.01))
    after, _ = run(state, steady(1, canary=1.0, control=0.01))
    failing, nothing = steady(1, canary=1.0, control=0.01), np.zeros(WIDTH, dtype=np.bool_)
    control, canary = (
        dispersion.CohortSteps(events, trials, trials > 0)
        for events, trials in (
            (failing.control_events, failing.control_trials),
            (failing.canary_events, failing.canary_trials),
        )
    )
    outlook, _ = dispersion.look_ahead(
        state.past, control, canary, dispersion.Kinds(state.planes.shift > 0, nothing, nothing)
    )
    seen, clumps = (each[0, state.first_bound] for each in (outlook.canary_ticks, outlook.canary_clumps))
    most = cap(seen, clumps) * np.log(state.needed)
    np.testing.assert_allclose(after.excursions.max(axis=1) - state.excursions.max(axis=1), most, rtol=1e-9)


def test_a_head_start_brings_the_trip_forward() -> None:
    counts, starts = steady(40, canary=0.06, control=0.01), np.zeros((40, 3))
    starts[0] = 0.25
    _, without = run(warm(), counts)
    _, with_start = run(warm(), counts, head_starts=starts)
    assert with_start.breach[:, 0].argmax() < without.breach[:, 0].argmax()


def test_crossing_one_bound_after_the_other_is_no_breach() -> None:
    # canary 1.5 %, control 1 %: worse than control but under 2 %; then both 40 %: over 2 % but not worse
    for order in (1, -1):
        halves = [steady(300, canary=0.015, control=0.01), steady(300, canary=0.4, control=0.4)][::order]
        state, first = run(warm(), halves[0])
        _, second = run(state, halves[1])
        assert not first.breach[:, 0].any()
        assert not second.breach[:, 0].any()
