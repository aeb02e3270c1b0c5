"""Ratios of heavy tails: latency at its p95, cost and tokens winsorised, each against a mark that was known before.

``p95(candidate) < r p95(control)`` means that fewer of the canary's answers take over r times control's p95 than of
control's take over that p95. So both are counted. The mark comes from control's earlier pairs, and is taken again each
time their number has doubled: whatever the mark is, its error cancels, because it was known before the pairs that are
counted with it (as in docs/statistics.md, "Quantiles are tails").

Latency is paired where both ran at once. Which pairs those are depends on the canary: while it is slow the queue is
long, and nothing is asked at once. So "within" is proven of all its answers as well (`everyone`), without pairing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from killswitch.shadow.evidence.betting import Array, Excess, Sample, not_refused
from killswitch.shadow.evidence.columns import Flags

FIRST = 100  # pairs that only make the first mark
TAIL = 0.95
# A single call's money counts up to this many times control's p99: one endless answer does not decide a month's bill.
_WINSORISED_AT = 0.99
_TIMES = 5.0
LEAST_RATIO, MOST_RATIO = 0.05, 20.0


@dataclass(frozen=True, slots=True)
class RatioExcess:
    """The canary's number as a multiple of control's. ``at``: for a ratio, the sample that has mean 0 if it is true.

    ``everyone``: a second sample in whose mean "within" must be proven, too. ``factor``: how many times as many pairs
    are pretended, for forecasts.
    """

    at: Callable[[float], Sample]
    everyone: Callable[[float], Sample] | None = None
    factor: float = 1.0

    def log_worse(self, m: float) -> float:
        return self._excess(m).log_worse(0.0)

    def log_within(self, m: float) -> float:
        within = self._excess(m).log_within(0.0)
        if self.everyone is None:
            return within
        return min(within, float(self.everyone(m).grown(self.factor).log_below(0.0)))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Between a twentieth and twenty times."""
        return not_refused(self, alpha, LEAST_RATIO, MOST_RATIO)

    def grown(self, factor: float) -> RatioExcess:
        return replace(self, factor=self.factor * factor)

    def _excess(self, ratio: float) -> Excess:
        return Excess(self.at(ratio).grown(self.factor))


def stretches(size: int, first: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of the stretches that double: what is learned from all before ``begin`` is used up to ``end``."""
    begin = first
    while begin < size:
        yield begin, min(2 * begin, size)
        begin *= 2


def slower(candidate: Array, control: Array) -> Callable[[float], Sample]:
    """The sample of a ratio of p95s: 1 where only the canary is beyond its mark, -1 where only control is.

    ``candidate`` and ``control``: seconds of the same pairs (N,) in order. The canary's are NaN where no answer
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


def slower_anyhow(candidate: Array, control: Array, at_once: Flags) -> Callable[[float], Sample]:
    """The sample of a ratio of p95s over all answers: those that ran at once (N,) as in `slower`, and the others alone.

    Of the others 1 - `TAIL` may be beyond the canary's mark, which is that of control's earlier pairs at once.
    """
    marks = np.full(control.size, np.nan)
    paired = np.flatnonzero(at_once)
    for begin, end in stretches(paired.size, FIRST):
        last = paired[end] if end < paired.size else control.size
        marks[paired[begin] : last] = np.quantile(control[paired[:begin]], TAIL, method="inverted_cdf")
    used = (marks > 0) & ~np.isnan(candidate)
    seconds, marks, at_once = candidate[used], marks[used], at_once[used]
    control_beyond = at_once & (control[used] > marks)
    plain = at_once & ~control_beyond
    values = np.array([-1.0, TAIL - 1.0, 0.0, TAIL, 1.0])

    def at(ratio: float) -> Sample:
        beyond = seconds > ratio * marks
        both, worse, alone = (int((beyond & rows).sum()) for rows in (control_beyond, plain, ~at_once))
        better, same, quick = (int(rows.sum()) for rows in (control_beyond, plain, ~at_once))
        counts = np.array([better - both, quick - alone, both + same - worse, alone, worse], dtype=np.float64)
        return Sample(values, counts, -1.0, 1.0)

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
