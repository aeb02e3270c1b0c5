"""Control's last week, read in windows of an hour: 168 numbers a rule, whatever the number of scrapes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from killswitch.model import Buckets, Counts, QuantileSignal, QuerySignal, Range, Reading, Rollout, Rule, Want
from killswitch.preflight.assumptions import AssumedTraffic
from killswitch.preflight.backtest.reading import read
from killswitch.preflight.backtest.results import Terms
from killswitch.sources import Source
from killswitch.timestamps import DAY, HOUR
from killswitch.verdicts import histogram

WEEK = 7 * DAY
_PLAIN, _PER_USER = "hour", "hour-per-user"
_ENOUGH = 100.0  # requests of an hour that has a say in which hour was the worst
_MOST_AT_ONCE = 24


@dataclass(frozen=True, slots=True)
class ControlWeek:
    """What control did by one rule. ``hours``: with requests. ``rate``: requests a second of the last day with any.

    ``value``: its mean share of events, or its quantile in seconds. ``worst``: in the worst of a hundred hours.
    ``events``: how many were counted, None for a quantile. ``traffic``: for `killswitch.preflight.power`.
    """

    hours: int
    rate: float
    value: float
    worst: float
    events: float | None
    traffic: AssumedTraffic


def weeks(source: Source, rollout: Rollout, *, until: float, patience: float) -> Mapping[str, ControlWeek]:
    """By rule, for those of which control had a request. Raises Unavailable or AccessDenied, as `read` does."""
    wants = [want for rule in rollout.rules for want in _wants(rollout, rule)]
    terms = Terms(until - WEEK, until, patience=patience)
    ticks = [until - HOUR * back for back in range(round(WEEK / HOUR) - 1, -1, -1)]
    hours: list[Mapping[tuple[str, str, str], Reading]] = []
    for first in range(0, len(ticks), _MOST_AT_ONCE):
        some = ticks[first : first + _MOST_AT_ONCE]
        found = read(source, wants, some, terms)
        hours += [found[tick] for tick in some]
    weeks: dict[str, ControlWeek] = {}
    for rule in rollout.rules:
        for part in (_PER_USER, _PLAIN):
            key = (rollout.name, rule.name, part)
            control = [reading.control for each in hours if (reading := each.get(key)) is not None]
            week = _of_rule(rule, control)
            if week is not None:
                weeks[rule.name] = week
                break
    return weeks


def _wants(rollout: Rollout, rule: Rule) -> Iterator[Want]:
    for part, signal in ((_PER_USER, rule.per_user), (_PLAIN, rule.signal)):
        if signal is not None and not isinstance(signal, QuerySignal):
            yield Want(
                rollout.name,
                rule.name,
                part,
                signal,
                rollout.cohorts_of(rule),
                HOUR,
                Range.WINDOW,
                absent_is_zero=rule.absent_is_zero,
            )


def _of_rule(rule: Rule, control: Sequence[object]) -> ControlWeek | None:
    if isinstance(rule.signal, QuantileSignal):
        return _of_quantile(rule.signal.quantile, [each for each in control if isinstance(each, Buckets)])
    counts = [each for each in control if isinstance(each, Counts) and each.trials > 0]
    if not counts:
        return None
    events, trials = sum(each.events for each in counts), sum(each.trials for each in counts)
    value = min(events / trials, 1.0)
    shares = [min(each.events / each.trials, 1.0) for each in counts if each.trials >= _ENOUGH]
    return ControlWeek(
        len(counts),
        _rate([each.trials for each in counts]),
        value,
        _worst(shares, value),
        events,
        AssumedTraffic(value, assumed=False),
    )


def _of_quantile(quantile: float, control: Sequence[Buckets]) -> ControlWeek | None:
    full = [each for each in control if each.counts[-1] > 0]
    alike = [each for each in full if each.bounds == full[-1].bounds]
    if not alike:
        return None
    whole = histogram.merge(alike[0], *alike[1:])
    value = math.inf if histogram.is_saturated(whole, quantile) else histogram.quantile(whole, quantile)
    values = [histogram.quantile(each, quantile) for each in alike if each.counts[-1] >= _ENOUGH]
    shares = np.mean([np.array(each.counts) / each.counts[-1] for each in alike], axis=0)
    traffic = AssumedTraffic(histogram=Buckets(whole.bounds, tuple(shares.tolist())), assumed=False)
    return ControlWeek(
        len(alike), _rate([each.counts[-1] for each in alike]), value, _worst(values, value), None, traffic
    )


def _rate(requests: Sequence[float]) -> float:
    newest = requests[-24:] if len(requests) > 24 else requests[1:] or requests  # the first hour may be a part of one
    return sum(newest) / len(newest) / HOUR


def _worst(values: Sequence[float], usual: float) -> float:
    known = sorted(value for value in values if math.isfinite(value))
    return max(usual, known[math.ceil(0.99 * len(known)) - 1]) if known else usual
