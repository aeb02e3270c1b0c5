"""Intervals of a share, of a difference of two paired shares, of a ratio of p95s, and of a ratio of means.

A ``level`` is the probability with which an end may lie on the wrong side of the truth. All are one-sided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import bdtr, bdtrc, bdtrik, betainccinv, betaincinv, ndtri, stdtrit

QUANTILE = 0.95
HALVINGS = 42  # of an interval that holds the end that is looked for
MOST_RATIO = 1e12
Array = np.ndarray[Any, Any]


def share_low(hits: int, rows: int, level: float) -> float:
    """The lower end for a share, ``hits`` of ``rows`` (Clopper and Pearson 1934)."""
    return 0.0 if hits == 0 else float(betaincinv(hits, rows - hits + 1, level))


def share_high(hits: int, rows: int, level: float) -> float:
    """The upper end of the same."""
    return 1.0 if hits == rows else float(betainccinv(hits + 1, rows - hits, level))


def difference_low(more: int, less: int, rows: int, level: float) -> float:
    """The lower end for a difference of two shares, paired by row (Tango 1998, the score interval).

    ``more`` of ``rows`` rows have the first mark alone, ``less`` have the second alone.
    """
    return -difference_high(less, more, rows, level)


def difference_high(more: int, less: int, rows: int, level: float) -> float:
    """The upper end of the same."""
    critical = -normal(level)
    return _end(lambda at: _tango(more, less, rows, at) + critical > 0, -1.0, 1.0)


def normal(level: float) -> float:
    """The standard normal value that is exceeded with probability 1 - ``level``; negative for a small level."""
    return float(ndtri(level))


def p95(values: Array) -> float:
    """The smallest value that 95 % of the values do not exceed: the third-largest of 50."""
    at = math.ceil(QUANTILE * len(values) - 1e-9) - 1
    return float(np.partition(values, at)[at])


def p95_ratio(candidate: Array, prod: Array, low_level: float, high_level: float) -> tuple[float, float]:
    """Both ends for p95(candidate) / p95(prod), of values of at least 0, paired by row. Both p95s must be over 0.

    0 and infinity where too few rows say anything. Each p95 lies between two of its ordered values, by the binomial law
    of how many values it exceeds, whatever their distribution (Thompson 1936). Donner and Zou (2002) combine the two on
    the logarithm, with the correlation of "slower than the own p95" between the two values of a row.
    """
    middles = math.log(p95(candidate)) - math.log(p95(prod))
    slow = [values > p95(values) for values in (candidate, prod)]
    shared = _correlation(*slow)
    candidate_low, candidate_high = _p95_ends(candidate, low_level, high_level)
    prod_low, prod_high = _p95_ends(prod, high_level, low_level)
    low = middles - _combined(candidate_low, prod_high, shared)
    high = middles + _combined(candidate_high, prod_low, shared)
    return math.exp(max(low, -700.0)) if low > -math.inf else 0.0, math.exp(high) if high < 700 else math.inf


def mean_ratio(candidate: Array, prod: Array, low_level: float, high_level: float) -> tuple[float, float]:
    """Both ends for mean(candidate) / mean(prod), paired by row; 0 and infinity where too few rows say anything.

    Fieller (1954): a ratio is in the interval if "candidate - ratio x prod has mean 0" is not refused. It is refused if
    Student's t refuses it, and Hall's t too (1992), which knows of skewed values: each errs where the other does not.
    Raises ValueError if prod's mean is 0.
    """
    if not prod.any():
        raise ValueError("prod costs nothing, so there is no ratio to it")
    if len(prod) < 2:
        return 0.0, math.inf
    moments = PairMoments.of(candidate, prod)
    critical_low, critical_high = (-float(stdtrit(len(prod) - 1, level)) for level in (low_level, high_level))
    low = _end(lambda at: min(moments.statistics(at)) > critical_low, 0.0, MOST_RATIO)
    high = _end(lambda at: max(moments.statistics(at)) >= -critical_high, 0.0, MOST_RATIO)
    return low, high if high < MOST_RATIO else math.inf


@dataclass(frozen=True, slots=True)
class PairMoments:
    """Of pairs: the means, and the mean products of the deviations from them that a difference needs."""

    rows: int
    means: tuple[float, float]
    second: tuple[float, float, float]  # of the candidate's deviations twice, once, never
    third: tuple[float, float, float, float]

    @classmethod
    def of(cls, candidate: Array, prod: Array) -> PairMoments:
        one, other = candidate - candidate.mean(), prod - prod.mean()
        return cls(
            len(prod),
            (float(candidate.mean()), float(prod.mean())),
            (float((one * one).mean()), float((one * other).mean()), float((other * other).mean())),
            tuple(float(np.mean(one ** (3 - n) * other**n)) for n in range(4)),  # type: ignore[arg-type]  # four of them
        )

    def statistics(self, ratio: float) -> tuple[float, float]:
        """Student's and Hall's t of "candidate - ratio x prod has mean 0"; infinite if no row differs from another."""
        mean = self.means[0] - ratio * self.means[1]
        a, b, c = self.second
        variance = a - 2 * ratio * b + ratio * ratio * c
        if variance <= 1e-18 * (a + ratio * ratio * c + mean * mean):
            student = math.copysign(math.inf, mean) if abs(mean) > 1e-12 * self.means[0] else 0.0
            return student, student
        student = mean / math.sqrt(variance / (self.rows - 1))
        a, b, c, d = self.third
        third = a - 3 * ratio * b + 3 * ratio**2 * c - ratio**3 * d
        skew = third / variance**1.5 / math.sqrt(self.rows)
        return student, student + skew * student**2 / 3 + skew**2 * student**3 / 27 + skew / 6


def _tango(more: int, less: int, rows: int, at: float) -> float:
    """The score statistic for "the difference is ``at``"; it falls as ``at`` grows."""
    a = 2.0 * rows
    b = -more - less + (2 * rows - more + less) * at
    c = -less * at * (1 - at)
    shared = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = rows * (2 * shared + at * (1 - at))
    over = more - less - rows * at
    return over / math.sqrt(variance) if variance > 1e-12 else math.copysign(math.inf, over) if over else 0.0


def _end(is_below: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``is_below`` ends between ``low`` and ``high``."""
    if high > 2.0:  # the ratio is sought in steps first
        top = 1.0
        while top < high and is_below(top):
            low, top = top, 2 * top
        if top >= high:
            return high
        high = top
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return high


