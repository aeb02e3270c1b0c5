"""What asks are answered with: a column of points, one a tick."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from killswitch.model import Buckets, Reason, Unreadable
from killswitch.sources.asks import Ask

Point = float | Buckets | Unreadable | None
"""What an ask gave at one tick: a sum, bucket counts (in the histogram's own unit), a failure, or nothing."""

Column = Sequence[Point] | Unreadable
"""An ask's points, one a tick; or why it could not be asked at all."""

Answers = Mapping[Ask, Column]

WHOLE: Final = 1 - 1e-9
"""A share from here on counts as all: the share of an edge in two spellings ("1" and "1.0") is a sum of two."""


def points_of(column: Column, length: int) -> Sequence[Point]:
    return [column] * length if isinstance(column, Unreadable) else column


def summed(asks: Sequence[Ask], answers: Answers, ticks: int) -> Sequence[Point]:
    """Several selectors of one signal, added up; a failure of one is a failure of the sum."""
    if len(asks) == 1:
        return points_of(answers[asks[0]], ticks)
    return [_added(points) for points in zip(*(points_of(answers[ask], ticks) for ask in asks), strict=True)]


def _added(points: Sequence[Point]) -> Point:
    failed = next((point for point in points if isinstance(point, Unreadable)), None)
    if failed is not None:
        return failed
    numbers = [point for point in points if isinstance(point, float)]
    return sum(numbers) if numbers else None


def buckets_of(counts: Mapping[float, float]) -> Buckets | Unreadable:
    """Cumulative counts by upper edge, in order; the histogram must have its ``+Inf`` bucket."""
    if math.inf not in counts:
        return Unreadable(Reason.GARBAGE, 'the histogram has no le="+Inf" bucket; is it a classic histogram?')
    bounds = tuple(sorted(counts))
    return Buckets(bounds, tuple(counts[bound] for bound in bounds))
