"""The dossier: the evidence gathered on every rule of every watched rollout. No I/O, no clock.

It turns readings of disjoint steps into counts, keeps what the evidence needs of the past (control's
histogram of the last hour, sums since the excursion began), and advances all rules that stand at the
same tick in one set of arrays. A fresh rollout is opened at an earlier tick and catches up through the
same `take` as everybody else, so a restarted replica arrives at what a running one has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np

from killswitch.flags.flag import StageEntry
from killswitch.model import (
    Cohort,
    CohortMatchers,
    Decide,
    Matcher,
    Range,
    Reading,
    Readings,
    Reason,
    Rule,
    Unreadable,
    Want,
)
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.armed_rollout import ArmedRollout, PerArmedRollout
from killswitch.verdicts.evidence.dispersion import WARM_TICKS, Mask
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence.starts import LONGEST_DRAIN, PAUSE_DELAYS
from killswitch.verdicts.evidence_view import EvidenceView
from killswitch.verdicts.missing_events import MissingEvents
from killswitch.verdicts.shown_windows import LONGEST, Windows
from killswitch.verdicts.step_counts import PAST, SPLIT, STEP, STEP_PER_USER, TOO_LITTLE, TOO_MUCH, Entry, step_counts

WARM_UP_SECONDS = 3600.0
# more than control needs not to be cold: a latency rule's first tick has no tau, and scrapes are missed
WARM_UP_TICKS = round(1.1 * WARM_TICKS)
# Traffic is judged against the flag's percent with a budget of its own: it trips nothing.
SPLIT_ALPHA = 0.01


@dataclass(slots=True)
class _Group:
    """Entries that have been taken as far as the same tick. ``tally`` (R, J, 4): sums since each excursion's start.

    ``updated_at`` (R,): the tick that moved each last, NaN before the first. ``rows``: where each rollout's rules,
    and the sides of its split, stand. ``views``: what is told of each row, until something changes.
    """

    until: float
    entries: list[Entry]
    evidence: ev.Evidence
    tally: Array
    since: Array
    warming: Array
    values: Array
    phi: Array
    updated_at: Array
    rows: dict[str, dict[str, int]] = field(init=False)
    views: list[EvidenceView] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.rows = {}
        for row, entry in enumerate(self.entries):
            self.rows.setdefault(entry.rollout, {})[entry.name] = row

    def of(self, rollout: str) -> list[Entry]:
        return [self.entries[row] for row in self.rows[rollout].values()]

    def view(self, row: int) -> EvidenceView:
        """Thousands are looked at after each tick, so all are worked out together."""
        if self.views is None:
            best = np.argmax(self.evidence.log_sums, axis=1)
            sums = self.tally[np.arange(len(best)), best]
            columns = (self.values, self.evidence.needed, self.since, *sums.T, self.updated_at)
            rows = zip(*(column.tolist() for column in columns), self.warming.tolist(), self.entries, strict=True)
            self.views = [
                EvidenceView(
                    value, needed, _known(since), events_canary, trials_canary, events_control, trials_control,
                    _known(updated_at), self.until, warming, entry.problem,
                )
                for value, needed, since, events_canary, trials_canary, events_control, trials_control, updated_at,
                    warming, entry in rows
            ]  # fmt: skip
        return self.views[row]


def _known(time: float) -> float | None:
    return time if math.isfinite(time) else None


def warm_up_seconds(step: float) -> float:
    """How far back control is read before a generation begins: an hour, or longer where steps are long."""
    return max(WARM_UP_SECONDS, WARM_UP_TICKS * step)


class EvidenceAccumulator:
    """``step`` is the seconds between evidence ticks (a multiple of the scrape interval)."""

    def __init__(self, *, step: float) -> None:
        self.step = step
        self._groups: list[_Group] = []
        self._where: dict[str, _Group] = {}
        self._specs = PerArmedRollout(_specs)
        self._wants = PerArmedRollout(self._wanted)
        self._windows: dict[str, Windows] = {}
        # by rollout: the answers from which nothing could be taken in at the newest tick
        self._unread: dict[str, Readings] = {}

    # --- who is in it ---------------------------------------------------------------------------

    def until(self, rollout: str) -> float | None:
        """The tick up to which this rollout has been taken in; None when it has not been opened."""
        group = self._where.get(rollout)
        return None if group is None else group.until

    def fits(self, case: ArmedRollout) -> bool:
        """Whether what is kept is about this very case: generation, arming, and rules."""
        group = self._where.get(case.rollout.name)
        if group is None or not self.same_generation(case):
            return False
        entries = group.of(case.rollout.name)
        kept = [(entry.rule, entry.spec) for entry in entries if entry.rule is not None]
        return kept == self._specs(case) and _of_the_same(entries[0].case, case)

    def same_generation(self, case: ArmedRollout) -> bool:
        """Whether what is kept is about this arming, whatever its rules were then."""
        group = self._where.get(case.rollout.name)
        if group is None:
            return False
        kept = group.of(case.rollout.name)[0].case
        return (kept.flag.generation, kept.armed_at) == (case.flag.generation, case.armed_at)

    def open(
        self, cases: Sequence[ArmedRollout], at: float, past: Mapping[float, Readings], *, from_arming: bool
    ) -> None:
        """Begin at tick ``at`` with no evidence; ``past`` are the readings of the hour before, for warming up.

        ``from_arming``: ``at`` is where the generations began, so their head starts are still to come.
        """
        self.drop([case.rollout.name for case in cases])
        paid_until = -math.inf if from_arming else at
        rules = [(case, rule, spec) for case in cases for rule, spec in self._specs(case)]
        entries = [Entry(case, rule, spec, paid_until=paid_until) for case, rule, spec in rules]
        if not entries:
            return
        group = _new_group(at, entries)
        ticks = [tick for tick in sorted(past) if tick <= at]
        if ticks:
            counts, _ = step_counts(entries, group.evidence.first_bound, ticks, past, step=self.step, settle=False)
            group.evidence = ev.warm_up(group.evidence, counts.control_events, counts.control_trials)
            for entry in entries:
                entry.problem = None
        for case in cases:
            if keeps_windows(case):
                kept = self._windows[case.rollout.name] = Windows(self.step, case.rollout.window)
                kept.take(self._keys(case), ticks, past)
        sides = [side for case in cases for side in _split_entries(case)]
        self._groups.append(_joined([group, _new_group(at, sides)]) if sides else group)
        self._index()

    def drop(self, rollouts: Collection[str]) -> None:
        """Forget these rollouts."""
        gone = self._where.keys() & set(rollouts)
        if gone:
            self._groups = [kept for g in self._groups if (kept := _without(g, gone)) is not None]
            self._index()
        for rollout in gone & self._windows.keys():
            del self._windows[rollout]

    def keep(self, rollouts: Collection[str]) -> None:
        """Forget all others."""
        wanted = set(rollouts)
        self.drop(self._where.keys() - wanted)
        self._specs.keep(wanted)
        self._wants.keep(wanted)
        self._unread = {rollout: found for rollout, found in self._unread.items() if rollout in wanted}

    # --- taking data in -------------------------------------------------------------------------

    def wants(self, case: ArmedRollout) -> Sequence[Want]:
        """What has to be read at each evidence tick."""
        return self._wants(case)

    def _wanted(self, case: ArmedRollout) -> tuple[Want, ...]:
        wants: list[Want] = []
        for rule, _ in self._specs(case):
            want = Want(
                rollout=case.rollout.name,
                rule=rule.name,
                part=STEP,
                signal=rule.signal,
                cohorts=case.rollout.cohorts_of(rule),
                seconds=self.step,
                range=Range.STEP,
                absent_is_zero=rule.absent_is_zero,
                shown=case.rollout.window,
            )
            wants.append(want)
            if rule.per_user is not None:
                wants.append(replace(want, part=STEP_PER_USER, signal=rule.per_user))
        return tuple(wants)

    def past_wants(self, case: ArmedRollout) -> list[Want]:
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
        self, cases: Sequence[ArmedRollout], ticks: Sequence[float], readings: Mapping[float, Readings]
    ) -> ev.Trace | None:
        """Advance these cases, which all stand at the same tick, through later ``ticks`` (ascending).

        Returns the trace of the block, for replays; its columns are in the order of `columns`.
        """
        names = {case.rollout.name: case for case in cases}
        group = self._gather(names)
        if group is None or not ticks:
            return None
        for entry in group.entries:
            before, entry.case = entry.case.flag.stages[-1], names[entry.rollout]
            now = entry.case.flag.stages[-1]
            entry.renew = now.at > ticks[-1] and ev.renews(before, now)
            if ev.renews(before, now):
                entry.unheard, entry.passed = MissingEvents(), None
        self._renew_splits(group)
        counts, first_requests = step_counts(
            group.entries, group.evidence.first_bound, ticks, readings, step=self.step, settle=True
        )
        times = np.array(ticks, dtype=np.float64)
        self._begin_anew(group)
        plan = self._schedule(group, counts, times)
        began = group.evidence.since
        group.evidence, trace = ev.advance(
            group.evidence, counts, times, step=self.step, head_starts=plan.head_starts, paused=plan.paused,
            renewed=plan.renewed, hedged=plan.hedged, judged=plan.judged,
            first_requests=first_requests,
        )  # fmt: skip
        self._tally(group, counts, times, trace, began, plan.renewed)
        group.until, group.views = ticks[-1], None
        for entry in group.entries:
            entry.paid_until, entry.renew = ticks[-1], False
        for name, case in names.items():
            if keeps_windows(case):
                windows = self._windows.setdefault(name, Windows(self.step, case.rollout.window))
                windows.reach(case.rollout.window)
                windows.take(self._keys(case), ticks, readings)
            else:
                self._windows.pop(name, None)
            self._unread.pop(name, None)
        self._merge()
        return trace

    def _keys(self, case: ArmedRollout) -> list[tuple[str, str, str]]:
        return [want.key for want in self.wants(case)]

    def columns(self, rollout: str) -> dict[str, int]:
        """Where each rule of a rollout that is alone in its group stands in a trace's columns."""
        group = self._where[rollout]
        return {name: row for name, row in group.rows[rollout].items() if group.entries[row].rule is not None}

    def note_unread(self, rollout: str, answers: Readings) -> None:
        """Nothing could be taken in at the newest tick, since these were the answers; until something is."""
        self._unread[rollout] = answers

    def is_unread(self, rollout: str) -> bool:
        """Whether it is known why nothing could be taken in at the newest tick."""
        return rollout in self._unread

    def read_again(self) -> None:
        """What could not be read at an earlier tick says nothing about the next one."""
        self._unread = {}

    # --- looking --------------------------------------------------------------------------------

    def unread(self, rollout: str, rule: str, part: str) -> Reading | None:
        """Why nothing could be taken in at the newest tick, if so. ``part``: STEP or STEP_PER_USER."""
        return self._unread.get(rollout, {}).get((rollout, rule, part))

    def window(self, rollout: str, rule: str, part: str, since: float, seconds: float) -> Reading | None:
        """What evidence has read of the last ``seconds``, and not before ``since``; or why it could not be read.

        ``part`` is `STEP` or `STEP_PER_USER`. None where nothing has been read yet.
        """
        key = (rollout, rule, part)
        unread = self.unread(rollout, rule, part)
        if unread is not None:
            return unread
        windows = self._windows.get(rollout)
        return None if windows is None else windows.sum(key, since, seconds)

    def view(self, rollout: str, rule: str) -> EvidenceView | None:
        """One rule's evidence; None where none is gathered (a free query, or not opened yet)."""
        place = self._place(rollout, rule)
        if place is None:
            return None
        group, row = place
        return group.view(row)

    def view_for(self, case: ArmedRollout, rule: Rule) -> EvidenceView | None:
        """The same, if it is about this arming and this very rule: nobody is judged by what another one did."""
        place = self._place(case.rollout.name, rule.name)
        if place is None:
            return None
        group, row = place
        entry = group.entries[row]
        kept = (entry.case.flag.generation, entry.case.armed_at)
        if kept != (case.flag.generation, case.armed_at) or (entry.rule is not rule and entry.rule != rule):
            return None
        return group.view(row)

    def passed_breach(self, rollout: str, rule: str) -> EvidenceView | None:
        """The newest breach at a tick that was only read together with later ones, told once.

        Evidence began at nothing after it, so what is known after the last of them shows none of it.
        """
        place = self._place(rollout, rule)
        if place is None:
            return None
        entry = place[0].entries[place[1]]
        passed, entry.passed = entry.passed, None
        return passed

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
        for side in (TOO_LITTLE, TOO_MUCH):
            place = self._place(rollout, side)
            if place is not None and place[0].values[place[1]] >= place[0].evidence.needed[place[1]]:
                return True
        return False

    # --- inside ---------------------------------------------------------------------------------

    def _place(self, rollout: str, name: str) -> tuple[_Group, int] | None:
        group = self._where.get(rollout)
        row = None if group is None else group.rows[rollout].get(name)
        return None if group is None or row is None else (group, row)

    def _gather(self, names: Mapping[str, ArmedRollout]) -> _Group | None:
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
        cases = {rollout: group.of(rollout)[0].case for rollout in group.rows}
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
        rows = [row for row, entry in enumerate(group.entries) if entry.twins.changed and entry.twins.take_change()]
        if not rows:
            return
        fresh = ev.start([entry.spec for entry in group.entries])
        for row in rows:
            group.entries[row].passed = None
        kept = {name: getattr(group.evidence, name).copy() for name in ("log_sums", "excursions", "since")}
        for name, array in kept.items():
            array[rows] = getattr(fresh, name)[rows]
        group.evidence = replace(group.evidence, **kept)
        group.tally[rows] = 0.0

    def _schedule(self, group: _Group, counts: ev.TickCounts, times: Array) -> _Schedule:
        """What the flags' own histories mean for the ticks of a block."""
        shape = (len(times), len(group.entries))
        head_starts = np.zeros(shape)
        paused, renewed, hedged = (np.zeros(shape, dtype=np.bool_) for _ in range(3))
        changing: list[tuple[list[int], ev.Unsettled]] = []
        for named in group.rows.values():
            rows = list(named.values())
            entries = [group.entries[row] for row in rows]
            stages, after = entries[0].case.flag.stages, entries[0].paid_until
            delays = [entry.rule.delay if entry.rule is not None else 0.0 for entry in entries]
            newest = max(stage.at for stage in stages)
            if newest < after and newest + max(LONGEST_DRAIN, PAUSE_DELAYS * max(delays)) + self.step < times[0]:
                continue  # what changed has long been paid for and come home
            first, mixed = ev.renewed_at(stages, times, self.step, after=after)
            if entries[0].renew:  # the flag's time is still to come by the metric store's clock
                first[0] = True
            unsettled = ev.unsettled_at(stages, _latencies(entries, stages), times, self.step)
            material = unsettled.material
            head_starts[:, rows] = ev.head_starts_at(stages, times, len(rows), after=after)
            late = ev.paused_at(stages, delays, times)
            renewed[:, rows] = first[:, None]
            hedged[:, rows] = material[:, None]
            split = np.array([entry.rule is None for entry in entries])
            paused[:, rows] = mixed[:, None] | late | (material[:, None] & split)
            changing.append(([row for row in rows if group.entries[row].rule is not None], unsettled))
            for row, silent in zip(rows, (mixed[-1] | late[-1] | material[-1]).tolist(), strict=True):
                entry = group.entries[row]
                if silent and (entry.problem is None or entry.problem.reason is Reason.NO_DATA):
                    entry.problem = _DRAINING
        return _Schedule(head_starts, paused, renewed, hedged, self._settled(group, counts, changing))

    def _settled(
        self, group: _Group, counts: ev.TickCounts, changing: Sequence[tuple[Sequence[int], ev.Unsettled]]
    ) -> ev.TickCounts:
        """The counts with these rules' columns as they stand once what is under way has come home.

        Of all rollouts together: by themselves a thousand of them took a tenth of a cycle's processor time.
        """
        if not changing:
            return counts
        first = group.evidence.first_bound
        of_each = [
            [int(first[row]) + at for row in rows for at in range(len(group.entries[row].spec.bounds))]
            for rows, _ in changing
        ]
        columns, widths = [column for some in of_each for column in some], [len(some) for some in of_each]
        shares = (np.stack([getattr(each, name) for _, each in changing], axis=1) for name in _SHARES)
        unsettled = ev.Unsettled(*(np.repeat(share, widths, axis=1) for share in shares))
        chosen = ev.TickCounts(*(getattr(counts, name)[:, columns] for name in _COUNTS))
        after = ev.settled(chosen, unsettled)
        whole = {name: getattr(counts, name).copy() for name in _COUNTS}
        for name in _COUNTS:
            whole[name][:, columns] = getattr(after, name)
        return ev.TickCounts(**whole)

    def _tally(
        self,
        group: _Group,
        counts: ev.TickCounts,
        times: Array,
        trace: ev.Trace,
        began_before: Array,
        renewed: Mask,
    ) -> None:
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
        self._note_passed(group, times, trace, sums, began_before, renewed)
        since = np.nan_to_num(group.evidence.since, nan=-np.inf)
        began = np.searchsorted(times, since, side="right")
        older = since < times[0] - self.step * 0.5
        within = sums[-1][:, None, :] - np.take_along_axis(sums[:, :, None, :], began[None, :, :, None], axis=0)[0]
        # begun anew with this block's first tick: what was counted before it belongs to an excursion that is over
        kept = np.where((since == began_before)[:, :, None], group.tally, 0.0)
        group.tally = np.where(older[:, :, None], kept + sums[-1][:, None, :], within)
        group.since, group.warming, group.values = trace.since[-1], trace.warming_up[-1], trace.evidence[-1]
        group.phi = np.nan_to_num(trace.phi[-1, first], nan=1.0)
        last = len(times) - 1 - np.argmax(trace.updated[::-1], axis=0)
        group.updated_at = np.where(trace.updated.any(axis=0), times[last], group.updated_at)
        for row in np.flatnonzero(trace.numeric[-1]).tolist():
            entry = group.entries[row]
            entry.problem = entry.problem or Unreadable(Reason.NUMERIC, "the counts of this step are no counts")

    def _note_passed(
        self, group: _Group, times: Array, trace: ev.Trace, sums: Array, began_before: Array, renewed: Mask
    ) -> None:
        """Breaches before the block's last tick; ``sums`` (T + 1, R, 4) of the counts, the tally being as it was."""
        for row in np.flatnonzero(trace.breach[:-1].any(axis=0) & ~trace.breach[-1]).tolist():
            entry, at = group.entries[row], int(np.flatnonzero(trace.breach[:, row])[-1])
            if entry.rule is None or renewed[at + 1 :, row].any():
                continue
            tick, since = float(times[at]), float(trace.since[at, row])
            counted = sums[at + 1, row] - sums[np.searchsorted(times, since, side="right"), row]
            before = np.flatnonzero(began_before[row] == since)
            if before.size:
                counted = counted + group.tally[row, before[0]]
            events_canary, trials_canary, events_control, trials_control = counted.tolist()
            entry.passed = EvidenceView(
                value=float(trace.evidence[at, row]),
                needed=float(group.evidence.needed[row]),
                since=_known(since),
                events_canary=events_canary,
                trials_canary=trials_canary,
                events_control=events_control,
                trials_control=trials_control,
                updated_at=tick,
                until=tick,
                warming_up=bool(trace.warming_up[at, row]),
                problem=None,
            )


