"""The dossier: the evidence gathered on every rule of every watched rollout. No I/O, no clock.

It turns readings of disjoint steps into counts, keeps what the evidence needs of the past (control's
histogram of the last hour, sums since the excursion began), and advances all rules that stand at the
same tick in one set of arrays. A fresh rollout is opened at an earlier tick and catches up through the
same `take` as everybody else, so a restarted replica arrives at what a running one has.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np

from killswitch import evidence as ev
from killswitch.baseline import without_control
from killswitch.case import Case
from killswitch.evidence.dispersion import WARM_TICKS
from killswitch.evidence.evariables import Array
from killswitch.evidence.quantiles import TAU_SECONDS, slowest, tau_before, tau_next
from killswitch.flag import StageEntry
from killswitch.judge import own_bug
from killswitch.model import (
    Buckets,
    Cohort,
    CohortMatchers,
    Counts,
    Decide,
    Matcher,
    Measurement,
    QuantileSignal,
    Reading,
    Reason,
    Rule,
    Unreadable,
)
from killswitch.sources import Range, Readings, Want
from killswitch.twins import TwinWatch
from killswitch.wording import duration_in_words

log = logging.getLogger(__name__)
STEP = "step"
STEP_TWIN = "step_twin"
PAST = "past"
WARM_UP_SECONDS = 3600.0
# more than control needs not to be cold: a latency rule's first tick has no tau, and scrapes are missed
WARM_UP_TICKS = round(1.1 * WARM_TICKS)
SPLIT = "(traffic split)"
# whose trials are counted for it: requests, where the rule file has the usual names; else those of the first rule
SPLIT_BY = "error_rate"
# without a latency rule nobody knows how long requests take; the longest that is waited for
UNKNOWN_DRAIN = 10.0
LONGEST_DRAIN = 600.0
# Traffic is judged against the flag's percent with a budget of its own: it trips nothing.
SPLIT_ALPHA = 0.01


@dataclass(frozen=True, slots=True)
class View:
    """What is known of one rule after its last tick.

    ``value``: 1 in ``value`` by luck; ``needed``: where it becomes a breach. ``events_*`` of ``trials_*``
    since ``since`` (Unix seconds). ``updated_at``: the last tick that moved it, None before the first;
    ``until``: the last tick that was taken in, whether it held anything or not.
    """

    value: float
    needed: float
    since: float | None
    events_canary: float
    trials_canary: float
    events_control: float
    trials_control: float
    updated_at: float | None
    until: float
    warming_up: bool
    problem: Unreadable | None


@dataclass(slots=True)
class _Entry:
    """One row of the arrays: a rule, or one side of a rollout's traffic split.

    ``percent`` is the flag's when the split was begun. ``control_past``: control's histograms of the
    last hour; ``edges``: those that both cohorts' histograms had at the last tick.
    """

    case: Case
    rule: Rule | None
    spec: ev.RuleSpec
    percent: float = 0.0
    twins: TwinWatch = field(default_factory=TwinWatch)
    edges: tuple[float, ...] = ()
    control_past: _ControlPast | None = None
    problem: Unreadable | None = None
    updated_at: float | None = None
    # head starts up to here have been paid or were dropped for good
    paid_until: float = -math.inf

    @property
    def rollout(self) -> str:
        return self.case.rollout.name

    @property
    def name(self) -> str:
        """The rule's, or one that no rule can have."""
        return self.rule.name if self.rule is not None else _split_name(_side(self))


