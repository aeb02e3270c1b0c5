"""The windows that people see, as sums of the steps that evidence has already read. No I/O, no clock.

Asking the metric store for windows as well as steps would double what a cycle costs it. The last steps of every
rule are kept as plain numbers, because thousands of rules have ten steps each.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from killswitch.model import Buckets, Counts, Measurement, Reading, Readings, Reason, Unreadable

LONGEST: Final = 3600.0  # seconds; longer windows would cost memory, so the metric store is asked for them
Key = tuple[str, str, str]
LOST = Unreadable(Reason.INTERNAL_ERROR, "the source gave no answer to this question; please report it")


class Windows:
    """The last steps of one rollout's rules, ``step`` seconds each, enough for windows of ``seconds``."""

    def __init__(self, step: float, seconds: float) -> None:
        self._step = step
        self._most = _whole_steps(seconds, step)
        self._kept: dict[Key, _Steps] = {}
        self._until: float | None = None
        self._filled = 0

    def reach(self, seconds: float) -> None:
        """Set another window length; a longer window fills up with the next steps."""
        most = _whole_steps(seconds, self._step)
        if most != self._most:
            self._most, self._filled = most, min(self._filled, most)
            for kept in self._kept.values():
                kept.reach(most)

    def take(self, keys: Iterable[Key], ticks: Sequence[float], readings: Mapping[float, Readings]) -> None:
        """Add later steps, by the tick at which each ended, ascending.

        If steps are missing between the kept ones and these, the kept ones are dropped.
        """
        ticks = ticks[-self._most :]
        if not ticks:
            return
        nothing: Readings = {}
        if self._until is None or round((ticks[0] - self._until) / self._step) != 1:
            self._kept, self._filled = {}, 0
        for key in keys:
            kept = self._kept.get(key)
            if kept is None:
                kept = self._kept[key] = _Steps(self._most)
            for tick in ticks:
                kept.add(readings.get(tick, nothing).get(key))
        self._until = ticks[-1]
        self._filled = min(self._filled + len(ticks), self._most)

    def sum(self, key: Key, since: float, seconds: float) -> Reading | None:
        """The counts of the ``seconds`` before the last step's end, but of nothing before ``since``.

        Contains at least the last step, however short the window is. None if no whole step lies after ``since``, or
        if the steps of ``key`` are not kept. A cohort's problem is that of the last step; earlier gaps are left out.
        """
        kept = self._kept.get(key)
        if kept is None or self._until is None:
            return None
        whole = math.floor((self._until - since) / self._step + 1e-9)
        count = min(whole, self._filled, _whole_steps(seconds, self._step))
        return kept.sum(count, count * self._step) if count > 0 else None


def span(seconds: float, step: float) -> float:
    """The length in seconds of the whole steps in a window of ``seconds``; at least one step."""
    return _whole_steps(seconds, step) * step


def _whole_steps(seconds: float, step: float) -> int:
    return max(1, math.floor(seconds / step + 1e-9))


class _Steps:
    """Both cohorts' last steps of one rule, the newest at the end."""

    __slots__ = ("_canary", "_control", "_queries")

    def __init__(self, most: int) -> None:
        self._canary, self._control = _Side(most), _Side(most)
        self._queries: tuple[str, ...] = ()

    def reach(self, most: int) -> None:
        self._canary.reach(most)
        self._control.reach(most)

    def add(self, reading: Reading | None) -> None:
        self._canary.add(reading.canary if reading is not None else LOST)
        self._control.add(reading.control if reading is not None else LOST)
        if reading is not None:
            self._queries = reading.queries

    def sum(self, count: int, seconds: float) -> Reading:
        return Reading(self._canary.sum(count), self._control.sum(count), seconds, self._queries)


class _Side:
    """One cohort's last steps, as rows of numbers: events and trials, or the cumulative counts of buckets.

    ``_rows`` has at most ``_most`` rows of ``_width`` numbers; NaN where a step has no data, or lacks an edge.
    """

    __slots__ = ("_edges", "_last", "_most", "_rows", "_width")

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows = array("d")
        self._width = 0
        self._edges: tuple[float, ...] = ()
        self._last: Unreadable | None = None

    def reach(self, most: int) -> None:
        self._most = most
        del self._rows[: -most * self._width]

    def add(self, measurement: Measurement) -> None:
        self._last = measurement if isinstance(measurement, Unreadable) else None
        row: tuple[float, ...]
        match measurement:
            case Counts(events, trials):
                row = (events, trials)
                self._shape(2, ())
            case Buckets(bounds, counts):
                row = counts if bounds == self._edges else self._fitted(bounds, counts)
            case _:
                row = (math.nan,) * max(self._width, 1)
                self._width = max(self._width, 1)
        self._rows.extend(row)
        del self._rows[: -self._most * self._width]

    def _shape(self, width: int, edges: tuple[float, ...]) -> None:
        """Change the shape of the rows; rows of another shape become NaN, so that only their number remains."""
        if (width, edges) != (self._width, self._edges):
            before = len(self._rows) // self._width if self._width else 0
            self._rows = array("d", [math.nan]) * (before * width)
            self._width, self._edges = width, edges

    def _fitted(self, bounds: tuple[float, ...], counts: tuple[float, ...]) -> tuple[float, ...]:
        """The counts at all edges known so far; earlier rows get columns for the new edges."""
        if not self._edges:
            self._shape(len(bounds), bounds)
            return counts
        every = tuple(sorted({*self._edges, *bounds}))
        if every != self._edges:
            rows = self._matrix()
            columns = {edge: rows[:, at] for at, edge in enumerate(self._edges) if not np.isnan(rows[:, at]).all()}
            every = tuple(sorted({*columns, *bounds}))
            unknown = np.full(len(rows), math.nan)
            wider = np.stack([columns.get(edge, unknown) for edge in every], axis=1)
            self._rows, self._width, self._edges = array("d", wider.ravel().tolist()), len(every), every
        known = dict(zip(bounds, counts, strict=True))
        return tuple(known.get(edge, math.nan) for edge in every)

    def _matrix(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return np.frombuffer(self._rows, dtype=np.float64).reshape(-1, self._width)

    def sum(self, count: int) -> Measurement:
        if self._last is not None:
            return self._last
        if not self._edges:
            numbers = self._rows[-2 * count :]
            events, trials = sum(numbers[0::2]), sum(numbers[1::2])
            if math.isnan(trials) or math.isnan(events):
                events, trials = (sum(number for number in numbers[at::2] if not math.isnan(number)) for at in (0, 1))
            return Counts(events, trials)
        rows = self._matrix()[-count:]
        whole = rows.sum(axis=0).tolist()
        if not math.isnan(sum(whole)):
            return Buckets(self._edges, tuple(whole))
        whole = rows[~np.isnan(rows).all(axis=1)].sum(axis=0).tolist()
        known = [(edge, count) for edge, count in zip(self._edges, whole, strict=True) if not math.isnan(count)]
        if len(known) < 2:
            return _NO_COMMON_EDGES
        return Buckets(*zip(*known, strict=True))


_NO_COMMON_EDGES = Unreadable(
    Reason.GARBAGE, "the histogram's buckets have changed; this passes by itself within a window"
)