_DRAINING = Unreadable(
    Reason.DRAINING,
    "the percent has just changed: too many requests or too much feedback of before are still coming in to call it "
    "healthy; a total failure is seen all the same",
)


_COUNTS = ("canary_events", "canary_trials", "control_events", "control_trials")
_SHARES = ("canary_missing", "canary_leftover", "control_missing", "control_leftover")


@dataclass(frozen=True, slots=True)
class _Schedule:
    """Head starts (T, R); ticks that move nothing, begin anew, stake little; and the counts to judge by."""

    head_starts: Array
    paused: Mask
    renewed: Mask
    hedged: Mask
    judged: ev.TickCounts


def _latencies(entries: Sequence[Entry], stages: Sequence[StageEntry]) -> list[ev.Latencies]:
    """How long control's requests took before each stage began; of several rules' the one that knows most of it."""
    found: list[ev.Latencies] = []
    for stage in stages:
        known = [entry.latencies[stage.at] for entry in entries if stage.at in entry.latencies]
        found.append(known[0] if known else ev.UNKNOWN_LATENCIES)
    return found


def _unlabelled(case: ArmedRollout, cohorts: CohortMatchers) -> CohortMatchers | None:
    """Control before cohorts had labels; None where they are told apart by something that is always there."""
    if cohorts[Cohort.CONTROL] != (Matcher("cohort", "=", "control"),):
        return None
    control = (Matcher("cohort", "!=", "canary"), Matcher("model", "=", case.rollout.control))
    return {**cohorts, Cohort.CONTROL: control}


