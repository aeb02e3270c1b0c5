"""Power: how soon a regression of a given size would be seen, before anybody is exposed to it.

Traffic is drawn from what control does today (from history, or stated assumptions), the canary is made
worse by known amounts, and the engine itself judges it, many runs at once. Beside it stand the
information bound, ln(needed) / KL, which no valid test beats by much, and what the bare comparison would
cost in false trips. Seeded: the same question has the same answer.

Shapes: ``T`` ticks, ``N`` runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from killswitch.model import Buckets, Counts, Limits, QuantileSignal, RatioSignal, Reading, Readings, Rollout, Rule
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.accumulator import WARM_UP_TICKS
from killswitch.verdicts.evidence.dispersion import WARM_TICKS
from killswitch.verdicts.evidence.starts import PURSE

Array = npt.NDArray[np.float64]
DAY = 86_400.0
HOUR = 3_600.0
PERCENTS = (0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0)
RUNS = 200
_BLOCK = 60
_SEED = 20_260_419
# nothing is known of control: what the four default signals look like in an ordinary service
_ASSUMED_RATES = {"error_rate": 0.01, "refusal_rate": 0.011, "thumbs_down_rate": 0.005}
_ASSUMED_RATE = 0.01
# log-normal latencies around 0.8 s in ten buckets
_ASSUMED_EDGES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0, 12.0, math.inf)
_ASSUMED_MEDIAN, _ASSUMED_SPREAD = 0.8, 0.5
_RATE_SIZES = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
# first parameter of the Beta from which users' own shares come
_ALIKE = 0.2
_SLOW_SIZES = (1.1, 1.25, 1.5, 2.0, 3.0)

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class AssumedTraffic:
    """What control does of one rule. ``share``: of requests that are events. ``histogram``: for quantiles.

    ``assumed``: nobody measured it.
    """

    share: float = 0.0
    histogram: Buckets | None = None
    assumed: bool = True


@dataclass(frozen=True, slots=True)
class TrafficLevel:
    """``rate``: requests a second of both cohorts together; ``percent`` of them the canary's; ``step`` seconds."""

    rate: float
    percent: float
    step: float = 30.0

    @property
    def requests(self) -> tuple[float, float]:
        """Mean requests a step: canary, control."""
        whole = self.rate * self.step
        return whole * self.percent / 100.0, whole * (1.0 - self.percent / 100.0)


@dataclass(frozen=True, slots=True)
class Delay:
    """How long a regression takes to be seen, in seconds; None: not within the horizon in half (nine tenths) of runs.

    ``value``: the canary's share of events, or its quantile in seconds. ``bound``: what no test beats by
    much, None where the canary is within its limit. ``seen``: the share of runs that saw it within ``horizon``.
    """

    value: float
    at_start: float | None
    at_start_90: float | None
    later: float | None
    later_90: float | None
    bound: float | None
    seen: float
    horizon: float


@dataclass(frozen=True, slots=True)
class BareCost:
    """The bare comparison on a healthy canary: the share of days with a trip, and trips a day."""

    days_with_trip: float
    trips_a_day: float


@dataclass(frozen=True, slots=True)
class RulePower:
    rule: Rule
    baseline: AssumedTraffic
    delays: tuple[Delay, ...]
    bare: BareCost


def assumed(rule: Rule) -> AssumedTraffic:
    """What is taken for granted where nothing was measured."""
    if isinstance(rule.signal, QuantileSignal):
        edges = np.array(_ASSUMED_EDGES)
        with np.errstate(divide="ignore"):
            z = (np.log(edges) - math.log(_ASSUMED_MEDIAN)) / _ASSUMED_SPREAD
        below = tuple(0.5 * (1.0 + math.erf(each / math.sqrt(2.0))) for each in z)
        return AssumedTraffic(histogram=Buckets(_ASSUMED_EDGES, below))
    return AssumedTraffic(_ASSUMED_RATES.get(rule.name, _ASSUMED_RATE))


