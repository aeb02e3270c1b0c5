"""Intervals of a share, of a difference of two paired shares, of a ratio of p95s, and of a ratio of means."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import beta, binom, norm, t

QUANTILE = 0.95
Array = np.ndarray[Any, Any]


def share_low(hits: int, rows: int, level: float) -> float:
    """The lower end for a share (Clopper and Pearson 1934): too high with a probability of at most ``level``."""
    return 0.0 if hits == 0 else float(beta.ppf(level, hits, rows - hits + 1))


def share_high(hits: int, rows: int, level: float) -> float:
    """The upper end: too low with a probability of at most ``level``."""
    return 1.0 if hits == rows else float(beta.isf(level, hits + 1, rows - hits))


def difference_low(more: int, less: int, rows: int, level: float) -> float:
    """The lower end for a difference of paired shares (Tango 1998): ``more`` rows have the one mark alone, ``less``
    rows the other alone.
    """
    return -difference_high(less, more, rows, level)


def difference_high(more: int, less: int, rows: int, level: float) -> float:
    """The upper end of the same."""
    critical = float(norm.isf(level))
    return _root(lambda at: _tango(more, less, rows, at) + critical, -1.0 + 1e-9, 1.0 - 1e-9)


def _tango(more: int, less: int, rows: int, at: float) -> float:
    """The score statistic for "the difference is ``at``"; it falls as ``at`` grows."""
    a = 2.0 * rows
    b = -more - less + (2 * rows - more + less) * at
    c = -less * at * (1 - at)
    shared = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = rows * (2 * shared + at * (1 - at))
    over = more - less - rows * at
    return over / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, over) if over else 0.0


def _root(falls: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falls(middle) > 0 else (low, middle)
    return high


def p95(values: Array) -> float:
    """The smallest value that 95 % of the values do not exceed."""
    return float(np.partition(values, math.ceil(QUANTILE * len(values)) - 1)[math.ceil(QUANTILE * len(values)) - 1])


def p95_ratio(candidate: Array, prod: Array, low_level: float, high_level: float) -> tuple[float, float]:
    """Both ends for p95(candidate) / p95(prod), of positive values paired by row; 0 and infinity where none is known.

    Each p95 has an exact interval between two of its ordered values, whatever the distribution. The two are combined on
    the logarithm as Donner and Zou (2002) do, with the correlation of "slower than the own p95" between the two.
    """
    both = [np.log(np.sort(values)) for values in (candidate, prod)]
    over = np.corrcoef(candidate > p95(candidate), prod > p95(prod))[0, 1] if len(prod) > 1 else 0.0
    shared = 0.0 if math.isnan(over) else max(float(over), 0.0)
    fast, middle, slow = _ends(both[0], (low_level, high_level))
    other_fast, other_middle, other_slow = _ends(both[1], (high_level, low_level))
    low = middle - other_middle - _combined(middle - fast, other_slow - other_middle, shared)
    high = middle - other_middle + _combined(slow - middle, other_middle - other_fast, shared)
    return math.exp(low), math.exp(high) if high < 700 else math.inf


def _ends(logs: Array, levels: tuple[float, float]) -> tuple[float, float, float]:
    """The lower end, the p95 and the upper end of sorted logarithms, from the binomial law of how many are below."""
    size = len(logs)
    below = int(binom.ppf(levels[0], size, QUANTILE))  # at least `below` values do not exceed the p95, mostly
    above = int(binom.isf(levels[1], size, QUANTILE)) + 1
    return (
        float(logs[below - 1]) if below >= 1 else -math.inf,
        float(logs[math.ceil(QUANTILE * size) - 1]),
        float(logs[above - 1]) if above <= size else math.inf,
    )


def _combined(one: float, other: float, shared: float) -> float:
    if math.isinf(one) or math.isinf(other):
        return math.inf
    return math.sqrt(max(one * one + other * other - 2 * shared * one * other, 0.0))


def mean_ratio(candidate: Array, prod: Array, low_level: float, high_level: float) -> tuple[float, float]:
    """Both ends for mean(candidate) / mean(prod), paired by row; 0 and infinity where none is known.

    Fieller's interval (1954): the ratios for which "candidate - ratio x prod has mean 0" is not refused by Student's t.
    """
    if len(prod) < 2:
        return 0.0, math.inf
    degrees = len(prod) - 1
    return (
        _fieller(candidate, prod, -float(t.isf(low_level, degrees))),
        _fieller(candidate, prod, float(t.isf(high_level, degrees))),
    )


def _fieller(candidate: Array, prod: Array, critical: float) -> float:
    def over(ratio: float) -> float:
        left = candidate - ratio * prod
        spread = float(left.std(ddof=1)) / math.sqrt(len(left))
        return float(left.mean()) + critical * spread

    top = 1.0
    while over(top) > 0:
        top *= 2
        if top > 1e12:
            return math.inf
    return _root(over, 0.0, top)
