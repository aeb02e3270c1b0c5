"""The recursion of evidence to the number, beside the one in the text."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from killswitch.model import Bursts
from killswitch.verdicts.evidence import DetectorSpec, Evidence, combine, select, start, warm_up
from killswitch.verdicts.evidence.detector import ALTERNATIVES, WEIGHTS, _accumulate, _Walk
from killswitch.verdicts.evidence.evariables import LARGEST_COUNT, Array, log_evidence
from tests.unit.verdicts.evidence.counted_ticks import (
    ALL,
    INCREASE,
    MAX,
    NAMES,
    STEP,
    WIDTH,
    run,
    same,
    steady,
    ticks,
    warm,
    with_row,
)


def by_hand(state: Evidence, log_e: Array, walk: _Walk) -> tuple[Array, Array]:
    """The recursion in plain numbers, one rule and one alternative at a time: its value and its since."""
    sums, excursions, since = np.exp(state.log_sums).tolist(), state.excursions.tolist(), state.since.tolist()
    values, dates = np.empty(walk.updates.shape), np.empty(walk.updates.shape)
    for row, tick in enumerate(walk.ticks):
        for rule, spec in enumerate(state.specs):
            over = float(np.dot(WEIGHTS, sums[rule])) >= 1 / spec.alpha
            update = walk.updates[row, rule]
            for j in range(len(ALTERNATIVES)):
                if walk.renewed[row, rule] or (over and update and not spec.stands):
                    sums[rule][j], excursions[rule][j], since[rule][j] = 0.0, 0.0, math.nan
                sums[rule][j] += walk.head_starts[row, rule]
                if update:
                    sums[rule][j] = (sums[rule][j] + 0.5 * walk.step / 86_400) * math.exp(log_e[row, rule, j])
                    grown = excursions[rule][j] + log_e[row, rule, j]
                    excursions[rule][j] = max(grown, 0.0)
                    if grown <= 0:
                        since[rule][j] = tick
                    elif math.isnan(since[rule][j]):
                        since[rule][j] = tick - walk.step
                if spec.stands and walk.updates[row].any():
                    sums[rule][j] = min(sums[rule][j], 20 / spec.alpha)
            values[row, rule] = np.dot(WEIGHTS, sums[rule])
            dates[row, rule] = since[rule][int(np.argmax(sums[rule]))]
    return values, dates


@pytest.mark.parametrize("seed", range(6))
def test_the_recursion_is_the_one_in_the_text(seed: int) -> None:
    """With updates left out, head starts, renewals, breaches that end and one that stands."""
    rng = np.random.default_rng(seed)
    specs = (*(replace(spec, alpha=0.05) for spec in ALL), replace(MAX, key="split", alpha=0.02, stands=True))
    shape = (80, len(specs))
    walk = _Walk(
        ticks(80),
        STEP,
        rng.random(shape) < 0.8,
        np.where(rng.random(shape) < 0.1, 0.25, 0.0),
        rng.random(shape) < 0.03,
    )
    log_e = rng.normal(0.1, 1.5, (*shape, len(ALTERNATIVES))) * (
        rng.random((*shape, 1)) < 0.8
    )  # a tick may say nothing
    after, values, since = _accumulate(start(specs), log_e, walk)
    expected, dates = by_hand(start(specs), log_e, walk)
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    np.testing.assert_array_equal(since, dates)
    assert (values >= after.needed).any(axis=0).all()  # each rule has breached at least once
    # and in two parts as in one
    first, _, _ = _accumulate(start(specs), log_e[:37], rows(walk, slice(0, 37)))
    second, later, when = _accumulate(first, log_e[37:], rows(walk, slice(37, 80)))
    np.testing.assert_allclose(later, expected[37:], rtol=1e-9)
    np.testing.assert_array_equal(when, dates[37:])
    np.testing.assert_allclose(second.log_sums, after.log_sums, rtol=1e-9)
    np.testing.assert_allclose(second.excursions, after.excursions, rtol=1e-9)
    np.testing.assert_array_equal(second.since, after.since)


def rows(walk: _Walk, some: slice) -> _Walk:
    return _Walk(walk.ticks[some], walk.step, walk.updates[some], walk.head_starts[some], walk.renewed[some])


def test_a_hedged_tick_stakes_a_tenth_of_the_evidence() -> None:
    counts, everyone = steady(1, canary=0.08, control=0.01), np.ones((1, 3), dtype=np.bool_)
    plain, _ = run(warm(), counts)
    hedged, _ = run(warm(), counts, hedged=everyone)
    gained = plain.excursions
    plainly = (gained > 0.1) & (gained < math.log(400))  # none is at a first tick's cap, where a hedge is none
    assert np.asarray(plainly.any(axis=1))[1:].all()
    np.testing.assert_allclose(hedged.excursions[plainly], np.log(0.9 + 0.1 * np.exp(gained[plainly])), rtol=1e-9)
    none, _ = run(warm(), counts, hedged=~everyone)
    np.testing.assert_array_equal(none.excursions, plain.excursions)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("value", "impossible"), [(LARGEST_COUNT, False), (LARGEST_COUNT * 1.01, True), (-1e-6, False), (-2e-6, True)]
)
def test_the_largest_and_smallest_counts_are_counts(name: str, value: float, impossible: bool) -> None:
    events = name.endswith("events")
    other = name.replace("events", "trials") if events else name.replace("trials", "events")
    beside = {other: value} if events and value > 0 else {other: 0.0}
    _, trace = run(warm(), with_row(steady(1, canary=0.01, control=0.01), 0, **{**beside, name: value}))
    assert trace.numeric.all() == trace.numeric.any() == impossible


def test_every_array_has_to_fit() -> None:
    state, good = warm(), steady(3, canary=0.01, control=0.01)
    for name in NAMES:
        with pytest.raises(ValueError, match=r"^expected an array of shape \(3, 4\), got \(3, 5\)$"):
            run(state, replace(good, **{name: np.ones((3, 5))}))
    for name in ("head_starts", "paused", "renewed", "hedged", "first_requests"):
        with pytest.raises(ValueError, match=r"^expected an array of shape \(3, 3\), got \(2, 3\)$"):
            run(state, good, **{name: np.zeros((2, 3), dtype=np.bool_)})


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (DetectorSpec("x", (), 0.01), "rule 'x' has no bounds: evidence cannot judge it"),
        (DetectorSpec("x", MAX.bounds, 0.0), "rule 'x': alpha must be between 0 and 1, got 0.0"),
        (DetectorSpec("x", MAX.bounds, 1.0), "rule 'x': alpha must be between 0 and 1, got 1.0"),
        (DetectorSpec("x", MAX.bounds, math.nan), "rule 'x': alpha must be between 0 and 1, got nan"),
    ],
)
def test_why_evidence_cannot_judge_a_rule_is_said(spec: DetectorSpec, says: str) -> None:
    with pytest.raises(ValueError, match="rule 'x'") as refused:
        start([spec])
    assert str(refused.value) == says


def test_nothing_is_known_at_the_start() -> None:
    state = start(ALL)
    assert state.needed.tolist() == [400.0] * 3
    assert state.first_bound.tolist() == [0, 2, 3]
    assert state.value.tolist() == [0.0] * 3
    assert state.warming_up.tolist() == [True] * 3
    assert np.isnan(state.since).all()
    assert (state.excursions == 0).all()
    assert combine([]).specs == ()


def test_clumps_divide_the_evidence_of_a_tick() -> None:
    clumps = 4.0 * np.random.default_rng(5).poisson(14 / 4, (300, 1)).astype(np.float64)
    state = warm_up(start((INCREASE,)), clumps, np.full((300, 1), 1425.0))
    counts = steady(1, canary=0.12, control=0.01, width=1)
    after, trace = run(state, counts)
    assert trace.phi.item() > 1.5
    plain = log_evidence(state.planes, counts, trace.control_share, np.array(ALTERNATIVES))[0]
    np.testing.assert_allclose(after.excursions, np.maximum(plain / trace.phi.item(), 0.0), rtol=1e-9)


def test_excursions_are_carried_through_selecting_and_combining() -> None:
    state, _ = run(warm(), steady(3, canary=0.15, control=0.01))
    assert (state.excursions > 0).any(axis=1).all()
    apart = select(state, ["ratio", "max"])
    np.testing.assert_array_equal(apart.excursions, state.excursions[[2, 0]])
    again = select(combine([apart, select(state, ["increase"])]), ["max", "increase", "ratio"])
    assert same(again, state)


def test_bursts_that_last_minutes_count_where_a_rule_asks_for_it() -> None:
    """`auto` judges them as `long` does, but not at ticks where only users' first requests are counted."""
    kinds: tuple[Bursts, ...] = ("auto", "long", "short")
    specs = (MAX, *(replace(INCREASE, key=kind, bursts=kind) for kind in kinds))
    rng = np.random.default_rng(6)
    events = rng.poisson(np.repeat(rng.gamma(1.0, 14.0, 40), 20)).astype(np.float64)
    state = warm_up(start(specs), events[:, None].repeat(5, axis=1), np.full((800, 5), 1425.0))
    first = np.array([[True, False, True, False], [False, True, True, False]])
    _, trace = run(state, steady(2, canary=0.01, control=0.01, width=5), first_requests=first)
    maximum, increase, long, short = trace.phi[:, [0, 2, 3, 4]].T.tolist()
    assert long[0] > 2 * short[0]
    assert maximum == [short[0], long[1]]
    assert increase == [long[0], short[1]]


def test_only_a_bound_with_a_shift_has_the_binomials_variance() -> None:
    """At a share of a half the binomial has half the variance: the same clumps weigh twice as much."""
    clumps = 6.0 * np.random.default_rng(7).poisson(712.5 / 6, (300, 1)).astype(np.float64)
    state = warm_up(start(ALL), clumps.repeat(WIDTH, axis=1), np.full((300, WIDTH), 1425.0))
    _, trace = run(state, steady(1, canary=0.5, control=0.5))
    ratios = 1.0 + (trace.phi[0] - 1.0) / 1.5
    assert ratios[1] == ratios[3] > 3.0
    assert ratios[0] == ratios[2] == pytest.approx(2.0 * ratios[1], rel=0.05)


def test_no_ticks_have_a_trace_of_no_rows() -> None:
    _, trace = run(warm(), steady(0, canary=0.0, control=0.0))
    for name in ("evidence", "breach", "since", "updated", "numeric", "warming_up"):
        assert getattr(trace, name).shape == (0, 3)
    assert trace.phi.shape == trace.control_share.shape == (0, 4)