def measured(
    rollout: Rollout, steps: Sequence[Readings], parts: Sequence[str]
) -> tuple[dict[str, AssumedTraffic], float]:
    """Baselines by rule, from control's steps, and its mean requests a step. ``parts``: which wants, best first."""
    found: dict[str, AssumedTraffic] = {}
    requests: list[float] = []
    for rule in rollout.rules:
        for part in parts:
            sides = [_control(readings.get((rollout.name, rule.name, part))) for readings in steps]
            counts = [side for side in sides if isinstance(side, Counts) and side.trials > 0]
            histograms = [side for side in sides if isinstance(side, Buckets) and side.counts[-1] > 0]
            if counts:
                trials = sum(side.trials for side in counts)
                found[rule.name] = AssumedTraffic(min(sum(side.events for side in counts) / trials, 1.0), assumed=False)
                requests.append(trials / len(counts))
                break
            if histograms:
                bounds = histograms[-1].bounds
                alike = [np.array(side.counts) for side in histograms if side.bounds == bounds]
                found[rule.name] = AssumedTraffic(
                    histogram=Buckets(bounds, tuple((sum(alike) / sum(row[-1] for row in alike)).tolist())),
                    assumed=False,
                )
                requests.append(float(np.mean([row[-1] for row in alike])))
                break
    return found, max(requests, default=0.0)


def _control(reading: Reading | None) -> object:
    return reading.control if reading is not None else None


def sizes(rule: Rule, baseline: AssumedTraffic) -> tuple[float, ...]:
    """Regressions worth asking about: the canary's values from just over the limit on."""
    limit = limit_of(rule, baseline)
    if isinstance(rule.signal, QuantileSignal):
        return tuple(limit * factor for factor in _SLOW_SIZES)
    return tuple(share for factor in _RATE_SIZES if (share := limit * factor) < 1.0) or (
        min(1.0, limit + (1 - limit) / 2),
    )


def value_of(rule: Rule, baseline: AssumedTraffic) -> float:
    """Control's own share, or its quantile in seconds."""
    if isinstance(rule.signal, QuantileSignal):
        edges, shares = _histogram(baseline)
        return float(ev.quantile_of(edges, shares, rule.signal.quantile))
    return baseline.share


def limit_of(rule: Rule, baseline: AssumedTraffic) -> float:
    """What the canary must not exceed, given control's value."""
    limits, value = rule.limits, value_of(rule, baseline)
    bounds = []
    if limits.maximum is not None:
        bounds += [limits.maximum, *([] if limits.even_if_control_is_bad else [value])]
    if limits.max_increase is not None:
        bounds.append(value + limits.max_increase)
    if limits.max_ratio is not None:
        bounds.append(value * limits.max_ratio)
    if limits.floor is not None:
        bounds.append(limits.floor)
    return max(bounds)


# --- delays -------------------------------------------------------------------------------------


def delay(
    rollout: Rollout,
    rule: Rule,
    baseline: AssumedTraffic,
    world: TrafficLevel,
    value: float,
    *,
    horizon: float = DAY,
    runs: int = RUNS,
) -> Delay:
    """How long the engine takes where the canary's value is ``value``; ``horizon`` in seconds."""
    first = _seen_after(rollout, rule, baseline, world, value, onset=0, horizon=horizon, runs=runs)
    later = _seen_after(rollout, rule, baseline, world, value, onset=WARM_TICKS, horizon=horizon, runs=runs)
    needed = len(rollout.rules) / rollout.false_trips_per_day
    return Delay(
        value,
        _quantile(first, 0.5),
        _quantile(first, 0.9),
        _quantile(later, 0.5),
        _quantile(later, 0.9),
        _bound(rule, baseline, world, value, needed),
        float(np.isfinite(later).mean()),
        horizon,
    )


def _quantile(delays: Array, share: float) -> float | None:
    found = float(np.sort(delays)[math.ceil(share * delays.size) - 1])
    return found if math.isfinite(found) else None


