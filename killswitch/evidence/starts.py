"""Head starts and pauses: what the flag's own history means for evidence.

Evidence may begin with part of its budget already spent (a head start), because regressions are
likeliest when a stage begins. The purse they come from holds half a start on the first day and gains
half a start every further day, never more than a half at once; each arming or raise takes half of what
is in it. With the half start a day of `killswitch.evidence.detector` that is at most max(1, days)
starts, hence at most alpha_rule x max(1, days) false trips.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from killswitch.evidence.detector import DAY
from killswitch.evidence.dispersion import Mask
from killswitch.evidence.evariables import Array
from killswitch.flag import AA, StageEntry

PURSE = 0.5
PAUSE_DELAYS = 3.0
# the share of a step: typical answers of a few seconds cost no delay at a stage's start
DRAIN_TOLERANCE = 0.35


@dataclass(frozen=True, slots=True)
class HeadStart:
    """``amount`` is added to every S_j of every rule of the rollout before the first tick after ``at``."""

    at: float
    amount: float


def head_starts(stages: Sequence[StageEntry]) -> tuple[HeadStart, ...]:
    """The head starts of one generation, from its whole ramp (ascending, from arming on)."""
    paid = 0.0
    starts: list[HeadStart] = []
    for index, entry in enumerate(stages):
        if entry.percent <= 0 or (index and not _raises(stages[index - 1], entry)):
            continue
        days = max(1.0, (entry.at - stages[0].at) / DAY)
        amount = 0.5 * min(PURSE, PURSE * days - paid)
        paid += amount
        starts.append(HeadStart(entry.at, amount))
    return tuple(starts)


def head_starts_at(stages: Sequence[StageEntry], ticks: Array, rules: int, *, after: float) -> Array:
    """The same as the array `advance` takes, (T, R), for ascending ticks.

    A head start falls on the first tick later than it. ``after``: the last tick that was taken in before
    these, or ``armed_at`` when a replay reaches back to it; starts older than that are dropped, so that no
    restart pays one twice.
    """
    amounts = np.zeros((len(ticks), rules))
    for head_start in head_starts(stages):
        row = int(np.searchsorted(ticks, head_start.at, side="right"))
        if head_start.at >= after and row < len(ticks):
            amounts[row] += head_start.amount
    return amounts


def paused_at(stages: Sequence[StageEntry], delays: Sequence[float], ticks: Array) -> Mask:
    """Which rules must not be updated at which ticks, (T, R); ``delays`` are each rule's feedback delay, seconds.

    For three delays after the percent was lowered, late feedback of the larger cohort falls on the
    requests of the smaller one.
    """
    lowered = [after.at for before, after in itertools.pairwise(stages) if after.percent < before.percent]
    length = PAUSE_DELAYS * np.array(delays, dtype=np.float64)
    paused = np.zeros((len(ticks), len(delays)), dtype=np.bool_)
    for at in lowered:
        age = (ticks - at)[:, None]
        paused |= (age > 0) & (age <= length)
    return paused


def draining_at(stages: Sequence[StageEntry], drain: float, ticks: Array, step: float) -> Mask:
    """Which ticks fall into the time after a change of percent in which slow requests still come home, (T, 1).

    A failure is counted at once, an answer when it is complete: for ``drain`` seconds after a raise (and at
    arming) the new users' failures are counted without their answers, and after a lowering the many users'
    slow failures fall on the few. A step that such requests fill by no more than `DRAIN_TOLERANCE` is let pass.
    """
    changed = [stages[0].at] if stages[0].percent > 0 else []
    changed += [after.at for before, after in itertools.pairwise(stages) if after.percent != before.percent]
    draining = np.zeros((len(ticks), 1), dtype=np.bool_)
    for at in changed:
        over = at + drain - DRAIN_TOLERANCE * step
        draining |= ((ticks > at) & (ticks - step < over))[:, None] & (drain > DRAIN_TOLERANCE * step)
    return draining


def _raises(before: StageEntry, after: StageEntry) -> bool:
    """More users see the new model: a higher percent, or the end of a stage that served control to all."""
    return after.percent > before.percent or (before.stage == AA != after.stage)
