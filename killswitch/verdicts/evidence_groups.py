"""Groups of entries whose evidence has reached the same tick, in one set of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np

from killswitch.flags.bucketing import obeyed_percent
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence_entry import SPLIT, Entry
from killswitch.verdicts.evidence_view import EvidenceView

# The traffic split has its own budget, because it trips nothing.
SPLIT_ALPHA = 0.01


@dataclass(slots=True)
class EvidenceGroup:
    """Entries whose evidence has reached the same tick, ``until``.

    ``tally`` (R, J, 4): sums since each excursion's start. ``updated_at`` (R,): the last tick that moved each entry,
    NaN before the first. ``rows``: the row of each rule, and of each side of the split, by rollout. ``views``: the
    cached view of each row; None after a change.
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
        """The view of one row. All rows are computed together, because thousands are needed after each tick."""
        if self.views is None:
            best = np.argmax(self.evidence.log_sums, axis=1)
            sums = self.tally[np.arange(len(best)), best]
            columns = (self.values, self.evidence.needed, self.since, *sums.T, self.updated_at)
            rows = zip(*(column.tolist() for column in columns), self.warming.tolist(), self.entries, strict=True)
            self.views = [
                EvidenceView(
                    value, needed, known_time(since), events_canary, trials_canary, events_control, trials_control,
                    known_time(updated_at), self.until, warming, entry.problem,
                )
                for value, needed, since, events_canary, trials_canary, events_control, trials_control, updated_at,
                    warming, entry in rows
            ]  # fmt: skip
        return self.views[row]


def known_time(time: float) -> float | None:
    return time if math.isfinite(time) else None


def new_group(until: float, entries: list[Entry]) -> EvidenceGroup:
    fresh = ev.start([entry.spec for entry in entries])
    return EvidenceGroup(
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


def without(group: EvidenceGroup, rollouts: AbstractSet[str]) -> EvidenceGroup | None:
    if group.rows.keys().isdisjoint(rollouts):
        return group
    return filtered(group, lambda entry: entry.rollout not in rollouts)


def filtered(group: EvidenceGroup, wanted: Callable[[Entry], bool]) -> EvidenceGroup | None:
    rows = [row for row, entry in enumerate(group.entries) if wanted(entry)]
    if not rows:
        return None
    if len(rows) == len(group.entries):
        return group
    entries = [group.entries[row] for row in rows]
    return EvidenceGroup(
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


def joined(groups: Sequence[EvidenceGroup]) -> EvidenceGroup:
    if len(groups) == 1:
        return groups[0]
    return EvidenceGroup(
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


def become(group: EvidenceGroup, other: EvidenceGroup) -> None:
    for name in ("entries", "evidence", "tally", "since", "warming", "values", "phi", "updated_at", "rows", "views"):
        setattr(group, name, getattr(other, name))


def renew_splits(group: EvidenceGroup) -> None:
    """Start the split's evidence again where the percent has changed: that is another hypothesis."""
    all_armed = {rollout: group.of(rollout)[0].armed for rollout in group.rows}
    kept = {entry.rollout: entry.percent for entry in group.entries if entry.rule is None}
    changed = {
        name for name, armed in all_armed.items() if kept.get(name, 0.0) != splittable(obeyed_percent(armed.flag))
    }
    if not changed:
        return
    rest = filtered(group, lambda entry: entry.rule is not None or entry.rollout not in changed)
    assert rest is not None
    sides = [side for name in sorted(changed) for side in split_entries(all_armed[name])]
    become(group, joined([rest, new_group(group.until, sides)]) if sides else rest)


def forget_changed(group: EvidenceGroup) -> None:
    """Forget the evidence of rules that went back to plain counters: it was gathered on the per-user signal."""
    rows = [row for row, entry in enumerate(group.entries) if entry.per_user.changed and entry.per_user.take_change()]
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


def split_entries(armed: ArmedRollout) -> list[Entry]:
    """The two sides of the rollout's traffic split; empty if all traffic is in one cohort."""
    percent = splittable(obeyed_percent(armed.flag))
    if not percent:
        return []
    specs = ev.split_rules((armed.rollout.name, SPLIT), percent, SPLIT_ALPHA)
    return [Entry(armed, None, spec, percent=percent) for spec in specs]


def splittable(percent: float) -> float:
    """The percent, or 0 if everyone is in one cohort."""
    return percent if 0.0 < percent < 100.0 else 0.0
