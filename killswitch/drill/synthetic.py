"""A metric source that is made up: control as it should be, and a canary that breaks one rule from a time on.

No metric of the service is read or written. Each want is answered with the counts that a source would have given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from killswitch.deadline import Deadline
from killswitch.model import (
    Buckets,
    Counts,
    Limits,
    Measurement,
    QuantileSignal,
    QuerySignal,
    Reading,
    Readings,
    Rule,
    Scalar,
    Signal,
    Want,
)

REQUESTS: Final = 200.0  # of both cohorts together in a second
_EDGES = 60  # buckets from a hundredth of a second on, each a quarter longer than the one before


class SyntheticSource:
    """Answers for the rules of one rollout. ``percent``: the canary's share, 0 to 100. ``breaks_at``: Unix seconds."""

    def __init__(self, rules: Sequence[Rule], broken: Rule, *, percent: float, breaks_at: float) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._broken = broken.name
        self._share = percent / 100.0
        self._breaks_at = breaks_at

    def now(self, deadline: Deadline) -> float:  # noqa: ARG002  as every source
        return self._breaks_at

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:  # noqa: ARG002
        return {want.key: self._reading(want, tick) for want in wants}

    def read_back(self, wants: Sequence[Want], ticks: Sequence[float], deadline: Deadline) -> Mapping[float, Readings]:
        return {tick: self.read(wants, tick, deadline) for tick in ticks}

    def close(self) -> None:
        """Nothing is open."""

    def _reading(self, want: Want, tick: float) -> Reading:
        rule = self._rules[want.rule]
        bad_for = min(max(tick - self._breaks_at, 0.0), want.seconds) if want.rule == self._broken else 0.0
        good, bad = usual(rule), beyond(rule)
        value = good + (bad - good) * (bad_for / want.seconds)
        trials = REQUESTS * want.seconds
        return Reading(
            _measured(want.signal, value, trials * self._share),
            _measured(want.signal, good, trials * (1.0 - self._share)),
            want.seconds,
        )


def usual(rule: Rule) -> float:
    """Control's value, well within the rule's limits and in its unit."""
    limits = rule.limits
    top = limits.maximum if limits.maximum is not None else limits.floor
    if isinstance(rule.signal, QuantileSignal):
        return 0.4 * top if top else 0.5
    if isinstance(rule.signal, QuerySignal):
        return 0.4 * top if top else 1.0
    return min(0.4 * top, 0.02) if top else 0.01


def beyond(rule: Rule) -> float:
    """The broken canary's value: well over every limit of the rule. A share stays one."""
    control = usual(rule)
    worst = max(_bounds(rule.limits, control), default=control)
    if isinstance(rule.signal, QuantileSignal | QuerySignal):
        return 3.0 * worst
    return min(max(4.0 * worst, worst + 0.2), worst + 0.9 * (1.0 - worst))


def _bounds(limits: Limits, control: float) -> list[float]:
    return [
        *([] if limits.maximum is None else [limits.maximum]),
        *([] if limits.max_increase is None else [control + limits.max_increase]),
        *([] if limits.max_ratio is None else [control * limits.max_ratio]),
        *([] if limits.floor is None else [limits.floor]),
    ]


def _measured(signal: Signal, value: float, trials: float) -> Measurement:
    if isinstance(signal, QuerySignal):
        return Scalar(value)
    if isinstance(signal, QuantileSignal):
        return _histogram(value, signal.quantile, trials)
    return Counts(round(value * trials), round(trials))


def _histogram(value: float, quantile: float, trials: float) -> Buckets:
    """Latencies whose ``quantile`` is about ``value`` seconds, spread as an exponential distribution is."""
    scale = value / -math.log(1.0 - min(quantile, 0.999))
    edges = tuple(0.01 * 1.25**number for number in range(_EDGES))
    counts = tuple(math.floor(trials * (1.0 - math.exp(-edge / scale))) for edge in edges)
    return Buckets((*edges, math.inf), (*(float(count) for count in counts), float(math.floor(trials))))