def _correlation(one: Array, other: Array) -> float:
    """Of two columns of marks; a negative one would narrow nothing and is taken as 0."""
    a, b, both = one.mean(), other.mean(), (one & other).mean()
    spread = math.sqrt(a * (1 - a) * b * (1 - b))
    return max(float(both - a * b) / spread, 0.0) if spread > 0 else 0.0


def _p95_ends(values: Array, low_level: float, high_level: float) -> tuple[float, float]:
    """How far the ends of the p95's interval are below and above it, on the logarithm; infinity if there is none."""
    logs = np.log(np.sort(values), where=np.sort(values) > 0, out=np.full(len(values), -math.inf))
    size = len(logs)
    middle = float(logs[math.ceil(QUANTILE * size - 1e-9) - 1])
    # the p95 is below the k-th value with the probability that fewer than k values are below it
    below = math.ceil(float(bdtrik(low_level, size, QUANTILE)) - 1e-9)
    while below > 0 and bdtr(below - 1, size, QUANTILE) > low_level:
        below -= 1
    above = math.floor(float(bdtrik(1 - high_level, size, QUANTILE)))
    while above <= size and bdtrc(above - 1, size, QUANTILE) > high_level:
        above += 1
    return (
        middle - float(logs[below - 1]) if below >= 1 else math.inf,
        float(logs[above - 1]) - middle if above <= size else math.inf,
    )


def _combined(one: float, other: float, shared: float) -> float:
    if math.isinf(one) or math.isinf(other):
        return math.inf
    return math.sqrt(max(one * one + other * other - 2 * shared * one * other, 0.0))
