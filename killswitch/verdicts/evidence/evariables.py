"""One tick's evidence: log e-variables against a half plane, in arrays.

An e-variable is a non-negative number whose mean is at most 1 while the canary is within the bound, whatever the
true rates are. `log_evidence` returns its logarithm. Sums of these logarithms over ticks are evidence that may be
looked at any number of times.

Shapes: ``B`` bounds, ``J`` alternatives, any leading axes (ticks, runs). Counts are events and trials
of one tick; fractions are allowed.

Sources: for ``shift == 0`` the conditional test of Lindon and Malek, "Anytime-Valid Inference For
Multinomial Count Data" (NeurIPS 2022), without the conditioning; for ``shift > 0`` the projection of
Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for
optional stopping" (2021), and Turner and Grünwald, "Exact anytime-valid confidence intervals for
contingency tables and beyond" (2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from killswitch.verdicts.evidence.tested_limits import HalfPlane

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# No service counts more in one step: the largest networks in the world serve 1e8 requests a second, 4e11 an hour.
LARGEST_COUNT = 1e12
# Rounding in a source's arithmetic; anything below this is not a count.
ROUNDING = -1e-6
# Beyond this share there is no room for an alternative, and 1 - share has too few digits left.
_NEARLY_ALL = 1.0 - 1e-9
_PROJECTION_STEPS = 100
_PROJECTION_TOLERANCE = 1e-13


@dataclass(frozen=True, slots=True)
class HalfPlanes:
    """``B`` half planes, sorted into the three kinds that have their own formulas."""

    ratio: Array
    shift: Array
    proportional: Indices  # shift == 0
    absolute: Indices  # ratio == 0
    sloped: Indices  # both positive

    @property
    def needs_control(self) -> npt.NDArray[np.bool_]:
        """Which bounds compare with control, (B,)."""
        return self.ratio > 0


def half_planes(bounds: tuple[HalfPlane, ...]) -> HalfPlanes:
    ratio = np.array([bound.ratio for bound in bounds], dtype=np.float64)
    shift = np.array([bound.shift for bound in bounds], dtype=np.float64)
    return HalfPlanes(
        ratio,
        shift,
        np.flatnonzero((shift == 0) & (ratio > 0)),
        np.flatnonzero(ratio == 0),
        np.flatnonzero((shift > 0) & (ratio > 0)),
    )


@dataclass(frozen=True, slots=True)
class TickCounts:
    """The counts of single ticks, (..., B): in the daemon and in replays (T, B) for T ticks.

    Both numbers of a cohort are NaN where a tick has no data for it. Any other NaN, infinity or negative number is
    not data either, but is reported (`killswitch.verdicts.evidence.detector.Trace.numeric`).
    """

    canary_events: Array
    canary_trials: Array
    control_events: Array
    control_trials: Array


@dataclass(frozen=True, slots=True)
class _Tests:
    """What a formula needs, broadcastable to (..., kind's bounds, J)."""

    ratio: Array
    shift: Array
    x_c: Array
    n_c: Array
    x_b: Array
    n_b: Array
    share: Array
    m: Array


def log_evidence(planes: HalfPlanes, counts: TickCounts, control_share: Array, alternatives: Array) -> Array:
    """The logarithms of the e-variables, (..., B, J), for counts that are all finite and not negative.

    ``control_share`` (..., B): p_b*, strictly between 0 and 1, known before the tick. ``alternatives`` (J,): factors
    above 1 on the odds of the boundary, or on the ratio where ``shift == 0``. A bound gives 0 if a cohort it needs
    has no trials.
    """
    result = np.zeros((*counts.canary_events.shape, alternatives.size))
    for kind, formula in (
        (planes.proportional, _proportional),
        (planes.absolute, _absolute),
        (planes.sloped, _sloped),
    ):
        if kind.size:
            result[..., kind, :] = formula(
                _Tests(
                    planes.ratio[kind][:, None],
                    planes.shift[kind][:, None],
                    counts.canary_events[..., kind, None],
                    counts.canary_trials[..., kind, None],
                    counts.control_events[..., kind, None],
                    counts.control_trials[..., kind, None],
                    control_share[..., kind, None],
                    alternatives,
                )
            )
    return result


def _proportional(t: _Tests) -> Array:
    """``L = x_c ln(q1/q0) + x_b ln((1-q1)/(1-q0))`` with q0 = r n_c / (r n_c + n_b), q1 = m r n_c / (m r n_c + n_b).

    With g = ln(1 + (m-1) q0) this is ``x_c (ln m - g) - x_b g``. The mean of exp(L) is at most 1 for every
    p_c <= r p_b: ln E <= p_b [r n_c (q1/q0 - 1) + n_b ((1-q1)/(1-q0) - 1)] = 0. The formula never uses n - x, so
    there may be more events than trials (feedback that arrives after its request's tick).
    """
    weighted = t.ratio * t.n_c
    total = weighted + t.n_b
    q0 = np.divide(weighted, total, out=np.zeros_like(total), where=total > 0)
    g = np.log1p((t.m - 1.0) * q0)
    return np.where((t.n_c > 0) & (t.n_b > 0), t.x_c * (np.log(t.m) - g) - t.x_b * g, 0.0)


def _absolute(t: _Tests) -> Array:
    """The likelihood ratio of ``p_c*`` (odds of the limit times m) to the limit: ``x_c ln m - n_c ln(1 + (m-1) d)``."""
    log_e = np.minimum(t.x_c, t.n_c) * np.log(t.m) - t.n_c * np.log1p((t.m - 1.0) * t.shift)
    return np.where(t.shift < _NEARLY_ALL, log_e, 0.0)


def _sloped(t: _Tests) -> Array:
    """The likelihood ratio of ``(p_c*, p_b*)`` to its projection ``(c0, b0)`` on the half plane, as a logarithm.

    0 where the boundary at p_b* leaves no room for an alternative.
    """
    on_boundary = t.ratio * t.share + t.shift
    usable = ((on_boundary < _NEARLY_ALL) & (t.n_c > 0) & (t.n_b > 0))[..., 0]

    def of(values: Array) -> Array:
        return np.broadcast_to(values, on_boundary.shape)[usable]

    ratio, shift, share, boundary = of(t.ratio), of(t.shift), of(t.share), of(on_boundary)
    n_c, n_b = of(t.n_c), of(t.n_b)
    x_c, x_b = np.minimum(of(t.x_c), n_c), np.minimum(of(t.x_b), n_b)
    grow = 1.0 + (t.m - 1.0) * boundary
    canary_share, canary_rest = t.m * boundary / grow, (1.0 - boundary) / grow
    b0 = project(ratio, shift, canary_trials=n_c, control_trials=n_b, canary_share=canary_share, control_share=share)
    c0 = ratio * b0 + shift
    log_e = np.zeros((*usable.shape, t.m.size))
    log_e[usable] = (
        x_c * np.log(canary_share / c0)
        + (n_c - x_c) * np.log(canary_rest / (1.0 - c0))
        + x_b * np.log(share / b0)
        + (n_b - x_b) * np.log((1.0 - share) / (1.0 - b0))
    )
    return log_e


def project(
    ratio: Array,
    shift: Array,
    *,
    canary_trials: Array,
    control_trials: Array,
    canary_share: Array,
    control_share: Array,
) -> Array:
    """b0: the control share at which ``n_c KL(p_c* || r b + d) + n_b KL(p_b* || b)`` is smallest.

    For points outside the half plane (``p_c* > r p_b* + d``), with trials and r above 0; all arguments broadcast. The
    function is convex in b, and its derivative changes sign between p_b* and (p_c* - d) / r. So Newton's method, with
    bisection as a guard, finds the zero of the derivative to the last digits.
    """
    r, d, n_c, n_b, p_c, p_b = np.broadcast_arrays(
        ratio, shift, canary_trials, control_trials, canary_share, control_share
    )
    low, high = p_b, np.minimum((p_c - d) / r, 1.0)
    # first guess: both divergences approximated by parabolas with the curvature at the point itself
    pull_c = r * n_c / (p_c * (1.0 - p_c))
    pull_b = n_b / (p_b * (1.0 - p_b))
    b = low + pull_c * (p_c - r * p_b - d) / (r * pull_c + pull_b)
    b = np.asarray(np.where(b < high, b, 0.5 * (low + high)))
    for _ in range(_PROJECTION_STEPS):
        c = r * b + d
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = n_c * r * (c - p_c) / (c * (1.0 - c)) + n_b * (b - p_b) / (b * (1.0 - b))
            curvature = n_c * r * r * (p_c / c**2 + (1.0 - p_c) / (1.0 - c) ** 2) + n_b * (
                p_b / b**2 + (1.0 - p_b) / (1.0 - b) ** 2
            )
            target = b - slope / curvature
        low, high = np.where(slope > 0, low, b), np.where(slope > 0, b, high)
        inside = (target >= low) & (target <= high)  # false for NaN as well
        target = np.where(inside, target, 0.5 * (low + high))
        moved = np.abs(target - b)
        b = np.asarray(target)
        if np.all(moved <= _PROJECTION_TOLERANCE * b):
            break
    return b


def information(
    plane: HalfPlane,
    *,
    canary_trials: float,
    control_trials: float,
    canary_share: float,
    control_share: float,
) -> float:
    """The most nats that a tick is worth: the divergence of the true rates from the half plane, 0 inside it.

    On average no valid test needs far fewer than ``ln(1/alpha) / information`` ticks.
    """
    if canary_share <= plane.ratio * control_share + plane.shift or canary_trials <= 0:
        return 0.0
    if plane.ratio == 0:
        return canary_trials * _divergence(canary_share, plane.shift)
    if control_trials <= 0:
        return 0.0
    inside = (min(max(share, 1e-12), 1.0 - 1e-12) for share in (canary_share, control_share))
    scalars = (plane.ratio, plane.shift, canary_trials, control_trials, *inside)
    r, d, n_c, n_b, p_c, p_b = (np.array([value], dtype=np.float64) for value in scalars)
    b = float(project(r, d, canary_trials=n_c, control_trials=n_b, canary_share=p_c, control_share=p_b)[0])
    c = plane.ratio * b + plane.shift
    return canary_trials * _divergence(canary_share, c) + control_trials * _divergence(control_share, b)


def _divergence(p: float, q: float) -> float:
    """Bernoulli KL(p || q) in nats."""
    terms = ((p, q), (1.0 - p, 1.0 - q))
    return cast("float", sum(a * np.log(a / b) for a, b in terms if a > 0))
