"""Rings of points with falling resolution, for all rules of one rollout together. No I/O, no clock.

One ring for each `Span`. A point of the finest holds the newest finding of its minute. When a coarser step is over, its
point is made of the finer ones within it: the mean of what they know of the cohorts, and the greatest evidence. Arrays
grow as they fill: most rollouts are never a week old.

A point of one rule takes 18 bytes. Cohorts' values and limits are single floats. Evidence and requests are half floats
of their logarithms: both span many powers of ten, and a chart shows no more digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from killswitch.trends.trend import NOTHING, Moment, Span

Rows = NDArray[np.void]
Buckets = NDArray[np.int32]  # minutes until the year 6000
_POINT: Final = np.dtype([
    ("canary", "f4"), ("control", "f4"), ("limit", "f4"),
    ("evidence", "f2"), ("samples_canary", "f2"), ("samples_control", "f2"),
])  # fmt: skip
_MEANS: Final = ("canary", "control", "limit")
_SAMPLES: Final = ("samples_canary", "samples_control")
_FIRST_CAPACITY: Final = 4
_MOST_EVIDENCE: Final = 1e300
_UNKNOWN: Final = (math.nan,) * 6
# the finest keeps some minutes more: a trip's picture begins an hour before it, and ends ten minutes after it
_LENGTHS: Final = {Span.HOUR: 72, Span.SIX_HOURS: 60, Span.DAY: 48, Span.WEEK: 42}


class Rings:
    """The points of one rollout's ``rules``, by name."""

    __slots__ = ("_rings", "_rules")

    def __init__(self, rules: Sequence[str]) -> None:
        self._rules = tuple(rules)
        self._rings = tuple(_Ring(span.step, _LENGTHS[span], len(self._rules)) for span in Span)

    @property
    def rules(self) -> tuple[str, ...]:
        return self._rules

    def rename(self, rules: Sequence[str]) -> None:
        """Keep these rules only, in this order; a rule that is new has no past."""
        columns = [self._rules.index(name) if name in self._rules else -1 for name in rules]
        for ring in self._rings:
            ring.choose(columns)
        self._rules = tuple(rules)

    def add(self, at: float, moments: Mapping[str, Moment]) -> None:
        """The moments at ``at`` (Unix seconds). An earlier time than the newest drops what was later."""
        finest = self._rings[0]
        bucket = _bucket(at, finest.step)
        newest = finest.newest
        if newest is not None and bucket < newest:
            for ring in self._rings:
                ring.drop_after(_bucket(at, ring.step))
        elif newest is not None and bucket > newest:
            self._close_before(bucket * finest.step)
        finest.put(bucket, _rows([moments.get(rule, NOTHING) for rule in self._rules]))

    def fill(self, span: Span, times: Sequence[float], moments: Sequence[Mapping[str, Moment]]) -> None:
        """Add past moments where nothing is known; what is known is kept."""
        ring = self._ring(span)
        for at, some in zip(times, moments, strict=True):
            ring.fill(_bucket(at, ring.step), _rows([some.get(rule, NOTHING) for rule in self._rules]))

    def read(self, span: Span, since: float, until: float) -> tuple[list[float], list[list[Moment]]]:
        """The ends of the steps in (since, until], and for each rule its moments; the step under way ends at ``until``.

        A step of which nothing is known has `NOTHING`.
        """
        at = list(Span).index(span)
        step = self._rings[at].step
        first, last = math.floor(since / step + 1e-9) + 1, _bucket(until, step)
        found: dict[int, Rows] = dict(self._rings[at].between(first, last))
        for bucket in range(first, last + 1):
            if bucket not in found and at > 0 and bucket >= (self._rings[at].newest or 0):
                rows = self._made_of_finer(at, bucket)  # it is not over yet
                if rows is not None:
                    found[bucket] = rows
        times = [min(bucket * step, until) for bucket in range(first, last + 1)]
        columns = [
            [_moment(found[bucket][column]) if bucket in found else NOTHING for bucket in range(first, last + 1)]
            for column in range(len(self._rules))
        ]
        return times, columns

    @property
    def bytes(self) -> int:
        """The memory of the points."""
        return sum(ring.bytes for ring in self._rings)

    def _ring(self, span: Span) -> _Ring:
        return self._rings[list(Span).index(span)]

    def _close_before(self, begins: float) -> None:
        """Make the points of coarser steps that are over once the finest step that ends at ``begins`` is begun."""
        for at in range(1, len(self._rings)):
            newest = self._rings[at - 1].newest
            if newest is None:
                return
            bucket = _bucket(newest * self._rings[at - 1].step, self._rings[at].step)
            if bucket >= _bucket(begins, self._rings[at].step):
                return
            rows = self._made_of_finer(at, bucket)
            if rows is not None:
                self._rings[at].put(bucket, rows)

    def _made_of_finer(self, at: int, bucket: int) -> Rows | None:
        """The point of a step, made of the finer points within it; None without any."""
        step, finer = self._rings[at].step, self._rings[at - 1]
        first = math.floor((bucket - 1) * step / finer.step + 1e-9) + 1
        last = math.floor(bucket * step / finer.step + 1e-9)
        parts = [rows for _, rows in finer.between(first, last)]
        if at > 1 and last > (finer.newest or 0):
            # the finer step that is under way is no point of its ring yet
            under_way = max(first, (finer.newest or 0) + 1)
            parts += [
                rows for one in range(under_way, last + 1) if (rows := self._made_of_finer(at - 1, one)) is not None
            ]
        return _summed(np.stack(parts)) if parts else None