@dataclass(slots=True)
class _Group:
    """Entries that have been taken as far as the same tick. ``tally`` (R, J, 4): sums since each excursion's start.

    ``rows``: where each rollout's rules, and the sides of its split, stand.
    """

    until: float
    entries: list[_Entry]
    evidence: ev.Evidence
    tally: Array
    since: Array
    warming: Array
    values: Array
    phi: Array
    rows: dict[str, dict[str, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = {}
        for row, entry in enumerate(self.entries):
            self.rows.setdefault(entry.rollout, {})[entry.name] = row

    def of(self, rollout: str) -> list[_Entry]:
        return [self.entries[row] for row in self.rows[rollout].values()]


def warm_up_seconds(step: float) -> float:
    """How far back control is read before a generation begins: an hour, or longer where steps are long."""
    return max(WARM_UP_SECONDS, WARM_UP_TICKS * step)


class Dossier:
    """``step`` is the seconds between evidence ticks (a multiple of the scrape interval)."""

    def __init__(self, *, step: float) -> None:
        self.step = step
        self._groups: list[_Group] = []
        self._where: dict[str, _Group] = {}

    # --- who is in it ---------------------------------------------------------------------------

    def until(self, rollout: str) -> float | None:
        """The tick up to which this rollout has been taken in; None when it has not been opened."""
        group = self._where.get(rollout)
        return None if group is None else group.until

    def fits(self, case: Case) -> bool:
        """Whether what is kept is about this very case: generation, arming, and rules."""
        group = self._where.get(case.rollout.name)
        if group is None or not self.same_generation(case):
            return False
        kept = [(entry.rule, entry.spec) for entry in group.of(case.rollout.name) if entry.rule is not None]
        return kept == _specs(case)

    def same_generation(self, case: Case) -> bool:
        """Whether what is kept is about this arming, whatever its rules were then."""
        group = self._where.get(case.rollout.name)
        if group is None:
            return False
        kept = group.of(case.rollout.name)[0].case
        return (kept.flag.generation, kept.armed_at) == (case.flag.generation, case.armed_at)

    def open(self, cases: Sequence[Case], at: float, past: Mapping[float, Readings], *, from_arming: bool) -> None:
        """Begin at tick ``at`` with no evidence; ``past`` are the readings of the hour before, for warming up.

        ``from_arming``: ``at`` is where the generations began, so their head starts are still to come.
        """
        self.drop([case.rollout.name for case in cases])
        paid_until = -math.inf if from_arming else at
        entries = [_Entry(case, rule, spec, paid_until=paid_until) for case in cases for rule, spec in _specs(case)]
        if not entries:
            return
        group = _new_group(at, entries)
        ticks = [tick for tick in sorted(past) if tick <= at]
        if ticks:
            counts = self._counts(group, ticks, past, settle=False)
            group.evidence = ev.warm_up(group.evidence, counts.control_events, counts.control_trials)
            for entry in entries:
                entry.problem = None
        sides = [side for case in cases for side in _split_entries(case)]
        self._groups.append(_joined([group, _new_group(at, sides)]) if sides else group)
        self._index()

    def drop(self, rollouts: Collection[str]) -> None:
        """Forget these rollouts."""
        gone = self._where.keys() & set(rollouts)
        if gone:
            self._groups = [kept for g in self._groups if (kept := _without(g, gone)) is not None]
            self._index()

    def keep(self, rollouts: Collection[str]) -> None:
        """Forget all others."""
        self.drop(self._where.keys() - set(rollouts))

    # --- taking data in -------------------------------------------------------------------------

    def wants(self, case: Case) -> list[Want]:
        """What has to be read at each evidence tick."""
        wants: list[Want] = []
        for rule, _ in _specs(case):
            want = Want(
                rollout=case.rollout.name,
                rule=rule.name,
                part=STEP,
                signal=rule.signal,
                cohorts=case.rollout.cohorts_of(rule),
                seconds=self.step,
                range=Range.STEP,
                absent_is_zero=rule.absent_is_zero,
            )
            wants.append(want)
            if rule.twin is not None:
                wants.append(replace(want, part=STEP_TWIN, signal=rule.twin))
        return wants

    def past_wants(self, case: Case) -> list[Want]:
        """The same for the hour before: cohort labels often ship *with* the canary, and control's past has none yet.

        So control is also read as whatever the control model served, labelled or not, the canary's cohort left out;
        that serves where the labelled one has nothing.
        """
        wants = self.wants(case)
        unlabelled = [
            replace(want, part=PAST, cohorts=cohorts)
            for want in wants
            if want.part == STEP and (cohorts := _unlabelled(case, want.cohorts)) is not None
        ]
        return [*wants, *unlabelled]

    def take(
        self, cases: Sequence[Case], ticks: Sequence[float], readings: Mapping[float, Readings]
    ) -> ev.Trace | None:
        """Advance these cases, which all stand at the same tick, through later ``ticks`` (ascending).

        Returns the trace of the block, for replays; its columns are in the order of `columns`.
        """
        names = {case.rollout.name: case for case in cases}
        group = self._gather(names)
        if group is None or not ticks:
            return None
        for entry in group.entries:
            entry.case = names[entry.rollout]
        self._renew_splits(group)
        counts = self._counts(group, ticks, readings, settle=True)
        times = np.array(ticks, dtype=np.float64)
        self._begin_anew(group)
        head_starts, paused = self._schedule(group, times)
        group.evidence, trace = ev.advance(
            group.evidence, counts, times, step=self.step, head_starts=head_starts, paused=paused
        )
        self._tally(group, counts, times, trace)
        group.until = ticks[-1]
        for entry in group.entries:
            entry.paid_until = ticks[-1]
        self._merge()
        return trace

    def columns(self, rollout: str) -> dict[str, int]:
        """Where each rule of a rollout that is alone in its group stands in a trace's columns."""
        group = self._where[rollout]
        return {name: row for name, row in group.rows[rollout].items() if group.entries[row].rule is not None}

    # --- looking --------------------------------------------------------------------------------

    def view(self, rollout: str, rule: str) -> View | None:
        """One rule's evidence; None where none is gathered (a free query, or not opened yet)."""
        place = self._place(rollout, rule)
        if place is None:
            return None
        group, row = place
        entry = group.entries[row]
        best = int(np.argmax(group.evidence.log_sums[row]))
        since = float(group.since[row])
        sums = group.tally[row, best]
        return View(
            value=float(group.values[row]),
            needed=float(group.evidence.needed[row]),
            since=since if math.isfinite(since) else None,
            events_canary=float(sums[0]),
            trials_canary=float(sums[1]),
            events_control=float(sums[2]),
            trials_control=float(sums[3]),
            updated_at=entry.updated_at,
            until=group.until,
            warming_up=bool(group.warming[row]),
            problem=entry.problem,
        )

    def view_for(self, case: Case, rule: Rule) -> View | None:
        """The same, if it is about this arming and this very rule: nobody is judged by what another one did."""
        place = self._place(case.rollout.name, rule.name)
        if place is None:
            return None
        entry = place[0].entries[place[1]]
        kept = (entry.case.flag.generation, entry.case.armed_at)
        if kept != (case.flag.generation, case.armed_at) or entry.rule != rule:
            return None
        return self.view(case.rollout.name, rule.name)

    def dispersion(self, rollout: str, rule: str) -> float:
        """How much more a rule's events clump than independent ones would (1: not at all)."""
        place = self._place(rollout, rule)
        return 1.0 if place is None else float(place[0].phi[place[1]])

    def judges_twin(self, rollout: str, rule: str) -> bool:
        """Whether the judged twin is what evidence is gathered on."""
        place = self._place(rollout, rule)
        return place is not None and place[0].entries[place[1]].twins.adopted

    def split_is_wrong(self, rollout: str) -> bool:
        """Whether the canary's share of requests is nowhere near the flag's percent."""
        for side in ("too_little", "too_much"):
            place = self._place(rollout, _split_name(side))
            if place is not None and place[0].values[place[1]] >= place[0].evidence.needed[place[1]]:
                return True
        return False

    # --- inside ---------------------------------------------------------------------------------

    def _place(self, rollout: str, name: str) -> tuple[_Group, int] | None:
        group = self._where.get(rollout)
        row = None if group is None else group.rows[rollout].get(name)
        return None if group is None or row is None else (group, row)

    def _gather(self, names: Mapping[str, Case]) -> _Group | None:
        """One group of exactly these rollouts; others that shared it are split off."""
        chosen: list[_Group] = []
        rest: list[_Group] = []
        for group in self._groups:
            inside, outside = _without(group, group.rows.keys() - names.keys()), _without(group, names.keys())
            chosen += [inside] if inside is not None else []
            rest += [outside] if outside is not None else []
        if not chosen:
            return None
        whole = _joined(chosen)
        self._groups = [whole, *rest]
        self._index()
        return whole

    def _merge(self) -> None:
        by_tick: dict[float, list[_Group]] = {}
        for group in self._groups:
            by_tick.setdefault(group.until, []).append(group)
        self._groups = [_joined(groups) for groups in by_tick.values()]
        self._index()

    def _index(self) -> None:
        self._where = {rollout: group for group in self._groups for rollout in group.rows}

    def _renew_splits(self, group: _Group) -> None:
        """A changed percent is another hypothesis about the split: begin that one anew."""
        cases = {entry.rollout: entry.case for entry in group.entries}
        kept = {entry.rollout: entry.percent for entry in group.entries if entry.rule is None}
        changed = {name for name, case in cases.items() if kept.get(name, 0.0) != _splittable(case.flag.canary_percent)}
        if not changed:
            return
        rest = _filtered(group, lambda entry: entry.rule is not None or entry.rollout not in changed)
        assert rest is not None
        sides = [side for name in sorted(changed) for side in _split_entries(cases[name])]
        _become(group, _joined([rest, _new_group(group.until, sides)]) if sides else rest)

    def _begin_anew(self, group: _Group) -> None:
        """Rules that went back to their plain counters: what was gathered on the twin says nothing about those."""
        rows = [row for row, entry in enumerate(group.entries) if entry.twins.take_change()]
        if not rows:
            return
        fresh = ev.start([entry.spec for entry in group.entries])
        kept = {name: getattr(group.evidence, name).copy() for name in ("log_sums", "excursions", "since")}
        for name, array in kept.items():
            array[rows] = getattr(fresh, name)[rows]
        group.evidence = replace(group.evidence, **kept)
        group.tally[rows] = 0.0

    def _schedule(self, group: _Group, times: Array) -> tuple[Array, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
        head_starts = np.zeros((len(times), len(group.entries)))
        paused = np.zeros(head_starts.shape, dtype=np.bool_)
        columns: dict[str, list[int]] = {}
        for row, entry in enumerate(group.entries):
            columns.setdefault(entry.rollout, []).append(row)
        for rows in columns.values():
            case = group.entries[rows[0]].case
            stages = case.flag.stages
            delays = [entry.rule.delay if (entry := group.entries[row]).rule is not None else 0.0 for row in rows]
            drain = _drain([group.entries[row] for row in rows], stages, times, self.step)
            after = group.entries[rows[0]].paid_until
            head_starts[:, rows] = ev.head_starts_at(stages, times, len(rows), after=after)
            paused[:, rows] = ev.paused_at(stages, delays, times) | ev.draining_at(stages, drain, times, self.step)
        return head_starts, paused

    def _tally(self, group: _Group, counts: ev.TickCounts, times: Array, trace: ev.Trace) -> None:
        first = group.evidence.first_bound
        block = np.stack(
            [
                np.nan_to_num(array[:, first], nan=0.0, posinf=0.0, neginf=0.0)
                for array in (counts.canary_events, counts.canary_trials, counts.control_events, counts.control_trials)
            ],
            axis=-1,
        )
        block *= trace.updated[:, :, None]
        sums = np.concatenate([np.zeros((1, *block.shape[1:])), np.cumsum(block, axis=0)])
        since = np.nan_to_num(group.evidence.since, nan=-np.inf)
        began = np.searchsorted(times, since, side="right")
        older = since < times[0] - self.step * 0.5
        within = sums[-1][:, None, :] - np.take_along_axis(sums[:, :, None, :], began[None, :, :, None], axis=0)[0]
        group.tally = np.where(older[:, :, None], group.tally + sums[-1][:, None, :], within)
        group.since, group.warming, group.values = trace.since[-1], trace.warming_up[-1], trace.evidence[-1]
        group.phi = np.nan_to_num(trace.phi[-1, first], nan=1.0)
        for row, entry in enumerate(group.entries):
            moved = np.flatnonzero(trace.updated[:, row])
            if moved.size:
                entry.updated_at = float(times[moved[-1]])
            if trace.numeric[-1, row] and entry.problem is None:
                entry.problem = Unreadable(Reason.NUMERIC, "the counts of this step are no counts")

    # --- readings as counts ---------------------------------------------------------------------

    def _counts(
        self, group: _Group, ticks: Sequence[float], readings: Mapping[float, Readings], *, settle: bool
    ) -> ev.TickCounts:
        """Counts (T, B). ``settle``: this is judged, so twins are adopted and problems noted."""
        columns: list[_Columns | Array] = []
        nothing: Readings = {}
        series = [readings.get(tick, nothing) for tick in ticks]
        judged: dict[str, Sequence[Reading | None]] = {}
        slow: dict[tuple[object, ...], list[_Slow]] = {}
        for entry in group.entries:
            if entry.rule is None:
                whole = [_changed_at(entry.case.flag.stages) <= tick - self.step for tick in ticks]
                columns += _split_column(entry, judged.get(entry.rollout, ()), whole)
                continue
            chosen = [self._chosen(entry, at, settle=settle) for at in series]
            if entry.rule.name == SPLIT_BY or entry.rollout not in judged:
                judged[entry.rollout] = chosen
            first, size = len(columns), len(entry.spec.bounds)
            columns += [_NOTHING] * size
            try:
                if isinstance(entry.rule.signal, QuantileSignal):
                    columns[first:] = [np.full((4, len(ticks)), np.nan) for _ in range(size)]
                    for run in self._prepared(entry, chosen, first):
                        alike = (run.edges, run.start, len(run.canary), entry.rule.signal.quantile, entry.spec.bounds)
                        slow.setdefault(alike, []).append(run)
                else:
                    columns[first:] = [_plain(chosen)] * size
                entry.problem = _problem(chosen[-1])
            except Exception as error:  # one rule's bug must not disarm the others
                log.exception("counting %s %s failed", entry.rollout, entry.rule.name)
                entry.problem = own_bug(error)
        for runs in slow.values():
            try:
                _count_slow(runs, columns, self.step)
            except Exception as error:
                log.exception("counting the tail of %d rules failed", len(runs))
                for one in runs:
                    one.entry.problem = own_bug(error)
        values = np.full((4, len(ticks), len(columns)), np.nan)
        for index, column in enumerate(columns):
            if column is not _NOTHING:
                values[:, :, index] = column
        return ev.TickCounts(*values)

    def _chosen(self, entry: _Entry, readings: Readings, *, settle: bool) -> Reading | None:
        reading = self._answered(entry, readings, settle=settle)
        if reading is None or entry.case.baseline is None or not settle:
            return reading
        return without_control(reading)

    def _answered(self, entry: _Entry, readings: Readings, *, settle: bool) -> Reading | None:
        assert entry.rule is not None
        plain = readings.get((entry.rollout, entry.rule.name, STEP))
        twin = readings.get((entry.rollout, entry.rule.name, STEP_TWIN))
        if not settle:
            past = readings.get((entry.rollout, entry.rule.name, PAST))
            known = (each for each in (twin, plain, past) if each is not None)
            return next((each for each in known if not isinstance(each.control, Unreadable)), plain)
        if twin is None or plain is None:
            return plain
        return twin if entry.twins.serves(twin, plain, alone=entry.case.baseline is not None) else plain

    def _prepared(self, entry: _Entry, chosen: Sequence[Reading | None], first_column: int) -> Iterator[_Slow]:
        """Both cohorts' histograms of a block, and control's past from which each tick's tau comes.

        Cut into runs of ticks with the same edges in common: a block of a replay is judged as its ticks alone are.
        """
        past = entry.control_past
        if past is None:
            past = entry.control_past = _ControlPast(math.ceil(TAU_SECONDS / self.step))
        for start, stop, edges in _runs(chosen, entry.edges):
            entry.edges = edges
            canaries = [reading.canary if reading else None for reading in chosen[start:stop]]
            controls = [reading.control if reading else None for reading in chosen[start:stop]]
            canary, control = (np.array([_cumulative(each, edges) for each in side]) for side in (canaries, controls))
            yield _Slow(entry, first_column, start, edges, canary, control, past.at(edges))
            past.add(controls)


class _ControlPast:
    """Control's cumulative histograms of the last ticks, oldest first, (P, K), with every edge they had.

    Canaries with fewer edges come and go; what is known of control stays.
    """

    __slots__ = ("_counts", "_edges")

    def __init__(self, ticks: int) -> None:
        self._edges: tuple[float, ...] = ()
        self._counts = np.empty((ticks, 0))

    def at(self, edges: tuple[float, ...]) -> Array:
        """The same at these edges alone; ticks that lack one of them are unknown."""
        self._widen(edges)
        counts = self._counts
        if edges != self._edges:
            counts = counts[:, [self._edges.index(edge) for edge in edges]]
        return np.where(np.isnan(counts).any(axis=1, keepdims=True), np.nan, counts)

    def _widen(self, edges: tuple[float, ...]) -> None:
        if set(edges) <= set(self._edges):
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


def _drain(entries: Sequence[_Entry], stages: Sequence[StageEntry], times: Array, step: float) -> float:
    """How long the slowest of control's requests take, seconds: so long after a change of percent the cohorts'
    events are not of the users they are counted with. Asked only while a change is recent.
    """
    if times[0] - stages[-1].at > LONGEST_DRAIN + step and len(times) == 1:
        return 0.0
    pasts = [(entry.edges, entry.control_past.at(entry.edges)) for entry in entries if entry.control_past is not None]
    tails = [tail for edges, past in pasts if math.isfinite(tail := slowest(np.array(edges), past))]
    return min(max(tails, default=UNKNOWN_DRAIN), LONGEST_DRAIN)


def _unlabelled(case: Case, cohorts: CohortMatchers) -> CohortMatchers | None:
    """Control before cohorts had labels; None where they are told apart by something that is always there."""
    if cohorts[Cohort.CONTROL] != (Matcher("cohort", "=", "control"),):
        return None
    control = (Matcher("cohort", "!=", "canary"), Matcher("model", "=", case.rollout.control))
    return {**cohorts, Cohort.CONTROL: control}


# --- entries and groups -------------------------------------------------------------------------


def judged_by_evidence(case: Case, rule: Rule) -> bool:
    """Whether evidence decides about this rule, gathered already or not; never so for free queries."""
    return case.rollout.decide is Decide.EVIDENCE and bool(ev.bounds_of(rule))


def _specs(case: Case) -> list[tuple[Rule, ev.RuleSpec]]:
    """The rules evidence can judge, each with its share of the rollout's budget."""
    if case.rollout.decide is not Decide.EVIDENCE:
        return []
    rollout = case.rollout
    alpha = rollout.false_trips_per_day / len(rollout.rules)
    found = [(rule, ev.bounds_of(rule)) for rule in rollout.rules]
    return [
        (rule, ev.RuleSpec((rollout.name, rule.name), bounds, alpha, long_bursts=rollout.bursts == "long"))
        for rule, bounds in found
        if bounds
    ]


def _split_entries(case: Case) -> list[_Entry]:
    """The two sides of the rollout's traffic split; none where there is nothing to split or to count."""
    percent = _splittable(case.flag.canary_percent)
    if not percent:
        return []
    specs = ev.split_rules((case.rollout.name, SPLIT), percent, SPLIT_ALPHA)
    return [_Entry(case, None, spec, percent=percent) for spec in specs]


def _splittable(percent: float) -> float:
    """The percent, or 0 where everybody is in one cohort."""
    return percent if 0.0 < percent < 100.0 else 0.0


def _side(entry: _Entry) -> object:
    key = entry.spec.key
    return key[1] if isinstance(key, tuple) else key


def _split_name(side: object) -> str:
    return f"{SPLIT} {side}"


def _new_group(until: float, entries: list[_Entry]) -> _Group:
    fresh = ev.start([entry.spec for entry in entries])
    return _Group(
        until,
        entries,
        fresh,
        np.zeros((*fresh.log_sums.shape, 4)),
        np.full(len(entries), np.nan),
        np.ones(len(entries), dtype=np.bool_),
        np.zeros(len(entries)),
        np.ones(len(entries)),
    )


def _without(group: _Group, rollouts: AbstractSet[str]) -> _Group | None:
    if group.rows.keys().isdisjoint(rollouts):
        return group
    return _filtered(group, lambda entry: entry.rollout not in rollouts)


def _filtered(group: _Group, wanted: Callable[[_Entry], bool]) -> _Group | None:
    rows = [row for row, entry in enumerate(group.entries) if wanted(entry)]
    if not rows:
        return None
    if len(rows) == len(group.entries):
        return group
    entries = [group.entries[row] for row in rows]
    return _Group(
        group.until,
        entries,
        ev.select(group.evidence, [entry.spec.key for entry in entries]),
        group.tally[rows],
        group.since[rows],
        group.warming[rows],
        group.values[rows],
        group.phi[rows],
    )


def _joined(groups: Sequence[_Group]) -> _Group:
    if len(groups) == 1:
        return groups[0]
    return _Group(
        groups[0].until,
        [entry for group in groups for entry in group.entries],
        ev.combine([group.evidence for group in groups]),
        np.concatenate([group.tally for group in groups]),
        np.concatenate([group.since for group in groups]),
        np.concatenate([group.warming for group in groups]),
        np.concatenate([group.values for group in groups]),
        np.concatenate([group.phi for group in groups]),
    )


def _become(group: _Group, other: _Group) -> None:
    for name in ("entries", "evidence", "tally", "since", "warming", "values", "phi", "rows"):
        setattr(group, name, getattr(other, name))


# --- measurements as numbers --------------------------------------------------------------------


def _pair(measurement: Measurement | None) -> tuple[float, float]:
    match measurement:
        case Counts(events, trials):
            return events, trials
        case Buckets(_, counts) if counts:
            return math.nan, counts[-1]
        case _:
            return math.nan, math.nan


_Values = Sequence[float] | Array
_Columns = tuple[_Values, _Values, _Values, _Values]
_NOTHING: _Columns = ((), (), (), ())


@dataclass(frozen=True, slots=True)
class _Slow:
    """A quantile rule's run of ticks, from the block's ``start`` on: histograms (T, K) of both cohorts.

    ``past`` are control's of the hour before, (P, K).
    """

    entry: _Entry
    first_column: int
    start: int
    edges: tuple[float, ...]
    canary: Array
    control: Array
    past: Array

    def tau(self, edges: Array, quantile: float, step: float) -> Array:
        """Control's quantile before each tick of the block, (T,)."""
        return tau_before(edges, np.concatenate([self.past, self.control]), quantile, step=step)[len(self.past) :]


def _count_slow(alike: Sequence[_Slow], columns: Sequence[_Columns | Array], step: float) -> None:
    """Histograms as events "slower than an edge", for all rules of one bucket layout, quantile and set of bounds."""
    entry = alike[0].entry
    assert entry.rule is not None
    assert isinstance(entry.rule.signal, QuantileSignal)
    if len(alike[0].edges) < 2:
        return
    edges, start, ticks = np.array(alike[0].edges), alike[0].start, len(alike[0].canary)
    canary, control = np.concatenate([one.canary for one in alike]), np.concatenate([one.control for one in alike])
    quantile = entry.rule.signal.quantile
    if ticks == 1:  # all rules of the daemon's tick at once
        tau = tau_next(edges, np.stack([one.past for one in alike]), quantile)
    else:
        tau = np.concatenate([one.tau(edges, quantile, step) for one in alike])
    for number, bound in enumerate(entry.spec.bounds):
        slow_canary, slow_control = ev.slow_counts(bound, edges, canary, control, tau)
        placed = np.isfinite(slow_canary) & np.isfinite(slow_control)
        # each side for itself: control's past is learnt from where there was no canary yet
        sides = [
            np.where(np.isfinite(slow), side, np.nan).reshape(len(alike), ticks)
            for slow, whole in ((slow_canary, canary[:, -1]), (slow_control, control[:, -1]))
            for side in (slow, whole)
        ]
        counted = np.isfinite(canary[:, -1]) & np.isfinite(control[:, -1])
        expected = counted & ~placed & (np.isfinite(tau) | (not bound.needs_tau))
        for index, one in enumerate(alike):
            column = columns[one.first_column + number]
            assert isinstance(column, np.ndarray)
            column[:, start : start + ticks] = [side[index] for side in sides]
            if expected[(index + 1) * ticks - 1] and start + ticks == column.shape[1]:
                one.entry.problem = one.entry.problem or _saturated(one.edges)


def _plain(chosen: Sequence[Reading | None]) -> _Columns:
    rows = [
        (*_pair(reading.canary), *_pair(reading.control)) if reading is not None else (math.nan,) * 4
        for reading in chosen
    ]
    first, second, third, fourth = zip(*rows, strict=True)
    return first, second, third, fourth


def _cumulative(measurement: Measurement | None, edges: tuple[float, ...]) -> tuple[float, ...]:
    if not isinstance(measurement, Buckets):
        return (math.nan,) * len(edges)
    if measurement.bounds == edges:
        return measurement.counts
    known = dict(zip(measurement.bounds, measurement.counts, strict=True))
    return tuple(known.get(edge, math.nan) for edge in edges)


def _runs(chosen: Sequence[Reading | None], edges: tuple[float, ...]) -> Iterator[tuple[int, int, tuple[float, ...]]]:
    """Stretches of ticks, begin and end, with the edges in common; ``edges`` are those of the tick before."""
    start = 0
    for at, reading in enumerate(chosen):
        found = _common_edges(reading) or edges
        if found != edges:
            if at > start:
                yield start, at, edges
            start, edges = at, found
    yield start, len(chosen), edges


def _common_edges(reading: Reading | None) -> tuple[float, ...]:
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


def _saturated(edges: tuple[float, ...]) -> Unreadable:
    last = duration_in_words(edges[-2])
    return Unreadable(
        Reason.SATURATED, f"the limit lies above the histogram's last bucket ({last}); add larger buckets"
    )


def _changed_at(stages: Sequence[StageEntry]) -> float:
    """Since when the percent has been what it is."""
    newest = len(stages) - 1
    while newest and stages[newest - 1].percent == stages[newest].percent:
        newest -= 1
    return stages[newest].at


def _split_column(entry: _Entry, chosen: Sequence[Reading | None], whole: Sequence[bool]) -> list[_Columns]:
    """One side of the split: absent canary traffic is traffic of zero.

    ``whole``: which steps lie entirely under the present percent; a replay must not hold the earlier stages'
    traffic against it.
    """
    rows = [_trials(reading) for reading in chosen] or [(math.nan, math.nan)] * len(whole)
    array = np.where(np.array(whole)[:, None], np.array(rows, dtype=np.float64), np.nan)
    counts = ev.split_counts(array[:, 0], array[:, 1])
    side = 0 if _side(entry) == "too_little" else 1
    return [
        (
            counts.canary_events[:, side].tolist(),
            counts.canary_trials[:, side].tolist(),
            counts.control_events[:, side].tolist(),
            counts.control_trials[:, side].tolist(),
        )
    ]


def _trials(reading: Reading | None) -> tuple[float, float]:
    if reading is None or isinstance(reading.control, Unreadable):
        return math.nan, math.nan
    absent = isinstance(reading.canary, Unreadable) and reading.canary.reason is Reason.NO_DATA
    return 0.0 if absent else _pair(reading.canary)[1], _pair(reading.control)[1]
