"""Arithmetic on a classic histogram's increments: quantiles, tails, sums.

All of it interpolates as PromQL's ``histogram_quantile`` does (observations are spread evenly inside a bucket, and
the first bucket starts at 0), so that a limit here is the limit that a dashboard shows.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

from killswitch.model import Buckets


def quantile(buckets: Buckets, share: float) -> float:
    """The value, in seconds, below which ``share`` (0 to 1) of the observations lie.

    Prometheus, promql/quantile.go, ``bucketQuantile``: NaN without observations or without a finite
    bucket; the highest finite bound if the rank lies beyond it (see `is_saturated`).
    """
    if not 0 <= share <= 1:
        return math.nan if math.isnan(share) else math.copysign(math.inf, share)
    bounds, counts = buckets.bounds, _never_falling(buckets.counts)
    if len(bounds) < 2 or not counts[-1] > 0:
        return math.nan
    rank = share * counts[-1]
    at = bisect_left(counts, rank, 0, len(counts) - 1)
    if at == len(bounds) - 1:
        return bounds[-2]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    lower, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    inside = counts[at] - below
    # Only rank 0 reaches an empty first bucket. Prometheus divides 0 by 0 there and answers NaN.
    return lower + (bounds[at] - lower) * (rank - below) / inside if inside > 0 else math.nan


def is_saturated(buckets: Buckets, share: float) -> bool:
    """Whether the quantile lies beyond the highest finite bound, where its value cannot be known."""
    counts = _never_falling(buckets.counts)
    if not counts or not counts[-1] > 0:
        return False
    return len(counts) < 2 or share * counts[-1] > counts[-2]


def last_finite_bound(buckets: Buckets) -> float:
    """The highest value, in seconds, the histogram can tell apart; -inf without a finite bucket."""
    return buckets.bounds[-2] if len(buckets.bounds) > 1 else -math.inf


def count_below(buckets: Buckets, value: float) -> float:
    """How many observations are at most ``value`` seconds; the inverse of `quantile`.

    Beyond `last_finite_bound` nothing is known: observations in the last bucket then count as above ``value``.
    """
    bounds, counts = buckets.bounds, _never_falling(buckets.counts)
    if math.isnan(value):
        return math.nan
    if value == math.inf:
        return counts[-1]
    at = bisect_left(bounds, value)
    if at == len(bounds) - 1:
        return counts[-2] if len(counts) > 1 else 0.0
    if bounds[at] == value:
        return counts[at]
    lower, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    if value <= lower:
        return 0.0  # in a first bucket that starts at 0, or ends at or below it
    return below + (counts[at] - below) * (value - lower) / (bounds[at] - lower)


def count_above(buckets: Buckets, value: float) -> float:
    """How many observations are slower than ``value`` seconds; see `count_below`."""
    return max(0.0, _never_falling(buckets.counts)[-1] - count_below(buckets, value))


def merge(first: Buckets, *others: Buckets) -> Buckets:
    """All the observations in one histogram.

    If the bounds differ, only the common ones are kept: at those the sum is still exact.
    """
    shared = set(first.bounds).intersection(*(other.bounds for other in others))
    bounds = tuple(bound for bound in first.bounds if bound in shared)
    columns = [dict(zip(each.bounds, each.counts, strict=True)) for each in (first, *others)]
    return Buckets(bounds, tuple(sum(column[bound] for column in columns) for bound in bounds))


def _never_falling(counts: tuple[float, ...]) -> tuple[float, ...]:
    """Cumulative counts made ascending, as ``histogram_quantile`` does: rounding can make one bucket dip."""
    return tuple(accumulate(counts, max))