# --- entries and groups -------------------------------------------------------------------------


def judged_by_evidence(case: ArmedRollout, rule: Rule) -> bool:
    """Whether evidence decides about this rule, gathered already or not; never so for free queries."""
    return case.rollout.decide is Decide.EVIDENCE and bool(ev.bounds_of(rule))


def _of_the_same(kept: ArmedRollout, case: ArmedRollout) -> bool:
    """Whether both ask about the same users' requests."""
    if kept.rollout is case.rollout:
        return True
    return all(kept.rollout.cohorts_of(rule) == case.rollout.cohorts_of(rule) for rule in case.rollout.rules)


def keeps_windows(case: ArmedRollout) -> bool:
    """Whether the windows of the rules that evidence judges are sums of its steps; very long ones are not kept."""
    return case.rollout.window <= LONGEST


def _specs(case: ArmedRollout) -> list[tuple[Rule, ev.DetectorSpec]]:
    """The rules evidence can judge, each with its share of the rollout's budget."""
    if case.rollout.decide is not Decide.EVIDENCE:
        return []
    rollout = case.rollout
    alpha = rollout.false_trips_per_day / len(rollout.rules)
    found = [(rule, ev.bounds_of(rule)) for rule in rollout.rules]
    return [
        (rule, ev.DetectorSpec((rollout.name, rule.name), bounds, alpha, bursts=rollout.bursts))
        for rule, bounds in found
        if bounds
    ]


