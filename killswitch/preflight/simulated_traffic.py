"""Draws what a metric store would report of control and of a canary that is worse by a known amount.

Shapes: ``T`` ticks, ``N`` runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from killswitch.model import QuantileSignal, Rule
from killswitch.preflight.assumptions import AssumedTraffic, TrafficLevel, histogram_of, value_of
from killswitch.timestamps import HOUR
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.evidence.evariables import Array


class SimulatedTraffic:
    """Draws what a metric store would report for one rule, independently in each run."""

    def __init__(
        self, rule: Rule, baseline: AssumedTraffic, level: TrafficLevel, runs: int, rng: np.random.Generator
    ) -> None:
        self._rule = rule
        self._baseline = baseline
        self._level = level
        self._runs = runs
        self._rng = rng
        self._past: Array | None = None

    def counts(self, ticks: int, value: float, bounds: Sequence[ev.Bound]) -> ev.TickCounts:
        """(T, N x bounds), the bounds of a run side by side."""
        if isinstance(self._rule.signal, QuantileSignal):
            columns = self._slow(ticks, value, bounds, self._rule.signal.quantile)
        else:
            (n_c, n_b), share = self._requests(ticks), self._baseline.share
            x_c, x_b = self._rng.binomial(n_c, min(value, 1.0)), self._rng.binomial(n_b, share)
            columns = [np.array([x_c, n_c, x_b, n_b], dtype=np.float64)] * len(bounds)
        return ev.TickCounts(
            *(np.stack([column[row] for column in columns], axis=-1).reshape(ticks, -1) for row in range(4)),
        )

    def windows(self, ticks: int, value: float, length: int) -> tuple[Array, Array]:
        """Values over ``length`` ticks, canary and control, each (T, N), NaN without requests."""
        if isinstance(self._rule.signal, QuantileSignal):
            edges, _ = histogram_of(self._baseline)
            canary, control = (moving_sums(each, length) for each in self._histograms(ticks, value))
            quantile = self._rule.signal.quantile
            return ev.quantile_of(edges, canary, quantile), ev.quantile_of(edges, control, quantile)
        n_c, n_b = self._requests(ticks)
        x_c, x_b = self._rng.binomial(n_c, min(value, 1.0)), self._rng.binomial(n_b, self._baseline.share)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (
                moving_sums(x_c.astype(np.float64), length) / moving_sums(n_c.astype(np.float64), length),
                moving_sums(x_b.astype(np.float64), length) / moving_sums(n_b.astype(np.float64), length),
            )

    def _requests(self, ticks: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        canary, control = self._level.requests
        return self._rng.poisson(canary, (ticks, self._runs)), self._rng.poisson(control, (ticks, self._runs))

    def _histograms(self, ticks: int, value: float) -> tuple[Array, Array]:
        edges, shares = histogram_of(self._baseline)
        slower = value / value_of(self._rule, self._baseline)
        n_c, n_b = self._requests(ticks)
        canary = self._rng.multinomial(n_c, differences(scaled(edges, shares, slower)))
        control = self._rng.multinomial(n_b, differences(shares))
        return canary.cumsum(axis=-1).astype(np.float64), control.cumsum(axis=-1).astype(np.float64)

    def _slow(self, ticks: int, value: float, bounds: Sequence[ev.Bound], quantile: float) -> list[Array]:
        edges, _ = histogram_of(self._baseline)
        canary, control = self._histograms(ticks, value)
        past = control if self._past is None else np.concatenate([self._past, control])
        known = len(past) - ticks
        columns = []
        taus = np.stack(
            [ev.tau_before(edges, past[:, run], quantile, step=self._level.step)[known:] for run in range(self._runs)],
            axis=1,
        )
        self._past = past[-math.ceil(HOUR / self._level.step) :]
        for bound in bounds:
            x_c, x_b = ev.slow_counts(bound, edges, canary, control, taus)
            known_events = np.isfinite(x_c) & np.isfinite(x_b)
            columns.append(np.where(known_events, np.array([x_c, canary[..., -1], x_b, control[..., -1]]), np.nan))
        return columns


def scaled(edges: Array, shares: Array, slower: float) -> Array:
    """The cumulative shares of latencies ``slower`` times as long, spread evenly within buckets.

    Latencies of the last bucket stay in it, also when they shrink, because their values are unknown.
    """
    finite = edges[:-1]
    at = np.interp(finite / slower, np.concatenate([[0.0], finite]), np.concatenate([[0.0], shares[:-1]]))
    return np.concatenate([np.minimum(at, shares[-2]), [1.0]])


def differences(shares: Array) -> Array:
    parts = np.maximum(np.diff(shares, prepend=0.0), 0.0)
    return np.asarray(parts / parts.sum())


def moving_sums(values: Array, length: int) -> Array:
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    return np.asarray(np.maximum(sums[length:] - sums[:-length], 0.0))


def true_shares(rule: Rule, baseline: AssumedTraffic, bound: ev.Bound, value: float) -> tuple[float, float]:
    """The true shares of events a bound compares, canary and control."""
    if not isinstance(rule.signal, QuantileSignal):
        return min(value, 1.0), baseline.share
    edges, shares = histogram_of(baseline)
    tau = np.array([value_of(rule, baseline)])
    slower = scaled(edges, shares, value / float(tau[0]))
    x_c, x_b = ev.slow_counts(bound, edges, slower[None], shares[None], tau)
    return float(np.nan_to_num(x_c[0])), float(np.nan_to_num(x_b[0]))
