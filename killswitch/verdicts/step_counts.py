"""Readings of disjoint steps as counts: what the evidence of each rule is made of. No I/O, no clock.

A rate's events and trials are read as they are. A quantile rule's histograms become events "slower than an
edge", which needs control's past; and every rollout's requests, by cohort, are the counts of its traffic
split. All rules of a tick are turned into arrays together: a daemon does this for thousands of them.
"""

from __future__ import annotations

import bisect
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from killswitch.flags.flag import StageEntry
from killswitch.model import Buckets, Counts, Measurement, QuantileSignal, Reading, Readings, Reason, Rule, Unreadable
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.baseline import without_control
from killswitch.verdicts.evidence.dispersion import Mask
from killswitch.verdicts.evidence.evariables import Array, Indices
from killswitch.verdicts.evidence.quantiles import TAU_SECONDS, possible, tau_before, tau_next
from killswitch.verdicts.evidence_view import EvidenceView
from killswitch.verdicts.judge import own_bug
from killswitch.verdicts.missing_events import MissingEvents
from killswitch.verdicts.per_user_signal import PerUserSignal
from killswitch.wording import duration_in_words

log = logging.getLogger(__name__)
STEP = "step"
STEP_PER_USER = "step_twin"
PAST = "past"
SPLIT = "(traffic split)"
# whose trials are counted for the split: requests, where the rule file has the usual names; else the first rule's
SPLIT_BY = "error_rate"
TOO_LITTLE, TOO_MUCH = (f"{SPLIT} {side}" for side in ("too_little", "too_much"))
Row = tuple[float, float, float, float]  # events and trials, of canary and of control
_NOTHING: Row = (math.nan,) * 4


@dataclass(slots=True)
class Entry:
    """What evidence is gathered on: a rule, or (``rule`` None) one side of a rollout's traffic split.

    ``percent`` is the flag's when the split was begun. ``control_past``: control's histograms of the
    last hour; ``edges``: those that both cohorts' histograms had at the last tick.
    """

    case: ArmedRollout
    rule: Rule | None
    spec: ev.DetectorSpec
    percent: float = 0.0
    twins: PerUserSignal = field(default_factory=PerUserSignal)
    unheard: MissingEvents = field(default_factory=MissingEvents)
    edges: tuple[float, ...] = ()
    control_past: ControlPast | None = None
    problem: Unreadable | None = None
    # head starts up to here have been paid or were dropped for good
    paid_until: float = -math.inf
    # begin at nothing with the next tick, whatever the flag's times say
    renew: bool = False
    # a breach that later ticks of the same block have ended
    passed: EvidenceView | None = None
    # by a stage's beginning: how long control's requests took in the hour before it
    latencies: dict[float, ev.Latencies] = field(default_factory=dict)
    rollout: str = field(init=False)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.rollout = self.case.rollout.name
        self.name = self.rule.name if self.rule is not None else f"{SPLIT} {_side(self.spec.key)}"


def _side(key: object) -> object:
    return key[1] if isinstance(key, tuple) else key


def step_counts(
    entries: Sequence[Entry],
    first_bound: Indices,
    ticks: Sequence[float],
    readings: Mapping[float, Readings],
    *,
    step: float,
    settle: bool,
) -> StepCounts:
    """What the readings of ``ticks``, ``step`` seconds apart, hold; ``first_bound`` (R,) is each entry's first column.

    ``settle``: this is judged, so twins are adopted, and problems noted in the entries.
    """
    counting = _Counting(entries, first_bound, ticks, readings, step, settle=settle)
    return StepCounts(ev.TickCounts(*counting.values), counting.first_requests)


class StepCounts(NamedTuple):
    """Counts (T, B), and where they are of users' first requests alone, (T, R)."""

    counts: ev.TickCounts
    first_requests: Mask


