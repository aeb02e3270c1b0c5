"""What control's past says about bursts, and how little one incident may disturb it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.scenarios import clumped
from killswitch.verdicts.evidence import dispersion
from killswitch.verdicts.evidence.dispersion import COLD_PHI, CohortSteps, Kinds, Past
from killswitch.verdicts.evidence.evariables import Array

pytestmark = pytest.mark.simulation


def series(events: Array, trials: float) -> CohortSteps:
    return CohortSteps(events, np.full(events.shape, trials), np.ones(events.shape, dtype=np.bool_))


def kinds_of(width: int, *, binomial: bool = False, long: bool = False, auto: bool = False) -> Kinds:
    return Kinds(*(np.full(width, kind) for kind in (binomial, long, auto)))


def look(events: Array, trials: float = 1425.0, *, long: bool = False, past: Past | None = None) -> tuple[Array, Past]:
    width = events.shape[1]
    kinds = kinds_of(width, long=long)
    control = series(events, trials)
    nobody = series(np.zeros(events.shape), 0.0)
    outlook, after = dispersion.look_ahead(past or dispersion.empty_past(width), control, nobody, kinds)
    return outlook.phi, after


def test_independent_events_have_a_phi_near_one() -> None:
    phi, _ = look(np.random.default_rng(1).poisson(14.0, (1000, 100)).astype(np.float64))
    assert phi[-1].mean() < 1.12


@pytest.mark.parametrize("clump", [2.0, 4.0, 8.0])
def test_clumps_raise_phi_by_their_variance_over_their_mean(clump: float) -> None:
    phi, _ = look(clumped(np.full((1500, 200), 14.0), clump, np.random.default_rng(2)))
    # variance / mean is 2 k - 1, phi 1 + 1.5 (that - 1)
    assert phi[-1].mean() == pytest.approx(1 + 1.5 * (2 * clump - 2), rel=0.15)


def test_looking_ahead_leaves_the_past_as_it_was() -> None:
    """The same ticks after the same past give the same phi, however often: the past is copied before it is moved on."""
    events = np.random.default_rng(5).poisson(14.0, (200, 3)).astype(np.float64)
    _, past = look(events[:150], long=True)
    first, once = look(events[150:], long=True, past=past)
    second, twice = look(events[150:], long=True, past=past)
    assert np.array_equal(first, second)
    assert np.array_equal(once.control.squares, twice.control.squares)
    assert not np.array_equal(once.control.squares, past.control.squares)


def test_one_incident_hardly_moves_phi() -> None:
    rng = np.random.default_rng(3)
    events = rng.poisson(14.0, (600, 100)).astype(np.float64)
    events[300:320] = rng.binomial(1425, 0.4, (20, 100))
    phi, _ = look(events)
    assert phi[321].mean() < 3.0


def test_phi_never_knows_the_tick_it_is_used_in() -> None:
    events = np.random.default_rng(4).poisson(14.0, (200, 3)).astype(np.float64)
    changed = events.copy()
    changed[150] *= 9
    plain, moved = look(events)[0], look(changed)[0]
    assert np.array_equal(plain[:151], moved[:151])
    assert not np.array_equal(plain[151], moved[151])


def test_in_the_first_hour_phi_stays_above_a_fading_prior() -> None:
    phi, _ = look(np.random.default_rng(5).poisson(14.0, (130, 20)).astype(np.float64))
    assert np.all(phi[0] == COLD_PHI)
    assert np.all(np.diff(phi[:120], axis=0) <= 0)
    assert np.all(phi[119] > 2.0)
    assert np.all(phi[120:] < 2.0)


def test_long_blocks_see_what_lasts_minutes() -> None:
    rng = np.random.default_rng(6)
    slow = np.repeat(rng.gamma(1.0, 14.0, (150, 50)), 20, axis=0)
    events = rng.poisson(slow).astype(np.float64)
    short, long = look(events)[0][-1], look(events, long=True)[0][-1]
    assert np.median(long) > 2 * np.median(short)


def phi_of(events: Array, **kind: bool) -> Array:
    width = events.shape[1]
    nobody = series(np.zeros(events.shape), 0.0)
    control = series(events, 1425.0)
    outlook, _ = dispersion.look_ahead(dispersion.empty_past(width), control, nobody, kinds_of(width, **kind))
    return outlook.phi


def test_auto_is_long_where_controls_clumps_last_minutes() -> None:
    rng = np.random.default_rng(6)
    storms = np.repeat(rng.poisson(1.0, (75, 40)), 20, axis=0)
    events = rng.poisson(8.0 + 6.0 * storms).astype(np.float64)
    assert np.mean(phi_of(events, auto=True)[-1] == phi_of(events, long=True)[-1]) > 0.9
    assert np.median(phi_of(events, long=True)[-1]) > 3 * np.median(phi_of(events)[-1])


@pytest.mark.parametrize("incident", [False, True])
def test_auto_is_short_for_independent_events_or_one_incident(*, incident: bool) -> None:
    rng = np.random.default_rng(14)
    events = rng.poisson(14.0, (900, 40)).astype(np.float64)
    if incident:
        events[600:620] = rng.binomial(1425, 0.4, (20, 40))
    assert np.mean(phi_of(events, auto=True)[640:] == phi_of(events)[640:]) > 0.95


def test_auto_is_short_when_a_busy_rate_wanders_by_15_percent() -> None:
    rng = np.random.default_rng(16)
    seconds = 30.0 * np.arange(600)[:, None]
    waves = [np.sin(2 * np.pi * seconds / period + rng.uniform(0, 6.3, 40)) for period in (420.0, 1100.0, 2900.0)]
    events = rng.poisson(60.0 * np.exp(0.08 * sum(waves))).astype(np.float64)
    phi, long = phi_of(events, auto=True)[300:], phi_of(events, long=True)[300:]
    assert np.median(long) > 2 * np.median(phi)
    assert np.mean(phi == phi_of(events)[300:]) > 0.98


def test_where_only_first_requests_are_counted_auto_is_short() -> None:
    rng = np.random.default_rng(6)
    storms = np.repeat(rng.poisson(1.0, (75, 40)), 20, axis=0)
    control = series(rng.poisson(8.0 + 6.0 * storms).astype(np.float64), 1425.0)
    no_canary = series(np.zeros(control.events.shape), 0.0)
    kinds = kinds_of(40, auto=True)
    first_requests = np.arange(len(control.events))[:, None] >= 1000
    outlook, _ = dispersion.look_ahead(
        dispersion.empty_past(40), control, no_canary, replace(kinds, first_requests=first_requests.repeat(40, axis=1))
    )
    short, long = phi_of(control.events), phi_of(control.events, long=True)
    assert np.mean(outlook.phi[900:1000] == long[900:1000]) > 0.9
    assert np.array_equal(outlook.phi[1000:], short[1000:])


def test_long_blocks_count_also_while_first_requests_are_judged() -> None:
    events = np.random.default_rng(17).poisson(14.0, (200, 4)).astype(np.float64)
    control, no_canary = series(events, 1425.0), series(np.zeros(events.shape), 0.0)
    kinds = kinds_of(4, auto=True)
    pasts = [
        dispersion.look_ahead(dispersion.empty_past(4), control, no_canary, replace(kinds, first_requests=mask))[1]
        for mask in (None, np.ones(events.shape, dtype=np.bool_))
    ]
    assert np.array_equal(pasts[0].control.squares, pasts[1].control.squares)
    assert np.all(pasts[0].control.squares[:, 1] > 0)


def test_the_jump_of_a_regression_does_not_raise_phi() -> None:
    rng = np.random.default_rng(15)
    control = series(rng.poisson(14.0, (300, 40)).astype(np.float64), 1425.0)
    events = rng.poisson(0.75, (300, 40)).astype(np.float64)
    kinds = kinds_of(40, binomial=True)
    calm, _ = dispersion.look_ahead(dispersion.empty_past(40), control, series(events, 75.0), kinds)
    events[250:] = 75.0
    jumped, _ = dispersion.look_ahead(dispersion.empty_past(40), control, series(events, 75.0), kinds)
    # the jump is the pair that ends with tick 250; it is known three pairs after the next tick
    known = 251 + dispersion.OWN_LAG
    assert np.array_equal(jumped.phi[:known], calm.phi[:known])
    assert np.all(jumped.phi[known] > calm.phi[known])


def test_blocks_that_straddle_calls_are_counted_once() -> None:
    events = np.random.default_rng(7).poisson(14.0, (200, 4)).astype(np.float64)
    whole, _ = look(events, long=True)
    first, past = look(events[:73], long=True)
    second, _ = look(events[73:], long=True, past=past)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-12)


def test_the_share_of_any_control_stays_in_the_unit_interval() -> None:
    for level in (0.0, 1425.0, 4000.0):
        events = np.full((500, 1), level)
        kinds = kinds_of(1, binomial=True)
        both = series(events, 1425.0)
        outlook, _ = dispersion.look_ahead(dispersion.empty_past(1), both, both, kinds)
        assert np.all((outlook.share > 0) & (outlook.share < 1))
        assert np.all(np.isfinite(outlook.phi))


def test_a_control_too_small_to_show_bursts_uses_the_canarys() -> None:
    rng = np.random.default_rng(8)
    control = series(rng.poisson(0.05, (800, 40)).astype(np.float64), 15.0)
    canary = series(clumped(np.full((800, 40), 7.5), 8.0, rng), 1485.0)
    kinds = kinds_of(40)
    outlook, _ = dispersion.look_ahead(dispersion.empty_past(40), control, canary, kinds)
    assert np.median(outlook.phi[-1]) > 10


def test_clumps_in_the_canary_alone_raise_phi() -> None:
    rng = np.random.default_rng(9)
    control = series(rng.poisson(14.0, (800, 40)).astype(np.float64), 1425.0)
    canary = series(clumped(np.full((800, 40), 7.5), 8.0, rng), 75.0)
    kinds = kinds_of(40)
    outlook, _ = dispersion.look_ahead(dispersion.empty_past(40), control, canary, kinds)
    # variance / mean is 15 and phi 22 where all is known; drawn to 1, and no less than a third of it
    assert np.median(outlook.phi[-1]) > 7.0


def test_a_canary_of_independent_events_earns_no_doubt() -> None:
    rng = np.random.default_rng(9)
    control = series(rng.poisson(14.0, (800, 40)).astype(np.float64), 1425.0)
    canary = series(rng.poisson(0.75, (800, 40)).astype(np.float64), 75.0)
    outlook, _ = dispersion.look_ahead(dispersion.empty_past(40), control, canary, kinds_of(40))
    assert np.median(outlook.phi[-1]) < 1.2


@pytest.mark.parametrize(("clump", "jitter"), [(1.0, 0.5), (4.0, 0.0)])
def test_clumps_but_no_common_moves_raise_the_doubt_on_a_ratio(clump: float, jitter: float) -> None:
    rng = np.random.default_rng(10)
    common = np.exp(jitter * rng.normal(size=(1500, 40)) - jitter**2 / 2)
    draw = rng.poisson if clump == 1.0 else lambda mean: clumped(mean, clump, rng)
    control = series(np.asarray(draw(70.0 * common), dtype=np.float64), 1425.0)
    canary = series(np.asarray(draw(4.0 * common), dtype=np.float64), 75.0)
    phi = {}
    for binomial in (False, True):
        kinds = kinds_of(40, binomial=binomial)
        outlook, _ = dispersion.look_ahead(dispersion.empty_past(40), control, canary, kinds)
        phi[binomial] = float(np.median(outlook.phi[-1]))
    if jitter:
        assert phi[False] < 0.3 * phi[True]
    else:
        assert phi[False] > 0.7 * (1 + 1.5 * (2 * clump - 2))


def test_few_clumps_do_not_show_a_small_controls_dispersion() -> None:
    rng = np.random.default_rng(11)
    control = series(clumped(np.full((800, 200), 0.75), 8.0, rng), 15.0)
    canary = series(clumped(np.full((800, 200), 74.0), 8.0, rng), 1485.0)
    outlook, _ = dispersion.look_ahead(dispersion.empty_past(200), control, canary, kinds_of(200))
    # 150 of its events are 19 clumps: alone, one control in twenty would look half as clumpy as it is
    assert np.quantile(outlook.phi[400:], 0.01) > 0.6 * np.median(outlook.phi[400:])


def test_a_canary_busier_than_control_shows_its_own_jitter() -> None:
    # what moves rates shows in proportion to a cohort's events: control's few show less of it
    rng = np.random.default_rng(12)
    jitter = np.exp(0.5 * rng.normal(size=(1500, 40)) - 0.125)
    control = series(rng.poisson(12.0 * jitter).astype(np.float64), 1125.0)
    canary = series(rng.poisson(23.0 * jitter).astype(np.float64), 375.0)
    quiet = series(np.full((1500, 40), 23.0), 375.0)
    phi = {}
    for name, side in (("jittering", canary), ("quiet", quiet)):
        outlook, _ = dispersion.look_ahead(dispersion.empty_past(40), control, side, kinds_of(40, binomial=True))
        phi[name] = float(np.median(outlook.phi[-1]))
    assert phi["jittering"] > 1.5 * phi["quiet"]


@pytest.mark.parametrize("tiny", [5e-324, 1e-310, 1e-200, 1e-12])
def test_counts_too_small_to_be_counts_leave_no_trace_in_the_past(tiny: float) -> None:
    rng = np.random.default_rng(13)
    events, trials = rng.poisson(14.0, (300, 2)).astype(np.float64), np.full((300, 2), 1425.0)
    events[100:110, 0] = trials[100:105, 1] = tiny
    seen = np.ones(events.shape, dtype=np.bool_)
    both = CohortSteps(events, trials, seen)
    outlook, _ = dispersion.look_ahead(dispersion.empty_past(2), both, both, kinds_of(2, binomial=True))
    assert np.all(np.isfinite(outlook.phi))
    assert np.all(outlook.phi[-1] < COLD_PHI)