def _bound(rule: Rule, baseline: AssumedTraffic, world: TrafficLevel, value: float, needed: float) -> float | None:
    """ln(needed) over the information of a tick, of the bound that holds least of it; at least one step."""
    n_c, n_b = world.requests
    worst = math.inf
    for bound in ev.bounds_of(rule):
        p_c, p_b = _shares(rule, baseline, bound, value)
        worst = min(
            worst,
            ev.information(
                bound.half_plane, canary_trials=n_c, control_trials=n_b, canary_share=p_c, control_share=p_b
            ),
        )
    return float(max(math.log(needed) / worst, 1.0) * world.step) if worst > 1e-12 else None


def _seen_after(
    rollout: Rollout,
    rule: Rule,
    baseline: AssumedTraffic,
    world: TrafficLevel,
    value: float,
    *,
    onset: int,
    horizon: float,
    runs: int,
) -> Array:
    """Seconds from onset to the breach, (N,), inf where there was none; warmed up on an hour of control."""
    rng = np.random.default_rng(_SEED + onset)
    bounds = ev.bounds_of(rule)
    alpha = rollout.false_trips_per_day / len(rollout.rules)
    state = ev.start([ev.DetectorSpec(run, bounds, alpha, bursts=rollout.bursts) for run in range(runs)])
    draw = _Traffic(rule, baseline, world, runs, rng)
    warm = draw.counts(WARM_UP_TICKS, value_of(rule, baseline), bounds)
    state = ev.warm_up(state, warm.control_events, warm.control_trials)
    found = np.full(runs, np.inf)
    tick, last = 0, onset + math.ceil(horizon / world.step)
    while tick < last and not np.isfinite(found).all():
        length = min(_BLOCK, last - tick) if tick >= onset else min(_BLOCK, onset - tick)
        counts = draw.counts(length, value if tick >= onset else value_of(rule, baseline), bounds)
        heads = np.zeros((length, runs))
        if tick == 0:
            heads[0] = 0.5 * PURSE
        times = np.arange(tick, tick + length, dtype=np.float64) * world.step
        state, trace = ev.advance(state, counts, times, step=world.step, head_starts=heads)
        if tick >= onset:
            breach = trace.breach & ~np.isfinite(found)
            at = np.where(breach.any(axis=0), breach.argmax(axis=0), -1)
            found = np.where(at >= 0, (tick - onset + at + 1) * world.step, found)
        tick += length
    return found