class _Counting:
    """One call of `step_counts`; ``values`` (4, T, B) are events and trials, of canary and of control."""

    def __init__(
        self,
        entries: Sequence[Entry],
        first_bound: Indices,
        ticks: Sequence[float],
        readings: Mapping[float, Readings],
        step: float,
        *,
        settle: bool,
    ) -> None:
        nothing: Readings = {}
        self._series = [readings.get(tick, nothing) for tick in ticks]
        self._ticks = ticks
        self._step = step
        self._settle = settle
        self._rates: list[tuple[int, list[Row]]] = []
        self._slow: dict[tuple[object, ...], list[_Slow]] = {}
        self._requests: dict[str, Sequence[Reading | None]] = {}
        self._sides: list[tuple[int, Entry]] = []
        self.first_requests = np.zeros((len(ticks), len(entries)), dtype=np.bool_)
        self.values = np.full((4, len(ticks), sum(len(entry.spec.bounds) for entry in entries)), np.nan)
        for row, (column, entry) in enumerate(zip(first_bound.tolist(), entries, strict=True)):
            if entry.rule is None:
                self._sides.append((column, entry))
            else:
                self.first_requests[:, row] = self._take(entry, entry.rule, column)
        self._place_rates()
        for runs in self._slow.values():
            self._place_slow(runs)
        self._place_sides(np.array(ticks, dtype=np.float64))

    def _take(self, entry: Entry, rule: Rule, column: int) -> list[bool]:
        """Place one rule's counts; at which ticks they are its twin's."""
        chosen: list[Reading | None] = []
        of_twin: list[bool] = []
        for at in self._series:
            chosen.append(self._chosen(entry, rule, at))
            of_twin.append(entry.twins.adopted)
        if rule.name == SPLIT_BY or entry.rollout not in self._requests:
            # all requests: where users are judged by their first ones, an arming makes all of them first at once
            self._requests[entry.rollout] = [at.get((entry.rollout, rule.name, STEP)) for at in self._series]
        try:
            if isinstance(rule.signal, QuantileSignal):
                for run in self._runs(entry, rule.signal.quantile, chosen, column):
                    self._slow.setdefault(run.alike, []).append(run)
            else:
                rows = [_row(reading) for reading in chosen]
                self._rates += [(column + bound, rows) for bound in range(len(entry.spec.bounds))]
            entry.problem = _problem(chosen[-1]) or self._unheard(entry, rule, chosen)
        except Exception as error:  # one rule's bug must not disarm the others
            log.exception("counting %s %s failed", entry.rollout, entry.name)
            entry.problem = own_bug(error)
        return of_twin

    def _chosen(self, entry: Entry, rule: Rule, readings: Readings) -> Reading | None:
        plain = readings.get((entry.rollout, rule.name, STEP))
        twin = readings.get((entry.rollout, rule.name, STEP_PER_USER)) if rule.per_user is not None else None
        if not self._settle:
            past = readings.get((entry.rollout, rule.name, PAST))
            known = (each for each in (twin, plain, past) if each is not None)
            return next((each for each in known if not isinstance(each.control, Unreadable)), plain)
        baseline = entry.case.baseline
        served = twin is not None and plain is not None and entry.twins.serves(twin, plain, alone=baseline is not None)
        reading = twin if served else plain
        return reading if baseline is None or reading is None else without_control(rule, reading, baseline)

    def _unheard(self, entry: Entry, rule: Rule, chosen: Sequence[Reading | None]) -> Unreadable | None:
        """Why the canary's absent events can no longer be none, after these ticks."""
        if not self._settle or entry.case.baseline is not None:
            return None
        problem = None
        for reading, tick in zip(chosen, self._ticks, strict=True):
            if reading is not None:
                problem = entry.unheard.after(rule, reading, tick - entry.case.armed_at)
        return problem

    def _runs(
        self, entry: Entry, quantile: float, chosen: Sequence[Reading | None], first_column: int
    ) -> Iterator[_Slow]:
        """Both cohorts' histograms of a block, and control's past from which each tick's tau comes.

        Cut into runs of ticks with the same edges in common: a block of a replay is judged as its ticks alone are.
        """
        past = entry.control_past
        if past is None:
            past = entry.control_past = ControlPast(math.ceil(TAU_SECONDS / self._step))
        if self._settle:
            self._learn_latencies(entry, past, chosen)
        for start, stop, edges in _stretches(chosen, entry.edges):
            entry.edges = edges
            canaries = [reading.canary if reading else None for reading in chosen[start:stop]]
            controls = [reading.control if reading else None for reading in chosen[start:stop]]
            canary, control = ([_cumulative(each, edges) for each in side] for side in (canaries, controls))
            yield _Slow(entry, quantile, first_column, start, edges, canary, control, past.at(edges))
            past.add(controls)

    def _learn_latencies(self, entry: Entry, past: ControlPast, chosen: Sequence[Reading | None]) -> None:
        """How long control's requests took before each stage that begins within these ticks.

        As it was known then: a restarted replica must arrive at what a running one has.
        """
        stages = entry.case.flag.stages
        if len(entry.latencies) >= len(stages):
            return
        for stage in stages:
            row = bisect.bisect_right(self._ticks, stage.at)
            if stage.at in entry.latencies or row == len(self._ticks):
                continue
            known = past.copy()
            if row:
                known.add([reading.control if reading else None for reading in chosen[:row]])
            entry.latencies[stage.at] = known.latencies()
        for old in entry.latencies.keys() - {stage.at for stage in stages}:
            del entry.latencies[old]

    def _place_rates(self) -> None:
        if self._rates:
            rows = np.array([rows for _, rows in self._rates], dtype=np.float64)  # (columns, T, 4)
            self.values[:, :, [column for column, _ in self._rates]] = rows.transpose(2, 1, 0)

    def _place_slow(self, alike: Sequence[_Slow]) -> None:
        try:
            _count_slow(alike, self.values, self._step)
        except Exception as error:
            log.exception("counting the tail of %d rules failed", len(alike))
            for one in alike:
                one.entry.problem = own_bug(error)

    def _place_sides(self, ticks: Array) -> None:
        """Both sides of every split: absent canary traffic is traffic of zero.

        Only steps that lie entirely under the present percent count; a replay must not hold the earlier stages'
        traffic against it.
        """
        if not self._sides:
            return
        names = list(dict.fromkeys(entry.rollout for _, entry in self._sides))
        since = {entry.rollout: _changed_at(entry.case.flag.stages) for _, entry in self._sides}
        unknown = [(math.nan, math.nan)] * len(ticks)
        rows = [[_trials(reading) for reading in self._requests.get(name, ())] or unknown for name in names]
        trials = np.array(rows, dtype=np.float64).transpose(1, 0, 2)  # (T, rollouts, 2)
        whole = np.array([since[name] for name in names])[None, :] <= ticks[:, None] - self._step
        canary, control = (np.where(whole, trials[:, :, side], np.nan) for side in (0, 1))
        counts = ev.split_counts(canary, control)
        both = np.stack([getattr(counts, name) for name in counts.__dataclass_fields__])  # (4, T, rollouts, 2)
        position = {name: at for at, name in enumerate(names)}
        for side, name in enumerate((TOO_LITTLE, TOO_MUCH)):
            chosen = [(column, position[entry.rollout]) for column, entry in self._sides if entry.name == name]
            self.values[:, :, [column for column, _ in chosen]] = both[:, :, [at for _, at in chosen], side]


