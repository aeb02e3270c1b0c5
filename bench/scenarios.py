"""Traffic to judge: the worlds in which the promise is measured.

A `World` says how much traffic there is, a `Scenario` how it behaves (bursts, jitter, incidents), a
`Canary` how the new model differs. `simulate` draws what a metric store would report, many runs at once,
and the four default rules are judged on it by the engine itself. Everything is seeded.

Shapes: ``T`` ticks, ``N`` runs; the engine's bounds are ordered by run, then rule, then bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from killswitch.model import Bursts, Limits, QuantileSignal, RatioSignal, Rule, Selector, Unit
from killswitch.verdicts.evidence import (
    DetectorSpec,
    TickCounts,
    bounds_of,
    quantile_of,
    slow_counts,
    slower_than,
    tau_before,
)
from killswitch.verdicts.evidence.evariables import Array

STEP = 30.0
DAY_TICKS = 2880
WARM_UP_TICKS = 120
FALSE_TRIPS = 0.01

# the default rule set
_SLOWNESS = QuantileSignal(Selector("latency"), 0.95)
_RATE = RatioSignal((Selector("events"),), (Selector("trials"),))
RULES = (
    Rule("error_rate", _RATE, Limits(maximum=0.02), Unit.FRACTION),
    Rule("latency_p95", _SLOWNESS, Limits(max_ratio=1.5), Unit.SECONDS),
    Rule("refusal_rate", _RATE, Limits(max_increase=0.05), Unit.FRACTION),
    Rule("thumbs_down_rate", _RATE, Limits(max_ratio=2.0), Unit.FRACTION),
)
ERROR, LATENCY, REFUSAL, THUMBS = range(4)
_RATE_SHARES = {ERROR: 0.01, REFUSAL: 0.011, THUMBS: 0.005}
BOUNDS = tuple(bounds_of(rule) for rule in RULES)

# ten buckets, in seconds; latencies are log-normal around 0.8 s
EDGES = np.array([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0, 12.0, np.inf])
_MEDIAN, _SPREAD = 0.8, 0.5


def specs(runs: int, *, bursts: Bursts = "auto") -> list[DetectorSpec]:
    """The four default rules of each run; they share one budget."""
    alpha = FALSE_TRIPS / len(RULES)
    return [
        DetectorSpec((run, rule.name), BOUNDS[i], alpha, bursts) for run in range(runs) for i, rule in enumerate(RULES)
    ]


@dataclass(frozen=True, slots=True)
class World:
    """How much traffic: requests a second in both cohorts together, and the canary's percent."""

    rate: float = 50.0
    percent: float = 5.0

    @property
    def requests(self) -> tuple[float, float]:
        """Mean requests a tick: canary, control."""
        whole, share = self.rate * STEP, self.percent / 100.0
        return whole * share, whole * (1.0 - share)


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to both cohorts alike at each tick.

    ``traffic``, ``events`` and ``slowness`` are factors on requests, event shares and latencies;
    ``flicker`` is another on event shares, of mean 1 and new at each tick; ``outage`` replaces control's
    event shares where it is not NaN. Each broadcasts to (T, N).
    """

    traffic: Array
    events: Array
    flicker: Array
    slowness: Array
    outage: Array


def fair(ticks: int) -> Weather:
    one = np.ones((ticks, 1))
    return Weather(one, one, one, one, np.full((ticks, 1), np.nan))


WeatherMaker = Callable[[npt.NDArray[np.intp], int, np.random.Generator], Weather]


def _fair(ticks: npt.NDArray[np.intp], _runs: int, _rng: np.random.Generator) -> Weather:
    return fair(len(ticks))


@dataclass(frozen=True, slots=True)
class Scenario:
    """How traffic behaves. ``clump``: mean size of the bursts events come in (geometric).

    ``of_canary``: the same of the canary's events where they alone come in clumps.
    """

    name: str
    weather: WeatherMaker = _fair
    clump: float = 1.0
    missing: float = 0.0
    of_canary: float | None = None

    @property
    def canary_clump(self) -> float:
        return self.clump if self.of_canary is None else self.of_canary


def _jitter(ticks: npt.NDArray[np.intp], runs: int, rng: np.random.Generator) -> Weather:
    """Log-normal, sd 0.5, mean 1, on event shares; 0.12 on latency, which moves the tail's share as much."""
    wobble = rng.normal(size=(len(ticks), runs))
    return replace(fair(len(ticks)), flicker=np.exp(0.5 * wobble - 0.125), slowness=np.exp(0.12 * wobble))


