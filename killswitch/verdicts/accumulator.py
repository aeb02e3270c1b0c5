"""The accumulator gathers the evidence on every rule of every watched rollout. No I/O, no clock.

It turns readings of disjoint steps into counts and keeps what the evidence needs of the past: control's histograms
of the last hour, and sums since the excursion began. It advances all rules that have reached the same tick in one
set of arrays. A fresh rollout is opened at an earlier tick and catches up through the same `take` as all others, so
a restarted replica gets the same evidence as a running one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from killswitch.model import Range, Reading, Readings, Rule, Want
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.armed_rollout import ArmedRollout, PerArmedRollout
from killswitch.verdicts.evidence.dispersion import WARM_TICKS
from killswitch.verdicts.evidence_entry import PAST, STEP, STEP_PER_USER, TOO_LITTLE, TOO_MUCH, Entry
from killswitch.verdicts.evidence_groups import (
    EvidenceGroup,
    forget_changed,
    joined,
    new_group,
    renew_splits,
    split_entries,
    without,
)
from killswitch.verdicts.evidence_view import EvidenceView
from killswitch.verdicts.judged_rules import detector_specs, keeps_windows, unlabelled_control
from killswitch.verdicts.missing_events import MissingEvents
from killswitch.verdicts.schedule import schedule
from killswitch.verdicts.shown_windows import Windows
from killswitch.verdicts.step_counts import step_counts
from killswitch.verdicts.tally import tally

WARM_UP_SECONDS = 3600.0
# More ticks than control needs for its warm-up: a latency rule's first tick has no tau, and scrapes can fail.
WARM_UP_TICKS = round(1.1 * WARM_TICKS)


def warm_up_seconds(step: float) -> float:
    """How far back control is read before a generation begins: an hour, or longer where steps are long."""
    return max(WARM_UP_SECONDS, WARM_UP_TICKS * step)


class EvidenceAccumulator:
    """The evidence of all rollouts. ``step``: seconds between evidence ticks, a multiple of the scrape interval."""

    def __init__(self, *, step: float) -> None:
        self.step = step
        self._groups: list[EvidenceGroup] = []
        self._where: dict[str, EvidenceGroup] = {}
        self._specs = PerArmedRollout(detector_specs)
        self._wants = PerArmedRollout(self._wanted)
        self._windows: dict[str, Windows] = {}
        # by rollout: the answers at the newest tick, if no counts could be taken from them
        self._unread: dict[str, Readings] = {}

    # --- who is in it ---------------------------------------------------------------------------

    def until(self, rollout: str) -> float | None:
        """The last tick taken in for this rollout; None if it has not been opened."""
        group = self._where.get(rollout)
        return None if group is None else group.until

    def fits(self, armed: ArmedRollout) -> bool:
        """Whether the kept evidence is of this armed rollout: the same generation, arming, rules and cohorts."""
        group = self._where.get(armed.rollout.name)
        if group is None or not self.same_generation(armed) or not self.same_series(armed):
            return False
        entries = group.of(armed.rollout.name)
        kept = [(entry.rule, entry.spec) for entry in entries if entry.rule is not None]
        return kept == self._specs(armed) and _of_the_same(entries[0].armed, armed)

    def same_generation(self, armed: ArmedRollout) -> bool:
        """Whether the kept evidence is of this generation and arming, whatever its rules were."""
        group = self._where.get(armed.rollout.name)
        if group is None:
            return False
        kept = group.of(armed.rollout.name)[0].armed
        return (kept.flag.generation, kept.armed_at) == (armed.flag.generation, armed.armed_at)

    def same_series(self, armed: ArmedRollout) -> bool:
        """Whether the kept evidence is of the same side of stage ``shadow``: of its requests, or of users'."""
        group = self._where.get(armed.rollout.name)
        return group is not None and _same_series(group.of(armed.rollout.name)[0].armed, armed)

    def open(
        self, all_armed: Sequence[ArmedRollout], at: float, past: Mapping[float, Readings], *, from_arming: bool
    ) -> None:
        """Begin at tick ``at`` with no evidence; ``past``: the readings of the hour before, for warming up.

        ``from_arming``: the generations began at ``at``, so their head starts are not paid yet.
        """
        self.drop([armed.rollout.name for armed in all_armed])
        rules = [
            (armed, rule, spec, -math.inf if from_arming else self._paid_until(armed, at))
            for armed in all_armed
            for rule, spec in self._specs(armed)
        ]
        entries = [Entry(armed, rule, spec, paid_until=paid) for armed, rule, spec, paid in rules]
        if not entries:
            return
        group = new_group(at, entries)
        ticks = [tick for tick in sorted(past) if tick <= at]
        if ticks:
            counts, _ = step_counts(entries, group.evidence.first_bound, ticks, past, step=self.step, settle=False)
            group.evidence = ev.warm_up(group.evidence, counts.control_events, counts.control_trials)
            for entry in entries:
                entry.problem = None
        for armed in all_armed:
            if keeps_windows(armed):
                kept = self._windows[armed.rollout.name] = Windows(self.step, armed.rollout.window)
                kept.take(self._keys(armed), ticks, past)
        sides = [side for armed in all_armed for side in split_entries(armed)]
        self._groups.append(joined([group, new_group(at, sides)]) if sides else group)
        self._index()

    def _paid_until(self, armed: ArmedRollout, at: float) -> float:
        """Since when head starts are paid: not those of stages before ``at``, but that of a stage that began there."""
        turned = ev.shadow_turned_at(armed.flag.stages)
        return turned if turned is not None and at - self.step < turned <= at else at

    def drop(self, rollouts: Collection[str]) -> None:
        """Forget these rollouts."""
        gone = self._where.keys() & set(rollouts)
        if gone:
            self._groups = [kept for g in self._groups if (kept := without(g, gone)) is not None]
            self._index()
        for rollout in gone & self._windows.keys():
            del self._windows[rollout]

    def keep(self, rollouts: Collection[str]) -> None:
        """Forget all rollouts but these."""
        wanted = set(rollouts)
        self.drop(self._where.keys() - wanted)
        self._specs.keep(wanted)
        self._wants.keep(wanted)
        self._unread = {rollout: found for rollout, found in self._unread.items() if rollout in wanted}

    # --- taking data in -------------------------------------------------------------------------

    def wants(self, armed: ArmedRollout) -> Sequence[Want]:
        """The wants to read at each evidence tick."""
        return self._wants(armed)

    def _wanted(self, armed: ArmedRollout) -> tuple[Want, ...]:
        wants: list[Want] = []
        for rule, _ in self._specs(armed):
            want = Want(
                rollout=armed.rollout.name,
                rule=rule.name,
                part=STEP,
                signal=rule.signal,
                cohorts=armed.rollout.cohorts_of(rule),
                seconds=self.step,
                range=Range.STEP,
                absent_is_zero=rule.absent_is_zero,
                shown=armed.rollout.window,
            )
            wants.append(want)
            if rule.per_user is not None:
                wants.append(replace(want, part=STEP_PER_USER, signal=rule.per_user))
        return tuple(wants)

    def past_wants(self, armed: ArmedRollout) -> list[Want]:
        """The wants for the hour before arming.

        Cohort labels often ship *with* the canary, so control's past may have no labels yet. Control is therefore
        also read by its model, whatever its cohort label, but without the canary's cohort. That reading is used where
        the labelled one has nothing.
        """
        wants = self.wants(armed)
        unlabelled = [
            replace(want, part=PAST, cohorts=cohorts)
            for want in wants
            if want.part == STEP and (cohorts := unlabelled_control(armed, want.cohorts)) is not None
        ]
        return [*wants, *unlabelled]

    def take(
        self, all_armed: Sequence[ArmedRollout], ticks: Sequence[float], readings: Mapping[float, Readings]
    ) -> ev.Trace | None:
        """Advance these armed rollouts, all of which have reached the same tick, through later ``ticks`` (ascending).

        Returns the trace of the block, for replays; its columns are in the order of `columns`.
        """
        names = {armed.rollout.name: armed for armed in all_armed}
        group = self._gather(names)
        if group is None or not ticks:
            return None
        for entry in group.entries:
            before, entry.armed = entry.armed.flag.stages[-1], names[entry.rollout]
            now = entry.armed.flag.stages[-1]
            entry.renew = now.at > ticks[-1] and ev.renews(before, now)
            if ev.renews(before, now):
                entry.missing_events, entry.passed = MissingEvents(), None
        renew_splits(group)
        counts, first_requests = step_counts(
            group.entries, group.evidence.first_bound, ticks, readings, step=self.step, settle=True
        )
        times = np.array(ticks, dtype=np.float64)
        forget_changed(group)
        plan = schedule(group, counts, times, self.step)
        began = group.evidence.since
        group.evidence, trace = ev.advance(
            group.evidence, counts, times, step=self.step, head_starts=plan.head_starts, paused=plan.paused,
            renewed=plan.renewed, hedged=plan.hedged, judged=plan.judged,
            first_requests=first_requests,
        )  # fmt: skip
        tally(group, counts, times, trace, began, plan.renewed, self.step)
        group.until, group.views = ticks[-1], None
        for entry in group.entries:
            entry.paid_until, entry.renew = ticks[-1], False
        for name, armed in names.items():
            if keeps_windows(armed):
                windows = self._windows.setdefault(name, Windows(self.step, armed.rollout.window))
                windows.reach(armed.rollout.window)
                windows.take(self._keys(armed), ticks, readings)
            else:
                self._windows.pop(name, None)
            self._unread.pop(name, None)
        self._merge()
        return trace

    def _keys(self, armed: ArmedRollout) -> list[tuple[str, str, str]]:
        return [want.key for want in self.wants(armed)]

    def columns(self, rollout: str) -> dict[str, int]:
        """The column of each rule in a trace, for a rollout that is alone in its group."""
        group = self._where[rollout]
        return {name: row for name, row in group.rows[rollout].items() if group.entries[row].rule is not None}

    def note_unread(self, rollout: str, answers: Readings) -> None:
        """Note that no counts could be taken from these answers at the newest tick. `take` clears the note."""
        self._unread[rollout] = answers

    def is_unread(self, rollout: str) -> bool:
        """Whether `note_unread` has noted this rollout for the newest tick."""
        return rollout in self._unread

    def read_again(self) -> None:
        """Clear all notes of `note_unread`: a failed read says nothing about the next tick."""
        self._unread = {}

    # --- looking --------------------------------------------------------------------------------

    def unread(self, rollout: str, rule: str, part: str) -> Reading | None:
        """The answer noted by `note_unread` for a rule, or None. ``part``: `STEP` or `STEP_PER_USER`."""
        return self._unread.get(rollout, {}).get((rollout, rule, part))

    def window(self, rollout: str, rule: str, part: str, since: float, seconds: float) -> Reading | None:
        """What evidence has read of the last ``seconds``, but of nothing before ``since``; or why the read failed.

        ``part``: `STEP` or `STEP_PER_USER`. None if nothing has been read yet.
        """
        key = (rollout, rule, part)
        unread = self.unread(rollout, rule, part)
        if unread is not None:
            return unread
        windows = self._windows.get(rollout)
        return None if windows is None else windows.sum(key, since, seconds)

    def view(self, rollout: str, rule: str) -> EvidenceView | None:
        """One rule's evidence; None if none is gathered (a free query, or not opened yet)."""
        place = self._place(rollout, rule)
        if place is None:
            return None
        group, row = place
        return group.view(row)

    def view_for(self, armed: ArmedRollout, rule: Rule) -> EvidenceView | None:
        """The evidence of this arming and exactly this rule; None if the kept evidence is of another."""
        place = self._place(armed.rollout.name, rule.name)
        if place is None:
            return None
        group, row = place
        entry = group.entries[row]
        kept = (entry.armed.flag.generation, entry.armed.armed_at)
        if kept != (armed.flag.generation, armed.armed_at) or (entry.rule is not rule and entry.rule != rule):
            return None
        if not _same_series(entry.armed, armed):
            return None
        return group.view(row)

    def passed_breach(self, rollout: str, rule: str) -> EvidenceView | None:
        """The newest breach at a tick that was read together with later ticks. Returned once, then None.

        Evidence started again from zero after the breach, so the evidence after the last of these ticks does not show
        it.
        """
        place = self._place(rollout, rule)
        if place is None:
            return None
        entry = place[0].entries[place[1]]
        passed, entry.passed = entry.passed, None
        return passed

    def dispersion(self, rollout: str, rule: str) -> float:
        """The dispersion phi of a rule's events: how much more they clump than independent ones (1: no more)."""
        place = self._place(rollout, rule)
        return 1.0 if place is None else float(place[0].phi[place[1]])

    def judges_per_user(self, rollout: str, rule: str) -> bool:
        """Whether evidence is gathered on the per-user signal."""
        place = self._place(rollout, rule)
        return place is not None and place[0].entries[place[1]].per_user.adopted

    def split_is_wrong(self, rollout: str) -> bool:
        """Whether the evidence says that the canary's share of requests is nowhere near the flag's percent."""
        for side in (TOO_LITTLE, TOO_MUCH):
            place = self._place(rollout, side)
            if place is not None and place[0].values[place[1]] >= place[0].evidence.needed[place[1]]:
                return True
        return False

    # --- inside ---------------------------------------------------------------------------------

    def _place(self, rollout: str, name: str) -> tuple[EvidenceGroup, int] | None:
        group = self._where.get(rollout)
        row = None if group is None else group.rows[rollout].get(name)
        return None if group is None or row is None else (group, row)

    def _gather(self, names: Mapping[str, ArmedRollout]) -> EvidenceGroup | None:
        """One group of exactly these rollouts; other rollouts in their groups are split off."""
        chosen: list[EvidenceGroup] = []
        rest: list[EvidenceGroup] = []
        for group in self._groups:
            inside, outside = without(group, group.rows.keys() - names.keys()), without(group, names.keys())
            chosen += [inside] if inside is not None else []
            rest += [outside] if outside is not None else []
        if not chosen:
            return None
        whole = joined(chosen)
        self._groups = [whole, *rest]
        self._index()
        return whole

    def _merge(self) -> None:
        by_tick: dict[float, list[EvidenceGroup]] = {}
        for group in self._groups:
            by_tick.setdefault(group.until, []).append(group)
        self._groups = [joined(groups) for groups in by_tick.values()]
        self._index()

    def _index(self) -> None:
        self._where = {rollout: group for group in self._groups for rollout in group.rows}


def _same_series(kept: ArmedRollout, armed: ArmedRollout) -> bool:
    return kept is armed or ev.shadow_turned_at(kept.flag.stages) == ev.shadow_turned_at(armed.flag.stages)


def _of_the_same(kept: ArmedRollout, armed: ArmedRollout) -> bool:
    """Whether both count the requests of the same cohorts."""
    if kept.rollout is armed.rollout:
        return True
    return all(kept.rollout.cohorts_of(rule) == armed.rollout.cohorts_of(rule) for rule in armed.rollout.rules)
