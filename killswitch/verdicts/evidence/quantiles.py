"""Turns histograms into events: how many requests were slower than an edge.

A quantile rule compares tails. tau is control's own quantile over the window *before* the tick, extended back until
it holds 2,000 requests or an hour. The canary's events are "slower than ``scale * tau + offset``", control's are
"slower than tau". Take any tau that was known before the tick. If the canary's tail near its quantile is no heavier
than control's, scaled, the canary has no more events per trial than control. So tau's noise, and slow-downs common
to both cohorts, cancel.

Counts and quantiles use the linear interpolation of PromQL's ``histogram_quantile``, so the limit is the limit that
a dashboard shows. Beyond the last finite edge nothing is known: the result is NaN, and the caller's reason is
SATURATED.

Shapes: ``K`` bucket edges (ascending, the last infinite) and cumulative counts (..., K).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from killswitch.verdicts.evidence.evariables import LARGEST_COUNT, ROUNDING, Array
from killswitch.verdicts.evidence.tested_limits import Bound, Edge

TAU_REQUESTS = 2_000.0
TAU_SECONDS = 3_600.0


def slower_than(edges: Array, cumulative: Array, seconds: Array | float) -> Array:
    """The number of requests slower than ``seconds`` (...), with fractions; NaN beyond the last finite edge.

    Within a bucket requests are spread evenly, and the first bucket begins at 0, as in PromQL.
    """
    finite = edges[:-1]
    seconds = np.asarray(seconds, dtype=np.float64)
    known = (seconds >= 0) & (seconds <= finite[-1])
    safe = np.where(known, seconds, 0.0)
    index = np.minimum(np.searchsorted(finite, safe, side="left"), finite.size - 1)
    lower = np.where(index > 0, finite[np.maximum(index - 1, 0)], np.minimum(0.0, finite[0]))
    upper = finite[index]
    below = np.where(index > 0, _at(cumulative, np.maximum(index - 1, 0)), 0.0)
    inside = _at(cumulative, index) - below
    share = np.divide(safe - lower, upper - lower, out=np.ones(np.shape(safe)), where=upper > lower)
    slower = cumulative[..., -1] - below - inside * np.minimum(share, 1.0)
    return np.where(known, np.maximum(slower, 0.0), np.nan)


def quantile_of(edges: Array, cumulative: Array, quantile: float) -> Array:
    """The quantile in seconds (...), as ``histogram_quantile`` interpolates it; NaN when empty or saturated."""
    finite = edges[:-1]
    total = cumulative[..., -1]
    rank = quantile * total
    index = (cumulative[..., :-1] < rank[..., None]).sum(axis=-1)
    known = (index < finite.size) & (total > 0)
    index = np.minimum(index, finite.size - 1)
    below = np.where(index > 0, _at(cumulative, np.maximum(index - 1, 0)), 0.0)
    inside = _at(cumulative, index) - below
    lower = np.where(index > 0, finite[np.maximum(index - 1, 0)], np.minimum(0.0, finite[0]))
    share = np.divide(rank - below, inside, out=np.ones(np.shape(rank)), where=inside > 0)
    return np.where(known, lower + (finite[index] - lower) * share, np.nan)


def tau_before(edges: Array, control: Array, quantile: float, *, step: float, minimum: float = TAU_REQUESTS) -> Array:
    """The tau before each tick, (T,), from control's disjoint increments (T, K) of ticks ``step`` seconds apart.

    Row t uses only rows before t: the fewest that hold ``minimum`` requests, at most an hour of them. NaN rows
    (ticks without data) add nothing. The result is NaN where the past is empty or its quantile saturated.
    """
    clean = _counted(control)
    sums = np.concatenate([np.zeros((1, clean.shape[-1])), np.cumsum(clean, axis=0)])
    totals = sums[:, -1]
    rows = np.arange(len(control))
    # the newest row such that the rows from it to the tick hold `minimum` requests
    start = np.searchsorted(totals, totals[:-1] - minimum, side="right") - 1
    start = np.clip(start, np.maximum(rows - int(TAU_SECONDS / step), 0), rows)
    # rounding can put a difference of cumulative sums slightly below zero or out of order
    window = np.maximum.accumulate(np.maximum(sums[rows] - sums[start], 0.0), axis=-1)
    return quantile_of(edges, window, quantile)


def tau_next(edges: Array, past: Array, quantile: float, *, minimum: float = TAU_REQUESTS) -> Array:
    """The tau before the next tick, (N,), of N rules whose histograms have the same edges.

    ``past`` (N, P, K): control's increments of the last P ticks, oldest first, at most an hour of them
    (`push`). Gives the same number as `tau_before` does in a replay.
    """
    clean = _counted(past)
    # `since`: requests from each tick to the newest; `newer`: requests after each tick
    since = np.cumsum(clean[:, ::-1, -1], axis=1)[:, ::-1]
    newer = np.concatenate([since[:, 1:], np.zeros((len(since), 1))], axis=1)[:, : since.shape[1]]
    window = np.einsum("np,npk->nk", newer < minimum, clean)
    return quantile_of(edges, np.maximum.accumulate(window, axis=-1), quantile)


def push(past: Array, control: Array, *, step: float) -> Array:
    """``past`` (N, P, K) with the newest tick's histograms (N, K) at its end, at most an hour of ticks."""
    return np.concatenate([past, control[:, None]], axis=1)[:, -int(TAU_SECONDS / step) :]


def possible(cumulative: Array) -> npt.NDArray[np.bool_]:
    """Which cumulative histograms (..., K) hold counts that a service can have, (...). An unread one (NaN) does not."""
    with np.errstate(invalid="ignore"):
        return np.asarray(((cumulative >= ROUNDING) & (cumulative <= LARGEST_COUNT)).all(axis=-1))


def _counted(cumulative: Array) -> Array:
    """The histograms, with zeros for impossible ones: tau would remember those for an hour."""
    return np.where(possible(cumulative)[..., None], np.maximum(cumulative, 0.0), 0.0)


def slow_counts(bound: Bound, edges: Array, canary: Array, control: Array, tau: Array) -> tuple[Array, Array]:
    """The events of canary and control, each (T,), for one bound of a quantile rule.

    ``canary`` and ``control``: the histograms (T, K) of the tick itself; ``tau`` (T,): from before it. The trials are
    the histograms' last column. NaN where the edge lies beyond the last finite bucket edge or tau is unknown;
    infinite where the counts are impossible (`possible`). Raises ValueError for a bound of a rate.
    """
    if bound.canary_edge is None or bound.control_edge is None:
        raise ValueError(f"bound {bound.name} is not of a quantile rule: its events are counters")
    return _slow(bound.canary_edge, edges, canary, tau), _slow(bound.control_edge, edges, control, tau)


def _slow(edge: Edge, edges: Array, cumulative: Array, tau: Array) -> Array:
    # An absolute edge needs no tau, and 0 * NaN would be NaN.
    relative = edge.scale * tau if edge.scale > 0 else np.zeros(np.shape(tau))
    with np.errstate(invalid="ignore", over="ignore"):
        slower = slower_than(edges, cumulative, relative + edge.offset)
    # A tick without a histogram is a gap (NaN). A histogram with impossible counts is reported (infinite).
    garbage = ~possible(cumulative) & ~np.isnan(cumulative).all(axis=-1)
    return np.where(garbage, np.inf, slower)


def _at(cumulative: Array, index: npt.NDArray[np.intp]) -> Array:
    return np.take_along_axis(cumulative, np.asarray(index)[..., None], axis=-1)[..., 0]