def _day_and_night(ticks: npt.NDArray[np.intp], _runs: int, _rng: np.random.Generator) -> Weather:
    wave = np.sin(2 * np.pi * ticks / DAY_TICKS)[:, None]
    return replace(fair(len(ticks)), traffic=1 + 0.6 * wave, events=1 + 0.3 * wave)


def _incidents(ticks: npt.NDArray[np.intp], _runs: int, _rng: np.random.Generator) -> Weather:
    """Three of ten minutes: 40 % events, three times slower, in both cohorts."""
    bad = np.zeros(len(ticks), dtype=np.bool_)
    for begin in (400, 1300, 2200):
        bad |= (ticks >= begin) & (ticks < begin + 20)
    at = bad[:, None]
    return replace(fair(len(ticks)), outage=np.where(at, 0.4, np.nan), slowness=np.where(at, 3.0, 1.0))


def _outages(ticks: npt.NDArray[np.intp], _runs: int, _rng: np.random.Generator) -> Weather:
    """Half an hour at 95 % and four hours at 99 %, in both cohorts."""
    level = np.full(len(ticks), np.nan)
    level[(ticks >= 500) & (ticks < 560)] = 0.95
    level[(ticks >= 1500) & (ticks < 1980)] = 0.99
    return replace(fair(len(ticks)), outage=level[:, None])


def _slow_down(ticks: npt.NDArray[np.intp], _runs: int, _rng: np.random.Generator) -> Weather:
    slow = (ticks >= 700) & (ticks < 1900)
    return replace(fair(len(ticks)), slowness=np.where(slow, 3.0, 1.0)[:, None])


def _silent_control(ticks: npt.NDArray[np.intp], _runs: int, _rng: np.random.Generator) -> Weather:
    return replace(fair(len(ticks)), outage=np.zeros((len(ticks), 1)))


def _drift(ticks: npt.NDArray[np.intp], runs: int, rng: np.random.Generator) -> Weather:
    """Event shares wander, both cohorts alike: a factor of about 2 within hours."""
    phase, hours = rng.uniform(0, 2 * np.pi, runs), rng.uniform(2, 8, runs)
    wave = np.sin(2 * np.pi * ticks[:, None] / (hours * 120) + phase)
    return replace(fair(len(ticks)), events=2.0**wave / 1.13, slowness=1.2**wave)


def _wander(ticks: npt.NDArray[np.intp], runs: int, _rng: np.random.Generator) -> Weather:
    """Event shares wander by some 15 % within minutes, both cohorts alike."""
    # one block of ticks must go on where the last one ended
    phases = np.random.default_rng(runs).uniform(0, 2 * np.pi, (3, runs))
    seconds = STEP * ticks[:, None]
    waves = sum(np.sin(2 * np.pi * seconds / period + phase) for period, phase in zip(_PERIODS, phases, strict=True))
    return replace(fair(len(ticks)), events=np.exp(0.08 * waves))


_PERIODS = (420.0, 1100.0, 2900.0)  # seconds

