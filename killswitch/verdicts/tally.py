"""Sums the counts since each excursion began, and notes breaches that later ticks of a block have ended."""

from __future__ import annotations

import numpy as np

from killswitch.model import Reason, Unreadable
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.evidence.dispersion import Mask
from killswitch.verdicts.evidence.evariables import Array
from killswitch.verdicts.evidence_groups import EvidenceGroup, known_time
from killswitch.verdicts.evidence_view import EvidenceView


def tally(
    group: EvidenceGroup,
    counts: ev.TickCounts,
    times: Array,
    trace: ev.Trace,
    began_before: Array,
    renewed: Mask,
    step: float,
) -> None:
    """Bring the sums of every excursion, and what is shown of each row, to the block's last tick.

    ``times`` (T,) are the block's ticks, ``step`` seconds apart. ``began_before`` (R, J): when the excursions began,
    as of the tick before the block. ``renewed`` (T, R): where rules started again from zero.
    """
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
    _note_passed(group, times, trace, sums, began_before, renewed)
    since = np.nan_to_num(group.evidence.since, nan=-np.inf)
    began = np.searchsorted(times, since, side="right")
    older = since < times[0] - step * 0.5
    within = sums[-1][:, None, :] - np.take_along_axis(sums[:, :, None, :], began[None, :, :, None], axis=0)[0]
    # If the excursion started with this block's first tick, the kept sums belong to an excursion that is over.
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
    group: EvidenceGroup, times: Array, trace: ev.Trace, sums: Array, began_before: Array, renewed: Mask
) -> None:
    """Note breaches that ended before the block's last tick.

    ``sums`` (T + 1, R, 4): the counts summed over the block. ``group.tally`` must still be that of before the block.
    """
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
            since=known_time(since),
            events_canary=events_canary,
            trials_canary=trials_canary,
            events_control=events_control,
            trials_control=trials_control,
            updated_at=tick,
            until=tick,
            warming_up=bool(trace.warming_up[at, row]),
            problem=None,
        )
