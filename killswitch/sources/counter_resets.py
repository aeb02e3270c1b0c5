"""A closer look at counters that fell or have just appeared: a restart, a new series, or neither.

A step is normally a difference of last samples. Where a counter fell within reach of the step, or has no sample before
it, `Shape.STEP` answers with -Inf, and `Shape.CLOSE_STEP` is asked. It looks at whole processes: the series of the
rule's trials ("basis") that agree in `PROCESS_LABELS`.

- A process restarted when the sum of its counters fell to less than a quarter (`NEAR_ZERO`), and to no more than it can
  have counted since (`FASTER`). Then a series that fell counts from zero. If more is left, a part of the process has
  gone, such as a worker of which the files were deleted: what is left was counted before.
- No counter falls otherwise: the answer is -Inf, which becomes UNKNOWN(GAP).
- After such a fall a series may come back to where it was. The step in which it passes its highest value of the hour
  is a gap, too: most of that way has been counted before.
- A series without a sample for an hour (`SEEN`) is new. It counts from zero where its process went on, and counted at
  least as much itself (plus `SLACK`) as all that is new in it; or where its ``_created`` series says that it was made
  now. A counter that only reappears, or gets another label, meets neither condition.

Everything here is written twice: on arrays, for the sources that have samples, and as PromQL in
`killswitch.sources.prometheus.closer_look`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

PROCESS_LABELS: Final = (
    "cluster", "namespace", "job", "instance", "pod", "pod_name", "kubernetes_pod_name", "container", "host",
    "hostname", "node", "server", "replica", "worker", "pid", "task", "exported_instance", "service_instance_id",
)  # fmt: skip
"""Labels that distinguish processes; a label that a series lacks is empty, as in PromQL."""

NEAR_ZERO: Final = 4
"""A process that restarted shows less than one in this many of what it had counted."""

FASTER: Final = 4
"""How many times faster than within the hour before a process may count after a restart."""

SLACK: Final = 2
"""Events that a process may have counted first in a step in which it counted nothing else."""

SEEN: Final = 3600.0
"""Seconds without any sample after which a series is new."""

CREATED_SCRAPES: Final = 4
"""Scrapes that may pass between the making of a counter and its first sample."""

FALLS_WITHIN: Final = 3600.0
FEW_FALLS: Final = 3
"""More falls of one series than this within an hour, which no restart explains, show that it is not a counter."""

YOUNG: Final = 600.0
"""Seconds that are looked at besides the hour: within an hour a young process was near zero without a restart."""

Milliseconds = NDArray[np.int64]
Values = NDArray[np.float64]
Present = NDArray[np.bool_]


def created_metric(metric: str) -> str | None:
    """The series in which OpenMetrics says when a counter or a histogram was made; None where there is none."""
    for suffix in ("_total", "_bucket", "_count", "_sum"):
        if metric.endswith(suffix):
            return metric.removesuffix(suffix) + "_created"
    return None


@dataclass(frozen=True, slots=True)
class Counter:
    """One series; ``resets``: its falls up to and with each sample. ``created``: its ``_created`` series."""

    labels: Mapping[str, str]
    stamps: Milliseconds
    values: Values
    created: tuple[Milliseconds, Values] | None = None

    def process(self, labels: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.labels.get(label, "") for label in labels)

    def last(self, until: Milliseconds, reach: int) -> tuple[Values, Present]:
        """The last sample in each (until - reach, until]."""
        return _last(self.stamps, self.values, until, reach)

    def resets(self, until: Milliseconds, reach: int) -> Values:
        """How often the counter fell from one sample to the next within each range."""
        first, last = _between(self.stamps, until, reach)
        with np.errstate(invalid="ignore"):
            fell = np.concatenate(([0], np.cumsum(self.values[1:] < self.values[:-1])))
        some = last > first
        return np.where(some, fell[np.where(some, last, 0)] - fell[np.where(some, first, 0)], 0).astype(np.float64)

    def gained(self, until: Milliseconds, reach: int) -> tuple[Values, Values]:
        """The growth from sample to sample within each range, a fall being a restart; and the distances it took."""
        first, last = _between(self.stamps, until, reach)
        with np.errstate(invalid="ignore"):
            steps = np.diff(self.values)
            grown = np.concatenate(([0.0], np.cumsum(np.where(steps < 0, self.values[1:], steps))))
        some = last > first
        at, to = np.where(some, first, 0), np.where(some, last, 0)
        return np.where(some, grown[to] - grown[at], 0.0), (to - at).astype(np.float64)

    def highest(self, until: Milliseconds, reach: int) -> Values:
        return self._extreme(np.fmax, until, reach, -np.inf)

    def lowest(self, until: Milliseconds, reach: int) -> Values:
        return self._extreme(np.fmin, until, reach, np.inf)

    def _extreme(self, of: np.ufunc, until: Milliseconds, reach: int, nothing: float) -> Values:
        """Over each range; ``nothing`` where it is empty."""
        first, last = _between(self.stamps, until, reach)
        found = np.full(len(until), nothing)
        padded = np.append(self.values, nothing)
        some = np.flatnonzero(last >= first)
        if some.size:
            edges = np.stack([first[some], last[some] + 1], axis=1).ravel()
            found[some] = of.reduceat(padded, edges)[::2]
        return found


def _last(stamps: Milliseconds, values: Values, until: Milliseconds, reach: int) -> tuple[Values, Present]:
    at = np.searchsorted(stamps, until, side="right") - 1
    known = np.maximum(at, 0)
    if not len(stamps):
        return np.zeros(len(until)), np.zeros(len(until), dtype=np.bool_)
    present = (at >= 0) & (stamps[known] > until - reach)
    return values[known], present


def _between(stamps: Milliseconds, until: Milliseconds, reach: int) -> tuple[Milliseconds, Milliseconds]:
    return np.searchsorted(stamps, until - reach, side="right"), np.searchsorted(stamps, until, side="right") - 1


class _Sums:
    """Numbers added up by process, (T,) each."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._of: dict[tuple[str, ...], Values] = {}

    def add(self, process: tuple[str, ...], values: Values, where: Present) -> None:
        total = self._of.get(process)
        if total is None:
            total = self._of[process] = np.zeros(self._length)
        total += np.where(where, values, 0.0)

    def __getitem__(self, process: tuple[str, ...]) -> Values:
        found = self._of.get(process)
        return np.zeros(self._length) if found is None else found


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds: the ``ticks``, the ``step`` that ends at each, and how far ``before`` it an old sample may lie."""

    ticks: Milliseconds
    step: int
    before: int
    scrape: int


class _Restarts:
    """Whether each process began again within ``reach`` milliseconds before each tick, as `CloserLook` says it."""

    def __init__(self, basis: Sequence[Counter], labels: Sequence[str], ticks: Milliseconds, reach: int) -> None:
        self._reset, self._highest, self._lowest = (_Sums(len(ticks)) for _ in range(3))
        for each in basis:
            process, highest = each.process(labels), each.highest(ticks, reach)
            there = highest > -np.inf
            self._highest.add(process, highest, there)
            self._lowest.add(process, each.lowest(ticks, reach), there)
            self._reset.add(process, highest, there & (each.resets(ticks, reach) > 0))

    def __getitem__(self, process: tuple[str, ...]) -> Present:
        highest = self._highest[process]
        found: Present = (self._reset[process] * 2 > highest) & (highest > NEAR_ZERO * self._lowest[process])
        return found


class Processes:
    """What the closer looks know of every process, at each tick."""

    def __init__(self, basis: Sequence[Counter], labels: Sequence[str], times: Times) -> None:
        length = len(times.ticks)
        self._labels = labels
        self.times = times
        self._now, self._then, self._born = _Sums(length), _Sums(length), _Sums(length)
        self._going, self._gained = _Sums(length), _Sums(length)
        self._distances: dict[tuple[str, ...], Values] = {}
        self.restarted_lately = _Restarts(basis, labels, times.ticks, round(SEEN * 1000))
        starts = times.ticks - times.step
        for each in basis:
            process = each.process(labels)
            (new, has_new), (old, has_old) = each.last(times.ticks, times.step), each.last(starts, times.before)
            both = has_new & has_old
            with np.errstate(invalid="ignore"):
                self._now.add(process, new + 0 * old, both)
                self._then.add(process, old + 0 * new, both)
            self._going.add(process, np.ones(length), both)
            self._born.add(process, new, _is_born(each, times, has_new))
            gained, distances = each.gained(starts, round(SEEN * 1000))
            self._gained.add(process, gained, both | ~both)
            self._distances[process] = np.maximum(self._distances.get(process, 0.0), distances)

    def restarted(self, process: tuple[str, ...]) -> Present:
        with np.errstate(invalid="ignore"):
            near_zero = self._then[process] > NEAR_ZERO * self._now[process]
            restarted: Present = near_zero & (self._now[process] <= self._may_have_counted(process))
        return restarted

    def _may_have_counted(self, process: tuple[str, ...]) -> Values:
        """Since a restart within the step, or in the scrapes that were missed before it."""
        times, distances = self.times, self._distances.get(process)
        if distances is None:
            return np.full(len(times.ticks), float(SLACK))
        scrapes = times.step / times.scrape + CREATED_SCRAPES
        may: Values = FASTER * scrapes * self._gained[process] / np.maximum(distances, 1.0) + SLACK
        return may

    def allows(self, process: tuple[str, ...], born: Values) -> Present:
        """Whether what is new in a process, ``born`` and in the basis, is no more than what it counted itself."""
        with np.errstate(invalid="ignore"):
            grown = self._now[process] - self._then[process]
            going = (self._going[process] > 0) & ((grown >= 0) | self.restarted(process))
            may = np.where(self.restarted(process) & (grown < 0), self._now[process], grown) + SLACK
            allowed: Present = going & ~(self._born[process] > may) & ~(born > may)
        return allowed

    def of(self, counter: Counter) -> tuple[str, ...]:
        return counter.process(self._labels)


def _is_born(counter: Counter, times: Times, has_new: Present) -> Present:
    _, seen = counter.last(times.ticks - times.step, round(SEEN * 1000))
    born: Present = has_new & ~seen
    return born


def close_steps(counters: Sequence[Counter], processes: Processes, *, several: bool) -> list[tuple[Values, Present]]:
    """What each counter counted in each step; -inf where it fell without a restart. As `CloserLook.step`."""
    times = processes.times
    starts, length = times.ticks - times.step, len(times.ticks)
    born_in = _Sums(length)
    if not several:
        for each in counters:
            new, has_new = each.last(times.ticks, times.step)
            born_in.add(processes.of(each), new, _is_born(each, times, has_new))
    found = []
    for each in counters:
        process = processes.of(each)
        (new, has_new), (old, has_old) = each.last(times.ticks, times.step), each.last(starts, times.before)
        highest, both = each.highest(starts, round(SEEN * 1000)), has_new & has_old
        with np.errstate(invalid="ignore"):
            back = (new >= highest) & (highest > old) & ~processes.restarted_lately[process]
            counted = np.where(new < old, np.where(processes.restarted(process), new, -np.inf), new - old)
            counted = np.where(back, -np.inf, counted)
        born = _is_born(each, times, has_new)
        first = born & (processes.allows(process, born_in[process]) | _newly_made(each, times))
        fell = (each.resets(times.ticks, times.step) > 0) & ~processes.restarted(process)
        found.append((np.where(fell, -np.inf, np.where(both, counted, new)), both | first | fell))
    return found


def _newly_made(counter: Counter, times: Times) -> Present:
    if counter.created is None:
        return np.zeros(len(times.ticks), dtype=np.bool_)
    made, known = _last(*counter.created, times.ticks, times.step)
    return known & (made > (times.ticks - times.step - CREATED_SCRAPES * times.scrape) / 1000)


def fell_in(counters: Sequence[Counter], basis: Sequence[Counter], labels: Sequence[str], ticks: Milliseconds,
            reach: int) -> list[Present]:  # fmt: skip
    """Where each counter fell within a window, and its process did not restart. As `CloserLook.increase`."""
    restarts = _Restarts(basis, labels, ticks, reach)
    return [(each.resets(ticks, reach) > 0) & ~restarts[each.process(labels)] for each in counters]


def unexplained_falls(
    counters: Sequence[Counter], basis: Sequence[Counter], labels: Sequence[str], ticks: Milliseconds
) -> list[tuple[Values, Present]]:
    """As `CloserLook.falls`, by series."""
    found = [(np.zeros(len(ticks)), np.zeros(len(ticks), dtype=np.bool_)) for _ in counters]
    for reach in (round(YOUNG * 1000), round(FALLS_WITHIN * 1000)):
        fell = fell_in(counters, basis, labels, ticks, reach)
        found = [
            (np.where(down, each.resets(ticks, reach), count), known | down)
            for each, down, (count, known) in zip(counters, fell, found, strict=True)
        ]
    return found