SCENARIOS = (
    Scenario("independent requests"),
    Scenario("clumps of 2", clump=2.0),
    Scenario("clumps of 4", clump=4.0),
    Scenario("clumps of 8", clump=8.0),
    Scenario("clumps of 2 in the canary alone", of_canary=2.0),
    Scenario("clumps of 4 in the canary alone", of_canary=4.0),
    Scenario("clumps of 8 in the canary alone", of_canary=8.0),
    Scenario("jitter in both cohorts", _jitter),
    Scenario("day and night", _day_and_night),
    Scenario("drifting rates", _drift),
    Scenario("rates that wander by 15 %", _wander),
    Scenario("three incidents", _incidents),
    Scenario("outages of 95 and 99 %", _outages),
    Scenario("a slow-down of 3x", _slow_down),
    Scenario("control at exactly 0", _silent_control),
    Scenario("1 in 20 scrapes missed", missing=0.05),
)


@dataclass(frozen=True, slots=True)
class Canary:
    """The new model: by rule its event shares, given control's and the flicker.

    ``slower``: how much longer its latencies are, given control's own slowness. ``onset``: the tick its
    differences begin.
    """

    name: str
    shares: Mapping[int, Callable[[Array, Array], Array]]
    slower: Callable[[Array], Array] = np.ones_like
    onset: int = 0


def limit_ratio(slowness: Array) -> Array:
    """How much slower a canary is that stands exactly at ``max_ratio: 1.5`` as these ten buckets show it.

    Interpolation inside coarse buckets moves the true ratio, differently wherever control's tail stands.
    """
    grid = np.geomspace(0.2, 5.0, 200)
    return np.interp(np.log(slowness), np.log(grid), _limit_ratios(grid))


def _limit_ratios(grid: Array) -> Array:
    control = bucket_shares(grid).cumsum(axis=-1)
    tau = quantile_of(EDGES, control, 0.95)
    events = slower_than(EDGES, control, tau)
    low, high = np.full(grid.shape, 1.0), np.full(grid.shape, 3.0)
    for _ in range(50):
        middle = 0.5 * (low + high)
        canary = bucket_shares(grid * middle).cumsum(axis=-1)
        over = slower_than(EDGES, canary, 1.5 * tau) > events
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return low


def bucket_shares(scale: Array) -> Array:
    """Share of requests in each bucket, (..., K), for latencies ``scale`` times as long."""
    below = ndtr((np.log(EDGES) - np.log(_MEDIAN * scale[..., None])) / _SPREAD)
    return np.diff(below, prepend=0.0, axis=-1)


HEALTHY = Canary("healthy", {})
AT_THE_LIMIT = Canary(
    "at the limit",
    {
        # on average at 2 %, or no worse than control
        ERROR: lambda p, flicker: np.maximum(p, 0.02 * flicker),
        REFUSAL: lambda p, flicker: np.minimum(p + 0.05 * flicker, 1.0),
        THUMBS: lambda p, _: np.minimum(2.0 * p, 1.0),
    },
    slower=limit_ratio,
)


def simulate(
    world: World,
    scenario: Scenario,
    canary: Canary,
    *,
    runs: int,
    ticks: int,
    rng: np.random.Generator,
    warm_up: int = WARM_UP_TICKS,
    block: int = 240,
) -> Iterator[tuple[npt.NDArray[np.intp], TickCounts]]:
    """Blocks of ticks and their counts (T, bounds of N runs). Ticks below 0 are before arming: warm up on them."""
    first, past = -warm_up, np.zeros((0, runs, EDGES.size))
    while first < ticks:
        last = min(first + block, 0 if first < 0 else ticks)
        now = np.arange(first, last, dtype=np.intp)
        counts, past = _draw(world, scenario, canary, now, past, runs, rng)
        yield now, counts
        first = last


