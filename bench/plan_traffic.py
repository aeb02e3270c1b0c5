"""Traffic of many plans at once, and what each rule's window says of it, vectorised over ticks and plans.

Shapes: ``T`` ticks, ``N`` plans, ``R`` the four default rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.scenarios import BOUNDS, EDGES, ERROR, LATENCY, REFUSAL, STEP, THUMBS, bucket_shares, limit_ratio
from bench.scenarios import events as drawn_events
from killswitch.model import Rollout
from killswitch.verdicts.evidence import TickCounts, quantile_of, slow_counts, tau_before
from killswitch.verdicts.evidence.evariables import Array

HOUR_TICKS = 120
RULES = range(4)
RATES = {ERROR: 0.01, REFUSAL: 0.011, THUMBS: 0.005}
LIMITS = {ERROR: 0.02, REFUSAL: 0.061, THUMBS: 0.01}
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Badness:
    """How bad canaries are. ``times`` their limit; ``alone``: in one rule each, in turn, the others like control's.

    None: like control in everything.
    """

    name: str
    times: float | None = None
    alone: bool = False

    def shares(self, rule: int, plans: npt.NDArray[np.intp]) -> Array:
        """Each canary's share of events, (N,). ``plans``: their numbers."""
        worse = np.full(plans.shape, RATES[rule] if self.times is None else self.times * LIMITS[rule])
        return np.where(self._hit(rule, plans), worse, RATES[rule])

    def slowness(self, plans: npt.NDArray[np.intp]) -> Array:
        """By how much each canary's latencies are longer than control's, (N,)."""
        at_limit = float(limit_ratio(np.array([1.0]))[0])
        return np.where(self._hit(LATENCY, plans), at_limit * (self.times or 0.0), 1.0)

    def _hit(self, rule: int, plans: npt.NDArray[np.intp]) -> Mask:
        if self.times is None:
            return np.zeros(plans.shape, dtype=np.bool_)
        return plans % len(RULES) == rule if self.alone else np.ones(plans.shape, dtype=np.bool_)


@dataclass(slots=True)
class Steps:
    """Counts of T ticks: requests (T, N), events (T, N) by rule of a rate, cumulative histograms (T, N, K)."""

    trials: tuple[Array, Array]
    events: dict[int, tuple[Array, Array]]
    histograms: tuple[Array, Array]

    def of(self, kept: Mask | slice, ticks: slice = slice(None)) -> Steps:
        """The same for some of the plans, or some of the ticks."""
        return Steps(
            (self.trials[0][ticks, kept], self.trials[1][ticks, kept]),
            {rule: (one[ticks, kept], other[ticks, kept]) for rule, (one, other) in self.events.items()},
            (self.histograms[0][ticks, kept], self.histograms[1][ticks, kept]),
        )

    def then(self, other: Steps) -> Steps:
        def both(one: tuple[Array, Array], two: tuple[Array, Array]) -> tuple[Array, Array]:
            return np.concatenate([one[0], two[0]]), np.concatenate([one[1], two[1]])

        return Steps(
            both(self.trials, other.trials),
            {rule: both(self.events[rule], other.events[rule]) for rule in self.events},
            both(self.histograms, other.histograms),
        )

    def __len__(self) -> int:
        return len(self.trials[0])


@dataclass(slots=True)
class Traffic:
    """The traffic of plans that are in the same stage: independent requests."""

    rate: float
    badness: Badness
    rng: np.random.Generator

    def draw(self, ticks: int, percent: float, plans: npt.NDArray[np.intp]) -> Steps:
        shape = (ticks, len(plans))
        canary, control = (self.rate * STEP * part for part in (percent / 100.0, 1.0 - percent / 100.0))
        n_c, n_b = (self.rng.poisson(mean, shape).astype(np.float64) for mean in (canary, control))
        counted = {
            rule: (
                drawn_events(n_c, self.badness.shares(rule, plans), 1.0, self.rng),
                drawn_events(n_b, np.array(RATES[rule]), 1.0, self.rng),
            )
            for rule in RATES
        }
        slow = bucket_shares(self.badness.slowness(plans))
        usual = bucket_shares(np.ones(len(plans)))
        histograms = tuple(
            self.rng.multinomial(n.astype(np.int64), shares).cumsum(axis=-1).astype(np.float64)
            for n, shares in ((n_c, slow), (n_b, usual))
        )
        return Steps((n_c, n_b), counted, (histograms[0], histograms[1]))


