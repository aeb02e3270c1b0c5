"""Turns the histograms of steps into counts of requests slower than an edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from killswitch.model import Buckets, Reading, Reason, Unreadable
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence.quantiles import tau_before, tau_next
from killswitch.verdicts.evidence_entry import Entry
from killswitch.wording import duration_in_words

# Control's past of an hour is 8 kB a rule, and four times that while its tau is found: of thousands, 30 MB at once.
_PASTS_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class SlowRun:
    """A quantile rule's run of ticks with the same edges, from the block's ``start`` on.

    ``canary`` and ``control`` are cumulative counts, one row per tick; ``past`` (P, K) are control's of the hour
    before.
    """

    entry: Entry
    quantile: float
    first_column: int
    start: int
    edges: tuple[float, ...]
    canary: Sequence[tuple[float, ...]]
    control: Sequence[tuple[float, ...]]
    past: Array

    @property
    def alike(self) -> tuple[object, ...]:
        """The key that runs must share to be counted together."""
        return (self.edges, self.start, len(self.canary), self.quantile, self.entry.spec.bounds)

    @property
    def end(self) -> int:
        """The tick after the run, counted from the block's first tick."""
        return self.start + len(self.canary)

    def known_before_the_last(self) -> bool:
        """Whether control had requests in the hour before the run's last tick."""
        requests = np.concatenate([self.past[:, -1], [row[-1] for row in self.control[:-1]]])
        return bool(np.nansum(requests[-len(self.past) :]) > 0)

    def tau(self, edges: Array, step: float) -> Array:
        """Control's quantile before each tick of the run, (T,)."""
        return tau_before(edges, np.concatenate([self.past, self.control]), self.quantile, step=step)[len(self.past) :]


def count_slow(alike: Sequence[SlowRun], values: Array, step: float) -> None:
    """Count requests slower than an edge, for all rules of one bucket layout, quantile and set of bounds.

    Writes the counts into ``values`` (4, T, B), and why a bound cannot be judged into the runs' entries.
    """
    first = alike[0]
    if len(first.edges) < 2:
        if first.edges and first.end == values.shape[1]:
            for one in alike:
                one.entry.problem = one.entry.problem or beyond(first.edges)
        return
    edges, start, ticks = np.array(first.edges), first.start, len(first.canary)
    canary, control = (np.array([row for one in alike for row in side(one)]) for side in (_canary, _control))
    if ticks == 1:  # all rules of the daemon's tick
        portions = (alike[at : at + _PASTS_AT_ONCE] for at in range(0, len(alike), _PASTS_AT_ONCE))
        pasts = (np.stack([one.past for one in portion]) for portion in portions)
        tau = np.concatenate([tau_next(edges, past, first.quantile) for past in pasts])
    else:
        tau = np.concatenate([one.tau(edges, step) for one in alike])
    columns = np.array([one.first_column for one in alike])
    for number, bound in enumerate(first.entry.spec.bounds):
        slow_canary, slow_control = ev.slow_counts(bound, edges, canary, control, tau)
        placed = ~(np.isnan(slow_canary) | np.isnan(slow_control))
        # Each cohort by itself: control's past is also learnt from ticks without a canary.
        sides = np.stack([
            np.where(np.isnan(slow), np.nan, side).reshape(len(alike), ticks)
            for slow, whole in ((slow_canary, canary[:, -1]), (slow_control, control[:, -1]))
            for side in (slow, whole)
        ])  # fmt: skip
        values[:, start : start + ticks, columns + number] = sides.transpose(0, 2, 1)
        if start + ticks < values.shape[1]:
            continue
        counted = np.isfinite(canary[:, -1]) & np.isfinite(control[:, -1])
        expected = counted & ~placed
        for index in np.flatnonzero(expected[ticks - 1 :: ticks]).tolist():
            one = alike[index]
            # If control's past is known and still has no such quantile, the quantile is above the last edge.
            if not bound.needs_tau or one.known_before_the_last():
                one.entry.problem = one.entry.problem or beyond(first.edges)


def _canary(run: SlowRun) -> Sequence[tuple[float, ...]]:
    return run.canary


def _control(run: SlowRun) -> Sequence[tuple[float, ...]]:
    return run.control


def stretches(
    chosen: Sequence[Reading | None], edges: tuple[float, ...]
) -> Iterator[tuple[int, int, tuple[float, ...]]]:
    """Stretches of ticks with the same common edges: (start, stop, edges). ``edges`` are those of the tick before."""
    start = 0
    for at, reading in enumerate(chosen):
        found = common_edges(reading) or edges
        if found != edges:
            if at > start:
                yield start, at, edges
            start, edges = at, found
    yield start, len(chosen), edges


def common_edges(reading: Reading | None) -> tuple[float, ...]:
    """The edges that both cohorts' histograms have, or those of the only one; empty without a histogram."""
    sides = (reading.canary, reading.control) if reading is not None else ()
    bounds = [side.bounds for side in sides if isinstance(side, Buckets)]
    if len(bounds) < 2 or bounds[0] == bounds[1]:
        return bounds[0] if bounds else ()
    shared = set(bounds[1])
    return tuple(edge for edge in bounds[0] if edge in shared)


def beyond(edges: tuple[float, ...]) -> Unreadable:
    """Why a limit on a quantile cannot be judged with the edges that both cohorts' histograms have."""
    if len(edges) < 2:
        detail = "the cohorts' histograms have no upper edge in common; give both the same buckets"
        return Unreadable(Reason.GARBAGE, detail)
    last = duration_in_words(edges[-2])
    detail = f"the limit lies above the last bucket that both cohorts' histograms have ({last}); add larger buckets"
    return Unreadable(Reason.SATURATED, detail)