class _Traffic:
    """Draws what a metric store would report of one rule, run by run."""

    def __init__(
        self, rule: Rule, baseline: AssumedTraffic, world: TrafficLevel, runs: int, rng: np.random.Generator
    ) -> None:
        self._rule = rule
        self._baseline = baseline
        self._world = world
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
            edges, _ = _histogram(self._baseline)
            canary, control = (_moving(each, length) for each in self._histograms(ticks, value))
            quantile = self._rule.signal.quantile
            return ev.quantile_of(edges, canary, quantile), ev.quantile_of(edges, control, quantile)
        n_c, n_b = self._requests(ticks)
        x_c, x_b = self._rng.binomial(n_c, min(value, 1.0)), self._rng.binomial(n_b, self._baseline.share)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (
                _moving(x_c.astype(np.float64), length) / _moving(n_c.astype(np.float64), length),
                _moving(x_b.astype(np.float64), length) / _moving(n_b.astype(np.float64), length),
            )

    def _requests(self, ticks: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        canary, control = self._world.requests
        return self._rng.poisson(canary, (ticks, self._runs)), self._rng.poisson(control, (ticks, self._runs))

    def _histograms(self, ticks: int, value: float) -> tuple[Array, Array]:
        edges, shares = _histogram(self._baseline)
        slower = value / value_of(self._rule, self._baseline)
        n_c, n_b = self._requests(ticks)
        canary = self._rng.multinomial(n_c, _differences(_scaled(edges, shares, slower)))
        control = self._rng.multinomial(n_b, _differences(shares))
        return canary.cumsum(axis=-1).astype(np.float64), control.cumsum(axis=-1).astype(np.float64)

    def _slow(self, ticks: int, value: float, bounds: Sequence[ev.Bound], quantile: float) -> list[Array]:
        edges, _ = _histogram(self._baseline)
        canary, control = self._histograms(ticks, value)
        past = control if self._past is None else np.concatenate([self._past, control])
        known = len(past) - ticks
        columns = []
        taus = np.stack(
            [ev.tau_before(edges, past[:, run], quantile, step=self._world.step)[known:] for run in range(self._runs)],
            axis=1,
        )
        self._past = past[-math.ceil(HOUR / self._world.step) :]
        for bound in bounds:
            x_c, x_b = ev.slow_counts(bound, edges, canary, control, taus)
            known_events = np.isfinite(x_c) & np.isfinite(x_b)
            columns.append(np.where(known_events, np.array([x_c, canary[..., -1], x_b, control[..., -1]]), np.nan))
        return columns


def _histogram(baseline: AssumedTraffic) -> tuple[Array, Array]:
    assert baseline.histogram is not None
    return np.array(baseline.histogram.bounds), np.array(baseline.histogram.counts)


def _scaled(edges: Array, shares: Array, slower: float) -> Array:
    """The cumulative shares of latencies ``slower`` times as long, spread evenly within buckets.

    What lies in the last bucket stays there when latencies grow; when they shrink it is taken to stay, too.
    """
    finite = edges[:-1]
    at = np.interp(finite / slower, np.concatenate([[0.0], finite]), np.concatenate([[0.0], shares[:-1]]))
    return np.concatenate([np.minimum(at, shares[-2]), [1.0]])


def _differences(shares: Array) -> Array:
    parts = np.maximum(np.diff(shares, prepend=0.0), 0.0)
    return np.asarray(parts / parts.sum())


def _moving(values: Array, length: int) -> Array:
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    return np.asarray(np.maximum(sums[length:] - sums[:-length], 0.0))


def _shares(rule: Rule, baseline: AssumedTraffic, bound: ev.Bound, value: float) -> tuple[float, float]:
    """The true shares of events a bound compares, canary and control."""
    if not isinstance(rule.signal, QuantileSignal):
        return min(value, 1.0), baseline.share
    edges, shares = _histogram(baseline)
    tau = np.array([value_of(rule, baseline)])
    slower = _scaled(edges, shares, value / float(tau[0]))
    x_c, x_b = ev.slow_counts(bound, edges, slower[None], shares[None], tau)
    return float(np.nan_to_num(x_c[0])), float(np.nan_to_num(x_b[0]))


# --- the bare comparison, and whole answers -----------------------------------------------------


def bare_cost(
    rollout: Rollout, rule: Rule, baseline: AssumedTraffic, world: TrafficLevel, *, runs: int = 60
) -> BareCost:
    """A day of a canary that equals control, under the bare comparison with the rule's `for`."""
    rng = np.random.default_rng(_SEED)
    length = max(1, round(rollout.window / world.step))
    ticks = round(DAY / world.step) + length - 1
    traffic = _Traffic(rule, baseline, world, runs, rng)
    canary, control = traffic.windows(ticks, value_of(rule, baseline), length)
    held = _held(_over(rule.limits, canary, control) & (min(world.requests) * length >= rollout.min_requests), rule)
    begins = held & ~np.concatenate([np.zeros((1, runs), dtype=np.bool_), held[:-1]])
    return BareCost(float(held.any(axis=0).mean()), float(begins.sum(axis=0).mean()))


def _held(over: npt.NDArray[np.bool_], rule: Rule) -> npt.NDArray[np.bool_]:
    """Over for the rule's `for` ticks in a row."""
    held = over.copy()
    for back in range(1, rule.for_ticks):
        held[back:] &= over[:-back]
        held[:back] = False
    return held


def bare_breaches(
    rollout: Rollout, rule: Rule, canary: tuple[Array, Array], control: tuple[Array, Array], step: float
) -> npt.NDArray[np.bool_]:
    """Where the bare comparison of a rate fires, (T - window, N), on events and trials (T, N) of steps, NaN in gaps."""
    length = max(1, round(rollout.window / step))
    (x_c, n_c), (x_b, n_b) = (
        tuple(_moving(np.nan_to_num(each), length) for each in side) for side in (canary, control)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        over = _over(rule.limits, x_c / n_c, x_b / n_b)
    return _held(over & (n_c >= rollout.min_requests) & (n_b >= rollout.min_requests), rule)


def _over(limits: Limits, canary: Array, control: Array) -> npt.NDArray[np.bool_]:
    bounds = []
    if limits.maximum is not None:
        bounds += [canary > limits.maximum, *([] if limits.even_if_control_is_bad else [canary > control])]
    if limits.max_increase is not None:
        bounds.append(canary > control + limits.max_increase)
    if limits.max_ratio is not None:
        bounds.append(canary > control * limits.max_ratio)
    if limits.floor is not None:
        bounds.append(canary > limits.floor)
    return np.asarray(np.logical_and.reduce(bounds))


def power(
    rollout: Rollout,
    baselines: Mapping[str, AssumedTraffic],
    world: TrafficLevel,
    *,
    horizon: float = DAY / 4,
    runs: int = RUNS,
    progress: Progress = lambda _: None,
) -> tuple[RulePower, ...]:
    """Every rule that counts requests. Free queries say nothing about counts and are left out."""
    rules = [rule for rule in rollout.rules if isinstance(rule.signal, RatioSignal | QuantileSignal)]
    found: list[RulePower] = []
    for position, rule in enumerate(rules):
        baseline = baselines.get(rule.name) or assumed(rule)
        delays = []
        values = sizes(rule, baseline)
        for number, value in enumerate(values):
            delays.append(delay(rollout, rule, baseline, world, value, horizon=horizon, runs=runs))
            progress((position + (number + 1) / (len(values) + 1)) / len(rules))
        found.append(RulePower(rule, baseline, tuple(delays), bare_cost(rollout, rule, baseline, world)))
        progress((position + 1) / len(rules))
    return tuple(found)


def smallest_percent(
    rollout: Rollout,
    rule: Rule,
    baseline: AssumedTraffic,
    world: TrafficLevel,
    value: float,
    *,
    within: float = HOUR,
    runs: int = RUNS,
    progress: Progress = lambda _: None,
) -> tuple[float | None, tuple[tuple[float, Delay], ...]]:
    """The smallest of `PERCENTS` at which nine of ten runs see it ``within`` seconds (None: none), and all tried."""
    tried: list[tuple[float, Delay]] = []
    for number, percent in enumerate(PERCENTS):
        found = delay(rollout, rule, baseline, replace(world, percent=percent), value, horizon=within, runs=runs)
        tried.append((percent, found))
        progress((number + 1) / len(PERCENTS))
        if found.later_90 is not None:
            return percent, tuple(tried)
    return None, tuple(tried)


# --- users --------------------------------------------------------------------------------------


def effective_users(users: float, percent: float, *, spread: float = 1.2) -> float:
    """Of how many equally active users the canary cohort is worth: log-normal activity with sd ``spread``.

    Kish's effective sample size, n / (1 + cv^2), with cv^2 = exp(spread^2) - 1.
    """
    return users * percent / 100.0 / math.exp(spread * spread)


def unlucky_cohorts(rule: Rule, baseline: AssumedTraffic, users: int, percent: float, *, draws: int = 400) -> float:
    """The share of salts whose canary users alone, on the *same* model, are over the rule's limit for good.

    Activity log-normal (sd 1.2), each user's own share Beta(a, b) with control's mean and a = 0.2: a few users
    have most of the events.
    """
    if isinstance(rule.signal, QuantileSignal) or not 0.0 < baseline.share < 1.0:
        return 0.0
    rng = np.random.default_rng(_SEED)
    canary, control = max(1, round(users * percent / 100.0)), max(1, round(users * (1 - percent / 100.0)))

    def rates(size: int) -> Array:
        size = min(size, 20_000)
        activity = np.exp(rng.normal(0.0, 1.2, (draws, size)))
        own = rng.beta(_ALIKE, _ALIKE * (1.0 / baseline.share - 1.0), (draws, size))
        return np.asarray((activity * own).sum(axis=1) / activity.sum(axis=1))

    return float(_over(rule.limits, rates(canary), rates(min(control, 5_000))).mean())