def tick_counts(past: Steps, steps: Steps) -> TickCounts:
    """What evidence reads, (T, bounds of N plans). ``past``: the ticks before, at least an hour of them if known."""
    n_c, n_b = steps.trials
    whole = np.concatenate([past.histograms[1], steps.histograms[1]])
    slow_c, slow_b = np.empty(n_c.shape), np.empty(n_b.shape)
    (bound,) = BOUNDS[LATENCY]
    for plan in range(n_c.shape[1]):
        tau = tau_before(EDGES, whole[:, plan], 0.95, step=STEP)[len(past) :]
        slow_c[:, plan], slow_b[:, plan] = slow_counts(
            bound, EDGES, steps.histograms[0][:, plan], steps.histograms[1][:, plan], tau
        )
    columns: list[tuple[Array, Array, Array, Array]] = []
    for rule in RULES:
        x_c, x_b = (slow_c, slow_b) if rule == LATENCY else steps.events[rule]
        columns += [(x_c, n_c, x_b, n_b)] * len(BOUNDS[rule])
    known = np.isfinite(slow_c) & np.isfinite(slow_b)
    stacked = [np.stack(part, axis=-1) for part in zip(*columns, strict=True)]
    latency = sum(len(BOUNDS[rule]) for rule in RULES if rule < LATENCY)
    for part in stacked:
        part[..., latency] = np.where(known, part[..., latency], np.nan)
    return TickCounts(*(part.reshape(len(steps), -1) for part in stacked))


@dataclass(frozen=True, slots=True)
class Windows:
    """Each rule's window at each tick. ``known``: it has enough requests, (T, N). ``over`` its limit, (T, N, R)."""

    known: Mask
    over: Mask


def windows(rollout: Rollout, before: Steps, steps: Steps) -> Windows:
    """The windows that end at each of these ticks. ``before``: the ticks since arming, as far as windows reach back."""
    size = max(1, math.floor(rollout.window / STEP + 1e-9))
    first = len(before)
    whole = before.then(steps)

    def summed(values: Array) -> Array:
        total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
        ends = np.arange(first, len(whole)) + 1
        found: Array = total[ends] - total[np.maximum(ends - size, 0)]
        return found

    n_c, n_b = summed(whole.trials[0]), summed(whole.trials[1])
    known = (n_c >= rollout.min_requests) & (n_b >= rollout.min_requests)
    over = np.zeros((*n_c.shape, len(RULES)), dtype=np.bool_)
    with np.errstate(invalid="ignore", divide="ignore"):
        for rule, limits in enumerate(one.limits for one in rollout.rules):
            if rule == LATENCY:
                canary, control = (quantile_of(EDGES, summed(side), 0.95) for side in whole.histograms)
                canary = np.where(np.isnan(canary) & (n_c > 0), np.inf, canary)
            else:
                canary, control = (summed(x) / n for x, n in zip(whole.events[rule], (n_c, n_b), strict=True))
            bounds = [np.zeros(control.shape)]
            if limits.maximum is not None:
                bounds += [np.full(control.shape, limits.maximum), control]
            if limits.max_increase is not None:
                bounds.append(control + limits.max_increase)
            if limits.max_ratio is not None:
                bounds.append(control * limits.max_ratio)
            over[..., rule] = canary > np.max(bounds, axis=0)
    return Windows(known, over)


def nothing(plans: int) -> Steps:
    """No tick at all."""
    empty = np.zeros((0, plans))
    return Steps((empty, empty), dict.fromkeys(RATES, (empty, empty)), (np.zeros((0, plans, EDGES.size)),) * 2)


def newest(steps: Steps, ticks: int = HOUR_TICKS) -> Steps:
    """The last ticks, at most an hour."""
    return steps.of(slice(None), slice(max(len(steps) - ticks, 0), None))


def numbers(plans: int) -> npt.NDArray[np.intp]:
    return np.arange(plans, dtype=np.intp)


def one_of(steps: Steps, plan: int, window: float) -> Sequence[tuple[Array, Array]]:
    """The window of one plan at the last tick: by rule, the sums of both cohorts (a latency rule's are histograms)."""
    size = max(1, math.floor(window / STEP + 1e-9))
    last = slice(max(len(steps) - size, 0), None)

    def of_rate(rule: int, cohort: int) -> Array:
        events, trials = steps.events[rule][cohort], steps.trials[cohort]
        return np.array([events[last, plan].sum(), trials[last, plan].sum()])

    def of_latency(cohort: int) -> Array:
        summed: Array = steps.histograms[cohort][last, plan].sum(axis=0)
        return summed

    return [
        (of_latency(0), of_latency(1)) if rule == LATENCY else (of_rate(rule, 0), of_rate(rule, 1)) for rule in RULES
    ]