class _Ring:
    """Points of equal steps, the oldest dropped when it is full. A step without points takes no room."""

    __slots__ = ("_buckets", "_count", "_next", "_points", "length", "step")

    def __init__(self, step: float, length: int, rules: int) -> None:
        self.step, self.length = step, length
        self._points = np.empty((0, rules), _POINT)
        self._buckets = np.empty(0, np.int32)
        self._count = self._next = 0  # how many points there are, and where the next one goes

    @property
    def newest(self) -> int | None:
        return int(self._buckets[self._next - 1]) if self._count else None

    @property
    def bytes(self) -> int:
        return int(self._points.nbytes + self._buckets.nbytes)

    def put(self, bucket: int, rows: Rows) -> None:
        """A point as new as the newest, which it replaces, or newer."""
        if self._count and self.newest == bucket:
            self._points[self._next - 1] = rows
            return
        if self._next == len(self._buckets):
            if self._next == self.length:
                self._next = 0
            else:
                self._grow()
        self._points[self._next] = rows
        self._buckets[self._next] = bucket
        self._next += 1
        self._count = min(self._count + 1, self.length)

    def between(self, first: int, last: int) -> Iterable[tuple[int, Rows]]:
        """The points of the steps from ``first`` to ``last``, the oldest first."""
        order = self._order()
        for position in order[(self._buckets[order] >= first) & (self._buckets[order] <= last)]:
            yield int(self._buckets[position]), self._points[position]

    def fill(self, bucket: int, rows: Rows) -> None:
        """A past point; where there is one, only what it does not know. One older than the ring is long is not kept."""
        order = self._order()
        buckets, points = self._buckets[order], self._points[order]
        newest = int(buckets[-1]) if len(buckets) else bucket
        if bucket <= newest - self.length:
            return
        at = int(np.searchsorted(buckets, bucket))
        if at < len(buckets) and buckets[at] == bucket:
            for name in _POINT.names or ():
                gaps = np.isnan(points[at][name])
                points[at][name][gaps] = rows[name][gaps]
        else:
            buckets, points = np.insert(buckets, at, bucket), np.insert(points, at, rows, axis=0)
        self._take(buckets, points)

    def drop_after(self, bucket: int) -> None:
        order = self._order()
        kept = order[self._buckets[order] <= bucket]
        self._take(self._buckets[kept], self._points[kept])

    def choose(self, columns: Sequence[int]) -> None:
        """Other rules: each column is one of today's, or -1 for a rule without a past."""
        order = self._order()
        points = np.empty((len(order), len(columns)), _POINT)
        for number, column in enumerate(columns):
            points[:, number] = self._points[order, column] if column >= 0 else np.array(_UNKNOWN, _POINT)
        self._take(self._buckets[order], points)

    def _take(self, buckets: Buckets, points: Rows) -> None:
        self._buckets, self._points = buckets[-self.length :].copy(), points[-self.length :].copy()
        self._count = self._next = len(self._buckets)

    def _order(self) -> NDArray[np.intp]:
        """The positions of the points, the oldest first."""
        if self._count < self.length or self._next == self.length:
            return np.arange(self._count)
        return np.concatenate((np.arange(self._next, self.length), np.arange(self._next)))

    def _grow(self) -> None:
        capacity = min(self.length, max(_FIRST_CAPACITY, 2 * len(self._buckets)))
        points, buckets = np.empty((capacity, self._points.shape[1]), _POINT), np.empty(capacity, np.int32)
        points[: self._count], buckets[: self._count] = self._points, self._buckets
        self._points, self._buckets = points, buckets


def _bucket(at: float, step: float) -> int:
    """The step that ends at ``at``, or that ``at`` lies in: (step * (n - 1), step * n]."""
    return math.ceil(at / step - 1e-9)


def _rows(moments: Sequence[Moment]) -> Rows:
    return np.array([_packed(one) for one in moments], _POINT)


def _packed(one: Moment) -> tuple[Any, ...]:
    return (
        math.nan if one.canary is None else one.canary,
        math.nan if one.control is None else one.control,
        math.nan if one.limit is None else one.limit,
        math.nan if one.evidence is None else math.log10(min(max(one.evidence, 1.0), _MOST_EVIDENCE)),
        math.nan if one.samples_canary is None else math.log10(1.0 + max(one.samples_canary, 0.0)),
        math.nan if one.samples_control is None else math.log10(1.0 + max(one.samples_control, 0.0)),
    )


def _moment(point: np.void) -> Moment:
    canary, control, limit, evidence, samples_canary, samples_control = (float(value) for value in point.tolist())
    return Moment(
        None if math.isnan(canary) else canary,
        None if math.isnan(control) else control,
        None if math.isnan(limit) else limit,
        None if math.isnan(evidence) else 10.0**evidence,
        None if math.isnan(samples_canary) else 10.0**samples_canary - 1.0,
        None if math.isnan(samples_control) else 10.0**samples_control - 1.0,
    )


def _summed(parts: Rows) -> Rows:
    """One point of several (points, rules): means of what is known, and the greatest evidence."""
    found = np.empty(parts.shape[1], _POINT)
    for name in _MEANS:
        found[name] = _mean(parts[name].astype(np.float64))
    for name in _SAMPLES:
        found[name] = np.log10(1.0 + _mean(10.0 ** parts[name].astype(np.float64) - 1.0))
    found["evidence"] = np.fmax.reduce(parts["evidence"], axis=0)
    return found


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    there = ~np.isnan(values)
    counts = there.sum(axis=0)
    sums = np.where(there, values, 0.0).sum(axis=0)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return means
