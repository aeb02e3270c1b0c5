"""Power: how soon a regression of a given size would be seen, before any user is exposed to it.

Traffic is drawn from what control does today (measured, or assumed), the canary is made worse by known
amounts, and the daemon's own detector judges it, many runs at once. Each delay is shown with the
information bound, ln(needed) / KL, which no valid test beats by much, and with the false trips that the bare
comparison would cost. Random numbers are seeded: the same question gets the same answer.

Shapes: ``T`` ticks, ``N`` runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from killswitch.model import QuantileSignal, RatioSignal, Rollout, Rule
from killswitch.preflight.assumptions import AssumedTraffic, TrafficLevel, assumed, sizes, value_of
from killswitch.preflight.bare_cost import BareCost, bare_cost
from killswitch.preflight.progress import Progress
from killswitch.preflight.simulated_traffic import SimulatedTraffic, true_shares
from killswitch.timestamps import DAY, HOUR
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.accumulator import WARM_UP_TICKS
from killswitch.verdicts.evidence.dispersion import WARM_TICKS
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence.starts import PURSE

PERCENTS = (0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0)
RUNS = 200
_BLOCK = 60
_SEED = 20_260_419


@dataclass(frozen=True, slots=True)
class Delay:
    """How long a regression takes to be seen, in seconds. None: not within ``horizon`` in half (nine tenths) of runs.

    ``value``: the canary's share of events, or its quantile in seconds. ``bound``: what no test beats by
    much, None if the canary is within its limit. ``seen``: the share of runs that saw it within ``horizon``.
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
class RulePower:
    rule: Rule
    baseline: AssumedTraffic
    delays: tuple[Delay, ...]
    bare: BareCost


def power(
    rollout: Rollout,
    baselines: Mapping[str, AssumedTraffic],
    level: TrafficLevel,
    *,
    horizon: float = DAY / 4,
    runs: int = RUNS,
    progress: Progress = lambda _: None,
) -> tuple[RulePower, ...]:
    """The power of every rule that counts requests. Free queries have no counts and are left out."""
    rules = [rule for rule in rollout.rules if isinstance(rule.signal, RatioSignal | QuantileSignal)]
    found: list[RulePower] = []
    for position, rule in enumerate(rules):
        baseline = baselines.get(rule.name) or assumed(rule)
        delays = []
        values = sizes(rule, baseline)
        for number, value in enumerate(values):
            delays.append(delay(rollout, rule, baseline, level, value, horizon=horizon, runs=runs))
            progress((position + (number + 1) / (len(values) + 1)) / len(rules))
        found.append(RulePower(rule, baseline, tuple(delays), bare_cost(rollout, rule, baseline, level)))
        progress((position + 1) / len(rules))
    return tuple(found)


def delay(
    rollout: Rollout,
    rule: Rule,
    baseline: AssumedTraffic,
    level: TrafficLevel,
    value: float,
    *,
    horizon: float = DAY,
    runs: int = RUNS,
) -> Delay:
    """How long the detector takes if the canary's value is ``value``; ``horizon`` in seconds."""
    first = _seen_after(rollout, rule, baseline, level, value, onset=0, horizon=horizon, runs=runs)
    later = _seen_after(rollout, rule, baseline, level, value, onset=WARM_TICKS, horizon=horizon, runs=runs)
    needed = len(rollout.rules) / rollout.false_trips_per_day
    return Delay(
        value,
        _quantile(first, 0.5),
        _quantile(first, 0.9),
        _quantile(later, 0.5),
        _quantile(later, 0.9),
        information_bound(rule, baseline, level, value, needed),
        float(np.isfinite(later).mean()),
        horizon,
    )


def smallest_percent(
    rollout: Rollout,
    rule: Rule,
    baseline: AssumedTraffic,
    level: TrafficLevel,
    value: float,
    *,
    within: float = HOUR,
    runs: int = RUNS,
    progress: Progress = lambda _: None,
) -> tuple[float | None, tuple[tuple[float, Delay], ...]]:
    """The smallest of `PERCENTS` at which nine of ten runs see it ``within`` seconds (None: none), and all tried."""
    tried: list[tuple[float, Delay]] = []
    for number, percent in enumerate(PERCENTS):
        found = delay(rollout, rule, baseline, replace(level, percent=percent), value, horizon=within, runs=runs)
        tried.append((percent, found))
        progress((number + 1) / len(PERCENTS))
        if found.later_90 is not None:
            return percent, tuple(tried)
    return None, tuple(tried)


def _quantile(delays: Array, share: float) -> float | None:
    found = float(np.sort(delays)[math.ceil(share * delays.size) - 1])
    return found if math.isfinite(found) else None


def information_bound(
    rule: Rule, baseline: AssumedTraffic, level: TrafficLevel, value: float, needed: float
) -> float | None:
    """ln(needed) / information of a tick, for the bound with the least information; at least one step. Seconds."""
    n_c, n_b = level.requests
    worst = math.inf
    for bound in ev.bounds_of(rule):
        p_c, p_b = true_shares(rule, baseline, bound, value)
        worst = min(
            worst,
            ev.information(
                bound.half_plane, canary_trials=n_c, control_trials=n_b, canary_share=p_c, control_share=p_b
            ),
        )
    return float(max(math.log(needed) / worst, 1.0) * level.step) if worst > 1e-12 else None


def _seen_after(
    rollout: Rollout,
    rule: Rule,
    baseline: AssumedTraffic,
    level: TrafficLevel,
    value: float,
    *,
    onset: int,
    horizon: float,
    runs: int,
) -> Array:
    """Seconds from onset to the breach, (N,), inf where there was none. Control's past hour is known."""
    rng = np.random.default_rng(_SEED + onset)
    bounds = ev.bounds_of(rule)
    alpha = rollout.false_trips_per_day / len(rollout.rules)
    state = ev.start([ev.DetectorSpec(run, bounds, alpha, bursts=rollout.bursts) for run in range(runs)])
    draw = SimulatedTraffic(rule, baseline, level, runs, rng)
    warm = draw.counts(WARM_UP_TICKS, value_of(rule, baseline), bounds)
    state = ev.warm_up(state, warm.control_events, warm.control_trials)
    found = np.full(runs, np.inf)
    tick, last = 0, onset + math.ceil(horizon / level.step)
    while tick < last and not np.isfinite(found).all():
        length = min(_BLOCK, last - tick) if tick >= onset else min(_BLOCK, onset - tick)
        counts = draw.counts(length, value if tick >= onset else value_of(rule, baseline), bounds)
        heads = np.zeros((length, runs))
        if tick == 0:
            heads[0] = 0.5 * PURSE
        times = np.arange(tick, tick + length, dtype=np.float64) * level.step
        state, trace = ev.advance(state, counts, times, step=level.step, head_starts=heads)
        if tick >= onset:
            breach = trace.breach & ~np.isfinite(found)
            at = np.where(breach.any(axis=0), breach.argmax(axis=0), -1)
            found = np.where(at >= 0, (tick - onset + at + 1) * level.step, found)
        tick += length
    return found
