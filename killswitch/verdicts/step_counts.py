"""Turns readings of disjoint steps into the counts that evidence is made of. No I/O, no clock.

A rate's events and trials are used as they were read. A quantile rule's histograms become events "slower than an
edge", which needs control's past. Each rollout's requests, by cohort, are the counts of its traffic split. All rules
of a tick are turned into arrays together, because a daemon does this for thousands of them.
"""

from __future__ import annotations

import bisect
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from killswitch.flags.flag import StageEntry
from killswitch.model import (
    Buckets,
    Counts,
    Measurement,
    QuantileSignal,
    RatioSignal,
    Reading,
    Readings,
    Reason,
    Rule,
    Unreadable,
)
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.baseline import without_control
from killswitch.verdicts.control_past import ControlPast, cumulative_at
from killswitch.verdicts.evidence.dispersion import Mask
from killswitch.verdicts.evidence.evariables import Array, Indices
from killswitch.verdicts.evidence.quantiles import TAU_SECONDS
from killswitch.verdicts.evidence_entry import PAST, STEP, STEP_PER_USER, TOO_LITTLE, TOO_MUCH, Entry
from killswitch.verdicts.judge import own_bug
from killswitch.verdicts.slow_requests import SlowRun, count_slow, stretches

log = logging.getLogger(__name__)
# The rule whose trials are counted for the split: all requests, if the rule file uses the usual name. Otherwise the
# first rule's trials are counted.
SPLIT_BY = "error_rate"
Row = tuple[float, float, float, float]  # events and trials, of canary and of control
_NOTHING: Row = (math.nan,) * 4


def step_counts(
    entries: Sequence[Entry],
    first_bound: Indices,
    ticks: Sequence[float],
    readings: Mapping[float, Readings],
    *,
    step: float,
    settle: bool,
) -> StepCounts:
    """The counts in the readings of ``ticks``, ``step`` seconds apart.

    ``first_bound`` (R,): each entry's first column. ``settle``: these counts are judged, so per-user signals are
    adopted, and problems are noted in the entries.
    """
    counting = _Counting(entries, first_bound, ticks, readings, step, settle=settle)
    return StepCounts(ev.TickCounts(*counting.values), counting.first_requests)