class ControlPast:
    """Control's cumulative histograms of the last ticks, oldest first, (P, K), with every edge they had.

    Canaries with fewer edges come and go; what is known of control stays. NaN where an edge was not there.
    """

    __slots__ = ("_counts", "_edges")

    def __init__(self, ticks: int) -> None:
        self._edges: tuple[float, ...] = ()
        self._counts = np.empty((ticks, 0))

    def at(self, edges: tuple[float, ...]) -> Array:
        """The same at these edges alone; a tick that lacks one of them holds a NaN, and counts for nothing."""
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
        rows = np.array([_cumulative(side, self._edges) for side in measurements])
        self._counts = np.concatenate([self._counts, rows])[-reach:]
        if known and known != {self._edges}:  # edges that nobody had for an hour are gone
            kept = np.flatnonzero(~np.isnan(self._counts).all(axis=0))
            self._edges = tuple(self._edges[at] for at in kept)
            self._counts = self._counts[:, kept]

    def copy(self) -> ControlPast:
        """The same; what is added to one is not added to the other."""
        other = ControlPast(0)
        other._edges, other._counts = self._edges, self._counts
        return other

    def latencies(self) -> ev.Latencies:
        """How long control's requests took; as where nobody knows where there were none."""
        whole = self._counts[possible(self._counts)]
        total = np.maximum.accumulate(np.maximum(whole, 0.0).sum(axis=0))
        if len(self._edges) < 2 or not total[-1] > 0:
            return ev.UNKNOWN_LATENCIES
        return ev.Latencies(np.array(self._edges), total)


@dataclass(frozen=True, slots=True)
class _Slow:
    """A quantile rule's run of ticks, from the block's ``start`` on: cumulative counts, a row a tick.

    ``past`` are control's of the hour before, (P, K).
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
        """What runs that are counted together have in common."""
        return (self.edges, self.start, len(self.canary), self.quantile, self.entry.spec.bounds)

    @property
    def end(self) -> int:
        """The tick after it, counted from the block's first."""
        return self.start + len(self.canary)

    def known_before_the_last(self) -> bool:
        """Whether control had requests in the hour before the run's last tick."""
        requests = np.concatenate([self.past[:, -1], [row[-1] for row in self.control[:-1]]])
        return bool(np.nansum(requests[-len(self.past) :]) > 0)

    def tau(self, edges: Array, step: float) -> Array:
        """Control's quantile before each tick of the run, (T,)."""
        return tau_before(edges, np.concatenate([self.past, self.control]), self.quantile, step=step)[len(self.past) :]


