"""What a simulation rests on: control's rates and latencies, measured or assumed, and the amount of traffic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from killswitch.detectable import ASSUMED_RATE, ASSUMED_RATES, LATENCY_SPREAD, limit_at
from killswitch.model import Buckets, Counts, QuantileSignal, Reading, Readings, Rollout, Rule
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.evidence.evariables import Array

# log-normal latencies around 0.8 s in ten buckets
_ASSUMED_EDGES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0, 12.0, math.inf)
_ASSUMED_MEDIAN = 0.8
_RATE_SIZES = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_SLOW_SIZES = (1.1, 1.25, 1.5, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class AssumedTraffic:
    """Control's values for one rule. ``share``: of its requests that are events. ``histogram``: for quantiles.

    ``assumed``: the values were not measured.
    """

    share: float = 0.0
    histogram: Buckets | None = None
    assumed: bool = True


@dataclass(frozen=True, slots=True)
class TrafficLevel:
    """``rate``: requests a second of both cohorts together, ``percent`` of them the canary's. ``step``: seconds."""

    rate: float
    percent: float
    step: float = 30.0

    @property
    def requests(self) -> tuple[float, float]:
        """Mean requests a step: canary, control."""
        whole = self.rate * self.step
        return whole * self.percent / 100.0, whole * (1.0 - self.percent / 100.0)


def assumed(rule: Rule) -> AssumedTraffic:
    """What control is taken to do if nothing was measured."""
    if isinstance(rule.signal, QuantileSignal):
        edges = np.array(_ASSUMED_EDGES)
        with np.errstate(divide="ignore"):
            z = (np.log(edges) - math.log(_ASSUMED_MEDIAN)) / LATENCY_SPREAD
        below = tuple(0.5 * (1.0 + math.erf(each / math.sqrt(2.0))) for each in z)
        return AssumedTraffic(histogram=Buckets(_ASSUMED_EDGES, below))
    return AssumedTraffic(ASSUMED_RATES.get(rule.name, ASSUMED_RATE))


def measured(
    rollout: Rollout, steps: Sequence[Readings], parts: Sequence[str]
) -> tuple[dict[str, AssumedTraffic], float]:
    """Control's values by rule and its mean requests a step, from ``steps``. ``parts``: wants, best first."""
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
    """The regressions to simulate: values of the canary from just over the limit upwards."""
    limit = limit_of(rule, baseline)
    if isinstance(rule.signal, QuantileSignal):
        return tuple(limit * factor for factor in _SLOW_SIZES)
    return tuple(share for factor in _RATE_SIZES if (share := limit * factor) < 1.0) or (
        min(1.0, limit + (1 - limit) / 2),
    )


def value_of(rule: Rule, baseline: AssumedTraffic) -> float:
    """Control's own share, or its quantile in seconds."""
    if isinstance(rule.signal, QuantileSignal):
        edges, shares = histogram_of(baseline)
        return float(ev.quantile_of(edges, shares, rule.signal.quantile))
    return baseline.share


def limit_of(rule: Rule, baseline: AssumedTraffic) -> float:
    """What the canary must not exceed, given control's value."""
    return limit_at(rule, value_of(rule, baseline))


def histogram_of(baseline: AssumedTraffic) -> tuple[Array, Array]:
    assert baseline.histogram is not None
    return np.array(baseline.histogram.bounds), np.array(baseline.histogram.counts)