class StepCounts(NamedTuple):
    """Counts (T, B), and where they are of users' first requests only, (T, R)."""

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
        self._slow: dict[tuple[object, ...], list[SlowRun]] = {}
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
        """Place one rule's counts; returns for each tick whether they are of its per-user signal."""
        chosen: list[Reading | None] = []
        of_per_user: list[bool] = []
        by_users = isinstance(rule.signal, RatioSignal) and bool(rule.signal.per)
        for at in self._series:
            chosen.append(self._chosen(entry, rule, at))
            of_per_user.append(entry.per_user.adopted or by_users)
        if not by_users and (rule.name == SPLIT_BY or entry.rollout not in self._requests):
            # All requests: an arming makes every user's next request a first one, which would distort the split. A rule
            # that counts users leaves out those whose requests failed, so a bad canary would seem to have no traffic.
            self._requests[entry.rollout] = [at.get((entry.rollout, rule.name, STEP)) for at in self._series]
        try:
            if isinstance(rule.signal, QuantileSignal):
                for run in self._runs(entry, rule.signal.quantile, chosen, column):
                    self._slow.setdefault(run.alike, []).append(run)
            else:
                rows = [_row(reading) for reading in chosen]
                self._rates += [(column + bound, rows) for bound in range(len(entry.spec.bounds))]
            entry.problem = _problem(chosen[-1]) or self._missing_events(entry, rule, chosen)
        except Exception as error:  # one rule's bug must not disarm the others
            log.exception("counting %s %s failed", entry.rollout, entry.name)
            entry.problem = own_bug(error)
        return of_per_user

    def _chosen(self, entry: Entry, rule: Rule, readings: Readings) -> Reading | None:
        plain = readings.get((entry.rollout, rule.name, STEP))
        per_user = readings.get((entry.rollout, rule.name, STEP_PER_USER)) if rule.per_user is not None else None
        if not self._settle:
            past = readings.get((entry.rollout, rule.name, PAST))
            known = (each for each in (per_user, plain, past) if each is not None)
            return next((each for each in known if not isinstance(each.control, Unreadable)), plain)
        baseline = entry.armed.baseline
        served = (
            per_user is not None
            and plain is not None
            and entry.per_user.serves(per_user, plain, alone=baseline is not None)
        )
        reading = per_user if served else plain
        return reading if baseline is None or reading is None else without_control(rule, reading, baseline)

    def _missing_events(self, entry: Entry, rule: Rule, chosen: Sequence[Reading | None]) -> Unreadable | None:
        """Why, after these ticks, the canary's absent counter can no longer be taken for zero."""
        if not self._settle or entry.armed.baseline is not None:
            return None
        problem = None
        for reading, tick in zip(chosen, self._ticks, strict=True):
            if reading is not None:
                problem = entry.missing_events.after(rule, reading, tick - entry.armed.armed_at)
        return problem

    def _runs(
        self, entry: Entry, quantile: float, chosen: Sequence[Reading | None], first_column: int
    ) -> Iterator[SlowRun]:
        """Both cohorts' histograms of a block, with the past of control that gives each tick's tau.

        The block is cut into runs of ticks with the same common edges, so that a block of a replay is judged exactly
        as its single ticks would be.
        """
        past = entry.control_past
        if past is None:
            past = entry.control_past = ControlPast(math.ceil(TAU_SECONDS / self._step))
        if self._settle:
            self._learn_latencies(entry, past, chosen)
        for start, stop, edges in stretches(chosen, entry.edges):
            entry.edges = edges
            canaries = [reading.canary if reading else None for reading in chosen[start:stop]]
            controls = [reading.control if reading else None for reading in chosen[start:stop]]
            canary, control = ([cumulative_at(each, edges) for each in side] for side in (canaries, controls))
            yield SlowRun(entry, quantile, first_column, start, edges, canary, control, past.at(edges))
            past.add(controls)

    def _learn_latencies(self, entry: Entry, past: ControlPast, chosen: Sequence[Reading | None]) -> None:
        """Note how long control's requests took before each stage that begins within these ticks.

        Only what was known then counts: a restarted replica must get the same result as a running one.
        """
        stages = entry.armed.flag.stages
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

    def _place_slow(self, alike: Sequence[SlowRun]) -> None:
        try:
            count_slow(alike, self.values, self._step)
        except Exception as error:
            log.exception("counting the tail of %d rules failed", len(alike))
            for one in alike:
                one.entry.problem = own_bug(error)

    def _place_sides(self, ticks: Array) -> None:
        """Place the counts of both sides of every split. Absent canary traffic counts as zero traffic.

        Only steps entirely under the present percent count: a replay must not compare the traffic of earlier stages
        with it.
        """
        if not self._sides:
            return
        names = list(dict.fromkeys(entry.rollout for _, entry in self._sides))
        since = {entry.rollout: _changed_at(entry.armed.flag.stages) for _, entry in self._sides}
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
    """The trials of canary and control, for the traffic split."""
    if reading is None or isinstance(reading.control, Unreadable):
        return math.nan, math.nan
    absent = isinstance(reading.canary, Unreadable) and reading.canary.reason is Reason.NO_DATA
    return 0.0 if absent else _pair(reading.canary)[1], _pair(reading.control)[1]


def _problem(reading: Reading | None) -> Unreadable | None:
    if reading is None:
        return Unreadable(Reason.NO_DATA, "this step was not read")
    for cohort, side in (("canary", reading.canary), ("control", reading.control)):
        if isinstance(side, Unreadable):
            return side if cohort in side.detail else Unreadable(side.reason, f"{cohort}: {side.detail}")
    return None


def _changed_at(stages: Sequence[StageEntry]) -> float:
    """Since when (Unix seconds) the flag has had its present percent."""
    newest = len(stages) - 1
    while newest and stages[newest - 1].percent == stages[newest].percent:
        newest -= 1
    return stages[newest].at