def _count_slow(alike: Sequence[_Slow], values: Array, step: float) -> None:
    """Histograms as events "slower than an edge", for all rules of one bucket layout, quantile and set of bounds."""
    first = alike[0]
    if len(first.edges) < 2:
        if first.edges and first.end == values.shape[1]:
            for one in alike:
                one.entry.problem = one.entry.problem or beyond(first.edges)
        return
    edges, start, ticks = np.array(first.edges), first.start, len(first.canary)
    canary, control = (np.array([row for one in alike for row in side(one)]) for side in (_canary, _control))
    if ticks == 1:  # all rules of the daemon's tick at once
        tau = tau_next(edges, np.stack([one.past for one in alike]), first.quantile)
    else:
        tau = np.concatenate([one.tau(edges, step) for one in alike])
    columns = np.array([one.first_column for one in alike])
    for number, bound in enumerate(first.entry.spec.bounds):
        slow_canary, slow_control = ev.slow_counts(bound, edges, canary, control, tau)
        placed = ~(np.isnan(slow_canary) | np.isnan(slow_control))
        # each side for itself: control's past is learnt from where there was no canary yet
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
            # where control's past is known and has no such quantile, that lies above the last edge
            if not bound.needs_tau or one.known_before_the_last():
                one.entry.problem = one.entry.problem or beyond(first.edges)


def _canary(run: _Slow) -> Sequence[tuple[float, ...]]:
    return run.canary


def _control(run: _Slow) -> Sequence[tuple[float, ...]]:
    return run.control


# --- measurements as numbers --------------------------------------------------------------------


def _row(reading: Reading | None) -> Row:
    return _NOTHING if reading is None else (*_pair(reading.canary), *_pair(reading.control))


def _pair(measurement: Measurement) -> tuple[float, float]:
    if isinstance(measurement, Counts):
        return measurement.events, measurement.trials
    if isinstance(measurement, Buckets) and measurement.counts:
        return math.nan, measurement.counts[-1]
    return math.nan, math.nan


def _trials(reading: Reading | None) -> tuple[float, float]:
    """Of canary and control, for the traffic split."""
    if reading is None or isinstance(reading.control, Unreadable):
        return math.nan, math.nan
    absent = isinstance(reading.canary, Unreadable) and reading.canary.reason is Reason.NO_DATA
    return 0.0 if absent else _pair(reading.canary)[1], _pair(reading.control)[1]


def _cumulative(measurement: Measurement | None, edges: tuple[float, ...]) -> tuple[float, ...]:
    if not isinstance(measurement, Buckets):
        return (math.nan,) * len(edges)
    if measurement.bounds == edges:
        return measurement.counts
    known = dict(zip(measurement.bounds, measurement.counts, strict=True))
    return tuple(known.get(edge, math.nan) for edge in edges)


def _stretches(
    chosen: Sequence[Reading | None], edges: tuple[float, ...]
) -> Iterator[tuple[int, int, tuple[float, ...]]]:
    """Stretches of ticks, begin and end, with the edges in common; ``edges`` are those of the tick before."""
    start = 0
    for at, reading in enumerate(chosen):
        found = common_edges(reading) or edges
        if found != edges:
            if at > start:
                yield start, at, edges
            start, edges = at, found
    yield start, len(chosen), edges


def common_edges(reading: Reading | None) -> tuple[float, ...]:
    """The edges that both cohorts' histograms have, or the one that is there; empty where there is none."""
    sides = (reading.canary, reading.control) if reading is not None else ()
    bounds = [side.bounds for side in sides if isinstance(side, Buckets)]
    if len(bounds) < 2 or bounds[0] == bounds[1]:
        return bounds[0] if bounds else ()
    shared = set(bounds[1])
    return tuple(edge for edge in bounds[0] if edge in shared)


def _problem(reading: Reading | None) -> Unreadable | None:
    if reading is None:
        return Unreadable(Reason.NO_DATA, "this step was not read")
    for cohort, side in (("canary", reading.canary), ("control", reading.control)):
        if isinstance(side, Unreadable):
            return side if cohort in side.detail else Unreadable(side.reason, f"{cohort}: {side.detail}")
    return None


def beyond(edges: tuple[float, ...]) -> Unreadable:
    """Why a limit on a quantile cannot be judged with the edges that both cohorts' histograms have."""
    if len(edges) < 2:
        detail = "the cohorts' histograms have no upper edge in common; give both the same buckets"
        return Unreadable(Reason.GARBAGE, detail)
    last = duration_in_words(edges[-2])
    detail = f"the limit lies above the last bucket that both cohorts' histograms have ({last}); add larger buckets"
    return Unreadable(Reason.SATURATED, detail)


def _changed_at(stages: Sequence[StageEntry]) -> float:
    """Since when the percent has been what it is."""
    newest = len(stages) - 1
    while newest and stages[newest - 1].percent == stages[newest].percent:
        newest -= 1
    return stages[newest].at
