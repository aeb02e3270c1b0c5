"""Ratios of heavy tails: latency at its p95, cost and tokens winsorised, each against a mark that was known before.

``p95(candidate) < r p95(control)`` means that fewer of the candidate's answers take over r times control's p95 than of
control's take over that p95. So both are counted. The mark comes from control's earlier pairs, and is taken again each
time their number has doubled: whatever the mark is, its error cancels, because it was known before the pairs that are
counted with it (as in docs/statistics.md, "Quantiles are tails").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from killswitch.shadow.evidence.betting import Array, Excess, Sample, not_refused

FIRST = 100  # pairs that only make the first mark
TAIL = 0.95
# A single call's money counts up to this many times control's p99: one endless answer does not decide a month's bill.
_WINSORISED_AT = 0.99
_TIMES = 5.0
LEAST_RATIO, MOST_RATIO = 0.05, 20.0


@dataclass(frozen=True, slots=True)
class RatioExcess:
    """The candidate's number as a multiple of control's. ``at``: for a ratio, the sample that has mean 0 if it is true.

    ``factor``: how many times as many pairs are pretended, for forecasts.
    """

    at: Callable[[float], Sample]
    factor: float = 1.0

    def log_worse(self, m: float) -> float:
        return self._excess(m).log_worse(0.0)

    def log_within(self, m: float) -> float:
        return self._excess(m).log_within(0.0)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Between a twentieth and twenty times."""
        return not_refused(self, alpha, LEAST_RATIO, MOST_RATIO)

    def grown(self, factor: float) -> RatioExcess:
        return RatioExcess(self.at, self.factor * factor)

    def _excess(self, ratio: float) -> Excess:
        return Excess(self.at(ratio).grown(self.factor))


def stretches(size: int, first: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of the stretches that double: what is learned from all before ``begin`` is used up to ``end``."""
    begin = first
    while begin < size:
        yield begin, min(2 * begin, size)
        begin *= 2


def slower(candidate: Array, control: Array) -> Callable[[float], Sample]:
    """The sample of a ratio of p95s: 1 where only the candidate is beyond its mark, -1 where only control is.

    ``candidate`` and ``control``: seconds of the same pairs (N,) in order. The candidate's are NaN where no answer
    came: such a pair is no difference, because control's own failures leave no pair, and `errors` judges them.
    """
    marks = np.full(control.size, np.nan)
    for begin, end in stretches(control.size, FIRST):
        marks[begin:end] = np.quantile(control[:begin], TAIL, method="inverted_cdf")
    used = marks > 0
    seconds, marks, control_beyond = candidate[used], marks[used], control[used] > marks[used]
    answered = ~np.isnan(seconds)

    def at(ratio: float) -> Sample:
        beyond = seconds > ratio * marks
        worse, better = int((beyond & ~control_beyond).sum()), int((~beyond & control_beyond & answered).sum())
        return Sample.of_signs(better, beyond.size - worse - better, worse)

    return at


def dearer(candidate: Array, control: Array) -> Callable[[float], Sample]:
    """The sample of a ratio of mean costs (or tokens) (N,), each counted up to five times control's p99 so far."""
    caps = np.full(control.size, np.nan)
    for begin, end in stretches(control.size, FIRST):
        caps[begin:end] = _TIMES * np.quantile(control[:begin], _WINSORISED_AT, method="inverted_cdf")
    used = caps > 0
    mine = np.minimum(candidate[used] / caps[used], 1.0)
    theirs = np.minimum(control[used] / caps[used], 1.0)

    def at(ratio: float) -> Sample:
        return Sample.of(mine - ratio * theirs, -ratio, 1.0)

    return at