def _split_entries(case: ArmedRollout) -> list[Entry]:
    """The two sides of the rollout's traffic split; none where there is nothing to split or to count."""
    percent = _splittable(case.flag.canary_percent)
    if not percent:
        return []
    specs = ev.split_rules((case.rollout.name, SPLIT), percent, SPLIT_ALPHA)
    return [Entry(case, None, spec, percent=percent) for spec in specs]


def _splittable(percent: float) -> float:
    """The percent, or 0 where everybody is in one cohort."""
    return percent if 0.0 < percent < 100.0 else 0.0


def _new_group(until: float, entries: list[Entry]) -> _Group:
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
        np.full(len(entries), np.nan),
    )


def _without(group: _Group, rollouts: AbstractSet[str]) -> _Group | None:
    if group.rows.keys().isdisjoint(rollouts):
        return group
    return _filtered(group, lambda entry: entry.rollout not in rollouts)


def _filtered(group: _Group, wanted: Callable[[Entry], bool]) -> _Group | None:
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
        group.updated_at[rows],
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
        np.concatenate([group.updated_at for group in groups]),
    )


def _become(group: _Group, other: _Group) -> None:
    for name in ("entries", "evidence", "tally", "since", "warming", "values", "phi", "updated_at", "rows", "views"):
        setattr(group, name, getattr(other, name))