def _draw(
    world: World,
    scenario: Scenario,
    canary: Canary,
    ticks: npt.NDArray[np.intp],
    past: Array,
    runs: int,
    rng: np.random.Generator,
) -> tuple[TickCounts, Array]:
    weather = scenario.weather(ticks, runs, rng)
    shape = (len(ticks), runs)
    begun = (ticks >= canary.onset)[:, None]
    n_c, n_b = (
        rng.poisson(np.broadcast_to(mean * weather.traffic, shape)).astype(np.float64) for mean in world.requests
    )
    columns: list[tuple[Array, Array, Array, Array]] = []
    slow, past = _latencies(canary.slower, weather.slowness, begun, (n_c, n_b), scenario, past, rng)
    for rule in range(len(RULES)):
        if rule == LATENCY:
            columns.append(slow)
            continue
        base = np.minimum(_RATE_SHARES[rule] * weather.events * weather.flicker, 1.0)
        p_b = np.where(np.isnan(weather.outage), base, weather.outage)
        p_c = p_b
        if rule in canary.shares:
            p_c = np.where(begun, np.minimum(canary.shares[rule](p_b, weather.flicker), 1.0), p_b)
        x_c, x_b = events(n_c, p_c, scenario.canary_clump, rng), events(n_b, p_b, scenario.clump, rng)
        columns.extend([(x_c, n_c, x_b, n_b)] * len(BOUNDS[rule]))
    stacked = [np.stack(part, axis=-1).reshape(len(ticks), -1) for part in zip(*columns, strict=True)]
    if scenario.missing:
        gap = (rng.random(shape) < scenario.missing).repeat(len(columns), axis=1)
        stacked = [np.where(gap, np.nan, part) for part in stacked]
    return TickCounts(*stacked), past


def events(n: Array, p: Array, clump: float, rng: np.random.Generator) -> Array:
    """Events among n trials with mean share p: independent, or in geometric clumps of mean size ``clump``."""
    p = np.broadcast_to(p, n.shape)
    if clump == 1.0:
        return rng.binomial(n.astype(np.int64), p).astype(np.float64)
    # a crowded tick cannot be all clumps of its own: beyond one half the rest fails alone
    return np.minimum(clumped(n * p, clump, rng), n)


def clumped(mean: Array, clump: float, rng: np.random.Generator) -> Array:
    """Sums of a Poisson number of geometric clumps: variance / mean is 2 clump - 1."""
    clumps = rng.poisson(mean / clump).astype(np.float64)
    more = rng.negative_binomial(np.maximum(clumps, 1.0), 1.0 / clump)
    return np.where(clumps > 0, clumps + more, 0.0)


def _latencies(
    slower: Callable[[Array], Array],
    slowness: Array,
    begun: npt.NDArray[np.bool_],
    requests: tuple[Array, Array],
    scenario: Scenario,
    past: Array,
    rng: np.random.Generator,
) -> tuple[tuple[Array, Array, Array, Array], Array]:
    """Counts of the latency rule, and the histograms of control's last hour, for tau."""
    n_c, n_b = requests
    scale_b = np.broadcast_to(slowness, n_b.shape)
    scale_c = scale_b * np.where(begun, slower(scale_b), 1.0)
    canary = _histograms(n_c, scale_c, scenario.canary_clump, rng)
    control = _histograms(n_b, scale_b, scenario.clump, rng)
    whole = np.concatenate([past, control])
    bound = BOUNDS[LATENCY][0]
    x_c, x_b = np.empty(n_c.shape), np.empty(n_b.shape)
    for run in range(n_c.shape[1]):
        tau = tau_before(EDGES, whole[:, run], 0.95, step=STEP)[len(past) :]
        x_c[:, run], x_b[:, run] = slow_counts(bound, EDGES, canary[:, run], control[:, run], tau)
    known = np.isfinite(x_c) & np.isfinite(x_b)
    counts = (x_c, canary[..., -1], x_b, control[..., -1])
    masked = (np.where(known, counts[0], np.nan), np.where(known, counts[1], np.nan))
    return (*masked, np.where(known, counts[2], np.nan), np.where(known, counts[3], np.nan)), whole[-121:]


def _histograms(n: Array, scale: Array, clump: float, rng: np.random.Generator) -> Array:
    """Cumulative counts (T, N, K); with clumps, requests of a clump share a bucket."""
    shares = bucket_shares(scale)
    if clump == 1.0:
        return rng.multinomial(n.astype(np.int64), shares).cumsum(axis=-1).astype(np.float64)
    return clumped(n[..., None] * shares, clump, rng).cumsum(axis=-1)
