"""Where the bare comparison of a rule fires, and what it costs: how often it trips a healthy canary.

Shapes: ``T`` ticks, ``N`` runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from killswitch.model import Limits, Rollout, Rule
from killswitch.preflight.assumptions import AssumedTraffic, TrafficLevel, value_of
from killswitch.preflight.simulated_traffic import SimulatedTraffic, moving_sums
from killswitch.timestamps import DAY
from killswitch.verdicts.evidence.evariables import Array

_SEED = 20_260_419


@dataclass(frozen=True, slots=True)
class BareCost:
    """The bare comparison on a healthy canary: the share of days with a trip, and trips a day."""

    days_with_trip: float
    trips_a_day: float


def bare_cost(
    rollout: Rollout, rule: Rule, baseline: AssumedTraffic, level: TrafficLevel, *, runs: int = 60
) -> BareCost:
    """A day of a canary that equals control, under the bare comparison with the rule's `for`."""
    rng = np.random.default_rng(_SEED)
    length = max(1, round(rollout.window / level.step))
    ticks = round(DAY / level.step) + length - 1
    traffic = SimulatedTraffic(rule, baseline, level, runs, rng)
    canary, control = traffic.windows(ticks, value_of(rule, baseline), length)
    held = _held(
        over_limit(rule.limits, canary, control) & (min(level.requests) * length >= rollout.min_requests), rule
    )
    begins = held & ~np.concatenate([np.zeros((1, runs), dtype=np.bool_), held[:-1]])
    return BareCost(float(held.any(axis=0).mean()), float(begins.sum(axis=0).mean()))


def _held(over: npt.NDArray[np.bool_], rule: Rule) -> npt.NDArray[np.bool_]:
    """Where it was over for the rule's `for` ticks in a row."""
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
        tuple(moving_sums(np.nan_to_num(each), length) for each in side) for side in (canary, control)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        over = over_limit(rule.limits, x_c / n_c, x_b / n_b)
    return _held(over & (n_c >= rollout.min_requests) & (n_b >= rollout.min_requests), rule)


def over_limit(limits: Limits, canary: Array, control: Array) -> npt.NDArray[np.bool_]:
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
