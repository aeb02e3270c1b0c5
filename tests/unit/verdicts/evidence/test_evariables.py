"""One tick's evidence: exact projections, and means that never exceed 1 within the bound."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.special import xlogy

from killswitch.verdicts.evidence.detector import ALTERNATIVES
from killswitch.verdicts.evidence.evariables import Array, TickCounts, half_planes, information, log_evidence, project
from killswitch.verdicts.evidence.tested_limits import HalfPlane

GRID = np.array(ALTERNATIVES)


def one(value: float) -> Array:
    return np.array([value], dtype=np.float64)


def divergence(p: float, q: float) -> float:
    return float(xlogy(p, p / q) + xlogy(1 - p, (1 - p) / (1 - q)))


shares = st.floats(1e-6, 0.999)
trials = st.floats(0.5, 1e6)


@given(
    ratio=st.floats(0.1, 5),
    shift=st.floats(1e-4, 0.9),
    share=shares,
    excess=st.floats(1.01, 50),
    n_c=trials,
    n_b=trials,
)
@settings(deadline=None)
def test_the_projection_is_the_numerical_minimum_to_nine_digits(
    ratio: float, shift: float, share: float, excess: float, n_c: float, n_b: float
) -> None:
    boundary = ratio * share + shift
    assume(boundary < 0.999)
    outside = excess * boundary / (1 + (excess - 1) * boundary)
    b = float(
        project(
            one(ratio),
            one(shift),
            canary_trials=one(n_c),
            control_trials=one(n_b),
            canary_share=one(outside),
            control_share=one(share),
        )[0]
    )

    def slope(x: float) -> float:
        c = ratio * x + shift
        return n_c * ratio * (c - outside) / (c * (1 - c)) + n_b * (x - share) / (x * (1 - x))

    def distance(x: float) -> float:
        return n_c * divergence(outside, ratio * x + shift) + n_b * divergence(share, x)

    high = min((outside - shift) / ratio, 1 - 1e-15)
    zero = brentq(slope, share, high, xtol=1e-300, rtol=1e-14)
    assert b == pytest.approx(zero, rel=1e-9)
    # and the zero is the minimum, as far as differences of the distance can tell
    best = minimize_scalar(distance, bounds=(share, high), method="bounded", options={"xatol": 1e-12})
    assert distance(b) <= best.fun + 1e-9 * (n_c + n_b)


def exact_mean(plane: HalfPlane, p_c: float, p_b: float, sizes: tuple[int, int], share: float) -> Array:
    """E exp(L) by enumeration of every outcome of n_c and n_b trials, one number an alternative."""
    n_c, n_b = sizes
    outcomes = list(itertools.product(range(n_c + 1), range(n_b + 1)))
    x_c, x_b = (np.array(column, dtype=np.float64)[:, None] for column in zip(*outcomes, strict=True))
    counts = TickCounts(x_c, np.full_like(x_c, n_c), x_b, np.full_like(x_b, n_b))
    log_e = log_evidence(half_planes((plane,)), counts, np.full_like(x_c, share), GRID)[:, 0, :]
    chance = np.array(
        [
            math.comb(n_c, i) * p_c**i * (1 - p_c) ** (n_c - i) * math.comb(n_b, j) * p_b**j * (1 - p_b) ** (n_b - j)
            for i, j in outcomes
        ]
    )
    mean: Array = chance @ np.exp(log_e)
    return mean


@pytest.mark.parametrize("sizes", [(8, 3), (2, 12), (1, 1), (5, 5)])
@pytest.mark.parametrize(
    "plane",
    [
        HalfPlane(0.0, 0.02),
        HalfPlane(0.0, 0.5),
        HalfPlane(1.0, 0.0),
        HalfPlane(2.0, 0.0),
        HalfPlane(1.0, 0.05),
        HalfPlane(1.0, 0.4),
        HalfPlane(2.0, 0.01),
        HalfPlane(0.5, 0.1),
    ],
    ids=str,
)
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5])
def test_the_mean_is_at_most_one_everywhere_within_the_bound(
    plane: HalfPlane, sizes: tuple[int, int], share: float
) -> None:
    for p_b in (0.0, 0.01, 0.1, 0.3, 0.5, 0.8, 1.0):
        boundary = min(plane.ratio * p_b + plane.shift, 1.0)
        for p_c in (0.0, boundary / 2, boundary):
            assert np.all(exact_mean(plane, p_c, p_b, sizes, share) <= 1 + 1e-9)


def test_the_mean_reaches_one_on_the_boundary_it_was_projected_to() -> None:
    # conservative everywhere would pass the test above and see nothing
    mean = exact_mean(HalfPlane(0.0, 0.2), 0.2, 0.1, (8, 3), 0.1)
    assert mean == pytest.approx(np.ones(GRID.size))


def test_a_boundary_beyond_every_share_gives_no_evidence() -> None:
    counts = TickCounts(one(100), one(100), one(95), one(100))
    assert np.all(log_evidence(half_planes((HalfPlane(1.0, 0.05),)), counts, one(0.96), GRID) == 0)
    assert np.all(log_evidence(half_planes((HalfPlane(0.0, 1.0),)), counts, one(0.96), GRID) == 0)


@pytest.mark.parametrize("plane", [HalfPlane(1.0, 0.0), HalfPlane(1.0, 0.05)])
def test_a_cohort_without_trials_is_no_evidence_for_a_comparison(plane: HalfPlane) -> None:
    for n_c, n_b in ((0.0, 50.0), (50.0, 0.0)):
        counts = TickCounts(one(n_c), one(n_c), one(n_b), one(n_b))
        assert np.all(log_evidence(half_planes((plane,)), counts, one(0.1), GRID) == 0)


def test_information_is_what_the_best_test_gains_a_tick() -> None:
    # errors 1 % -> 10 % against a limit of 2 %, 75 canary requests a tick: KL by hand
    expected = 75 * (0.1 * math.log(0.1 / 0.02) + 0.9 * math.log(0.9 / 0.98))
    gained = information(
        HalfPlane(0.0, 0.02), canary_trials=75, control_trials=1425, canary_share=0.1, control_share=0.01
    )
    assert gained == pytest.approx(expected)


def test_information_is_zero_within_the_bound() -> None:
    within = {"canary_trials": 75, "control_trials": 1425, "canary_share": 0.05, "control_share": 0.02}
    assert information(HalfPlane(1.0, 0.05), **within) == 0


def test_information_is_finite_where_every_request_fails() -> None:
    everything = {"canary_trials": 75, "control_trials": 1425, "canary_share": 1.0, "control_share": 0.0}
    assert 0 < information(HalfPlane(2.0, 0.0), **everything) < math.inf


@pytest.mark.parametrize(
    ("plane", "p_c", "p_b"),
    [(HalfPlane(1.0, 0.05), 0.2, 0.02), (HalfPlane(2.0, 0.0), 0.1, 0.01), (HalfPlane(1.0, 0.0), 0.03, 0.01)],
)
@pytest.mark.parametrize(("n_c", "n_b"), [(75.0, 1425.0), (1.0, 1.0)])
def test_information_is_the_distance_from_the_half_plane(
    plane: HalfPlane, p_c: float, p_b: float, n_c: float, n_b: float
) -> None:
    def distance(b: float) -> float:
        return n_c * divergence(p_c, plane.ratio * b + plane.shift) + n_b * divergence(p_b, b)

    nearest = minimize_scalar(distance, bounds=(p_b, (p_c - plane.shift) / plane.ratio), method="bounded")
    gained = information(plane, canary_trials=n_c, control_trials=n_b, canary_share=p_c, control_share=p_b)
    assert gained == pytest.approx(nearest.fun, rel=1e-6)


def test_a_cohort_without_requests_informs_of_nothing() -> None:
    about = {"canary_share": 0.2, "control_share": 0.02}
    assert information(HalfPlane(1.0, 0.05), canary_trials=0, control_trials=9, **about) == 0.0
    assert information(HalfPlane(1.0, 0.05), canary_trials=9, control_trials=0, **about) == 0.0


@pytest.mark.parametrize(
    "plane", [HalfPlane(1.0, 0.0), HalfPlane(2.5, 0.0), HalfPlane(1.0, 0.05), HalfPlane(2.0, 0.01)]
)
@pytest.mark.parametrize(
    ("x_c", "n_c", "x_b", "n_b"),
    [
        (6.0, 75.0, 14.0, 1425.0),
        (0.0, 75.0, 0.0, 1425.0),
        (1.0, 1.0, 1.0, 1.0),
        (0.2, 0.3, 0.1, 0.4),
        (9.0, 9.0, 2.0, 8.0),
    ],
)
@pytest.mark.parametrize("share", [0.01, 0.2])
def test_the_evidence_of_a_tick_is_a_likelihood_ratio(
    plane: HalfPlane, x_c: float, n_c: float, x_b: float, n_b: float, share: float
) -> None:
    """By the text: with shift 0 of the events' split between the cohorts, else of both cohorts' binomials."""
    found = log_evidence(half_planes((plane,)), TickCounts(one(x_c), one(n_c), one(x_b), one(n_b)), one(share), GRID)[0]
    for m, gained in zip(ALTERNATIVES, found, strict=True):
        if plane.shift == 0:
            q0 = plane.ratio * n_c / (plane.ratio * n_c + n_b)
            q1 = m * plane.ratio * n_c / (m * plane.ratio * n_c + n_b)
            expected = x_c * math.log(q1 / q0) + x_b * math.log((1 - q1) / (1 - q0))
        else:
            boundary = plane.ratio * share + plane.shift
            p_c = m * boundary / (1 + (m - 1) * boundary)
            b = nearest(plane, p_c, share, n_c, n_b)
            c = plane.ratio * b + plane.shift
            expected = (
                x_c * math.log(p_c / c) + (n_c - x_c) * math.log((1 - p_c) / (1 - c))
                + x_b * math.log(share / b) + (n_b - x_b) * math.log((1 - share) / (1 - b))
            )  # fmt: skip
        assert gained == pytest.approx(expected, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("limit", [0.02, 0.3])
@pytest.mark.parametrize(("x_c", "n_c"), [(6.0, 75.0), (0.0, 75.0), (1.0, 1.0), (9.0, 9.0), (12.0, 9.0), (0.2, 0.3)])
def test_the_evidence_over_a_limit_is_a_likelihood_ratio(limit: float, x_c: float, n_c: float) -> None:
    """Whatever control does; more events than requests are as many."""
    counts = TickCounts(one(x_c), one(n_c), one(0.0), one(0.0))
    found = log_evidence(half_planes((HalfPlane(0.0, limit),)), counts, one(0.1), GRID)[0]
    events = min(x_c, n_c)
    for m, gained in zip(ALTERNATIVES, found, strict=True):
        p_c = m * limit / (1 + (m - 1) * limit)
        expected = events * math.log(p_c / limit) + (n_c - events) * math.log((1 - p_c) / (1 - limit))
        assert gained == pytest.approx(expected, rel=1e-9)


def nearest(plane: HalfPlane, p_c: float, p_b: float, n_c: float, n_b: float) -> float:
    """Control's share at the point of the half plane that is nearest to (p_c, p_b)."""

    def slope(b: float) -> float:
        c = plane.ratio * b + plane.shift
        return n_c * plane.ratio * (c - p_c) / (c * (1 - c)) + n_b * (b - p_b) / (b * (1 - b))

    return float(brentq(slope, p_b, min((p_c - plane.shift) / plane.ratio, 1 - 1e-12), xtol=1e-300, rtol=1e-14))
