"""Evidence about the mean of bounded numbers, by betting: valid however often one looks at it.

Someone bets against "the mean is at most m". With a fraction f of the money the bet on a number x is
``1 + f (x - m) / (m - low)``, which is never negative and has a mean of at most 1 while the sentence is true, whatever
came before. The product over all numbers is a test martingale: it reaches 1/alpha with probability at most alpha, ever
(Ville, 1939). No one knows the best f, so the money is spread over twelve of them at the start.

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2024), sections 3
and 4, for the bets and for the interval as all m that are not refused. Mixtures of bets: Robbins, "Statistical methods
related to the law of the iterated logarithm" (1970); Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform,
nonparametric, nonasymptotic confidence sequences" (Annals of Statistics, 2021). For numbers in {-1, 0, 1} and m = 0
this is the sequential sign test of the pairs that differ.

A bet does not depend on the order of the numbers, so a sample is a table of values and how often each was seen. A
million pairs cost what their distinct values cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Fractions of what may be bet: 0.96 sees a rare bad event soonest, 0.0055 a small shift among much noise.
FRACTIONS: Array = np.array([0.96 / 1.6**place for place in range(12)])
# More money on the large ones: what is far over its margin should be seen with few pairs, and what is near it needs
# thousands, where a hundred more do not matter.
_SHARES: Array = 1.0 / np.arange(2, FRACTIONS.size + 2)
_LOG_SHARES: Array = np.log(_SHARES / _SHARES.sum())

# Numbers with more distinct values than this are rounded to so many steps, against whoever bets.
STEPS = 8192
_BISECTIONS = 24  # halvings: a ten-millionth of the range


@dataclass(frozen=True, slots=True)
class Sample:
    """Bounded numbers: ``values`` (V,) between ``low`` and ``high``, and how often each was seen, ``counts`` (..., V).

    ``rounding``: the true numbers are at most this far from ``values``.
    """

    values: Array
    counts: Array
    low: float
    high: float
    rounding: float = 0.0

    @classmethod
    def of(cls, numbers: npt.ArrayLike, low: float, high: float) -> Self:
        """The sample of these numbers, each between ``low`` and ``high``; raises ValueError where one is not."""
        each = np.asarray(numbers, dtype=np.float64)
        if each.size and not (each.min() >= low - 1e-9 and each.max() <= high + 1e-9):
            raise ValueError(
                f"numbers between {low:g} and {high:g} are compared; found {each.min():g} to {each.max():g}"
            )
        unique, times = np.unique(each, return_counts=True)
        values: Array = unique.astype(np.float64)
        seen: Array = times.astype(np.float64)
        if values.size <= STEPS:
            return cls(values, seen, low, high)
        step = (high - low) / STEPS
        rounded = np.bincount(np.rint((values - low) / step).astype(np.intp), weights=seen, minlength=STEPS + 1)
        used = np.flatnonzero(rounded)
        return cls((low + used * step).astype(np.float64), rounded[used].astype(np.float64), low, high, 0.5 * step)

    @classmethod
    def of_signs(cls, better: npt.ArrayLike, same: npt.ArrayLike, worse: npt.ArrayLike) -> Self:
        """How often -1, 0 and 1 were seen; the counts may have any leading axes."""
        counts = np.stack(np.broadcast_arrays(better, same, worse), axis=-1).astype(np.float64)
        return cls(np.array([-1.0, 0.0, 1.0]), counts, -1.0, 1.0)

    @property
    def size(self) -> float:
        """How many numbers, of all leading axes together."""
        return float(self.counts.sum())

    @property
    def mean(self) -> float:
        """Of all numbers; NaN without one."""
        return float((self.counts @ self.values).sum() / self.size) if self.size else math.nan

    def log_above(self, m: float) -> Array:
        """Natural logarithm of the evidence for a mean above ``m``, (...); infinite for an ``m`` below all."""
        if m <= self.low:
            return np.full(self.counts.shape[:-1], math.inf)
        return _log_wealth(self.values - self.rounding - m, self.counts, m - self.low)

    def log_below(self, m: float) -> Array:
        """Natural logarithm of the evidence for a mean below ``m``, (...); infinite for an ``m`` above all."""
        if m >= self.high:
            return np.full(self.counts.shape[:-1], math.inf)
        return _log_wealth(m - self.values - self.rounding, self.counts, self.high - m)

    def grown(self, factor: float) -> Self:
        """The sample as it will be with ``factor`` times as many numbers like these."""
        return type(self)(self.values, self.counts * factor, self.low, self.high, self.rounding)


def _log_wealth(gains: Array, counts: Array, room: float) -> Array:
    """Natural logarithm of the money of all bets together: ``gains`` (V,) are x - m, never below -``room``."""
    steps = np.log1p(np.maximum(FRACTIONS[:, None] * gains / room, -FRACTIONS[:, None]))
    wealth = counts @ steps.T + _LOG_SHARES
    largest = wealth.max(axis=-1, keepdims=True)
    total: Array = largest[..., 0] + np.log(np.exp(wealth - largest).sum(axis=-1))
    return total


class Bets(Protocol):
    """What the pairs say about one number of the canary, ``m`` being a value that it might have."""

    def log_worse(self, m: float) -> float:
        """Natural logarithm of the evidence that the number is above ``m``."""

    def log_within(self, m: float) -> float:
        """Natural logarithm of the evidence that the number is below ``m``."""

    def interval(self, alpha: float) -> tuple[float, float]:
        """The numbers that are not refused; wrong on either side with probability ``alpha``, ever."""

    def grown(self, factor: float) -> Bets:
        """The evidence as it will be with ``factor`` times as many pairs like these."""


@dataclass(frozen=True, slots=True)
class Excess:
    """By how much the canary is worse: a mean, bet on from both sides.

    ``sample``: the paired or matched differences. ``alone``: the canary's own events as 0 and 1, where the
    difference to a rate is tested: a canary below the margin by itself is below control plus the margin. Half of
    the money that bets on "within" is bet on that.
    """

    sample: Sample
    alone: Sample | None = None

    def log_worse(self, m: float) -> float:
        return float(self.sample.log_above(m))

    def log_within(self, m: float) -> float:
        matched = float(self.sample.log_below(m))
        if self.alone is None:
            return matched
        return float(np.logaddexp(matched, float(self.alone.log_below(m)))) - math.log(2.0)

    def interval(self, alpha: float) -> tuple[float, float]:
        return not_refused(self, alpha, self.sample.low, self.sample.high)

    def grown(self, factor: float) -> Excess:
        return Excess(self.sample.grown(factor), None if self.alone is None else self.alone.grown(factor))


def not_refused(evidence: Bets, alpha: float, low: float, high: float) -> tuple[float, float]:
    """The interval of all m between ``low`` and ``high`` that the evidence refuses on neither side."""
    needed = math.log(1.0 / alpha)
    return (
        bisected(lambda m: evidence.log_worse(m) >= needed, low, high),
        -bisected(lambda m: evidence.log_within(-m) >= needed, -high, -low),
    )


def growth_needed(evidence: Bets, m: float, *, log_needed: float, worse: bool, most: float) -> float | None:
    """How many times as many pairs like these prove it, from 1 to ``most``; None where ``most`` times do not."""

    def proven(factor: float) -> bool:
        later = evidence.grown(factor)
        return (later.log_worse(m) if worse else later.log_within(m)) >= log_needed

    if most < 1.0 or not proven(most):
        return None
    return math.exp(-bisected(lambda power: proven(math.exp(-power)), -math.log(most), 0.0))


def bisected(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The largest number at which ``holds`` is true, for a condition that holds up to there; ``low`` if nowhere."""
    if holds(high):
        return high
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
