"""Control's histograms of the last hour, from which each tick's tau and its latencies come."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from killswitch.model import Buckets, Measurement
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence.quantiles import possible


class ControlPast:
    """Control's cumulative histograms of the last ticks, oldest first, (P, K), with every edge they had.

    A canary with fewer edges does not shorten them. NaN where a histogram did not have an edge.
    """

    __slots__ = ("_counts", "_edges")

    def __init__(self, ticks: int) -> None:
        self._edges: tuple[float, ...] = ()
        self._counts = np.empty((ticks, 0))

    def at(self, edges: tuple[float, ...]) -> Array:
        """The histograms at these edges only. A tick that lacks one of the edges holds a NaN, and is not counted."""
        self._widen(edges)
        if edges == self._edges:
            return self._counts
        return self._counts[:, [self._edges.index(edge) for edge in edges]]

    def _widen(self, edges: tuple[float, ...]) -> None:
        if edges == self._edges or set(edges) <= set(self._edges):
            return
        every = tuple(sorted({*self._edges, *edges}))
        counts = np.full((len(self._counts), len(every)), np.nan)
        counts[:, [every.index(edge) for edge in self._edges]] = self._counts
        self._edges, self._counts = every, counts

    def add(self, measurements: Sequence[Measurement | None]) -> None:
        reach = len(self._counts)
        known = {side.bounds for side in measurements if isinstance(side, Buckets)}
        for bounds in known:
            self._widen(bounds)
        rows = np.array([cumulative_at(side, self._edges) for side in measurements])
        self._counts = np.concatenate([self._counts, rows])[-reach:]
        if known and known != {self._edges}:  # drop edges that no histogram of the last hour had
            kept = np.flatnonzero(~np.isnan(self._counts).all(axis=0))
            self._edges = tuple(self._edges[at] for at in kept)
            self._counts = self._counts[:, kept]

    def copy(self) -> ControlPast:
        """An independent copy."""
        other = ControlPast(0)
        other._edges, other._counts = self._edges, self._counts
        return other

    def latencies(self) -> ev.Latencies:
        """How long control's requests took; `UNKNOWN_LATENCIES` without requests."""
        whole = self._counts[possible(self._counts)]
        total = np.maximum.accumulate(np.maximum(whole, 0.0).sum(axis=0))
        if len(self._edges) < 2 or not total[-1] > 0:
            return ev.UNKNOWN_LATENCIES
        return ev.Latencies(np.array(self._edges), total)


def cumulative_at(measurement: Measurement | None, edges: tuple[float, ...]) -> tuple[float, ...]:
    if not isinstance(measurement, Buckets):
        return (math.nan,) * len(edges)
    if measurement.bounds == edges:
        return measurement.counts
    known = dict(zip(measurement.bounds, measurement.counts, strict=True))
    return tuple(known.get(edge, math.nan) for edge in edges)
