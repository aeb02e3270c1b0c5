"""Head starts, renewals and unsettled counts: what the flag's own history means for evidence.

Evidence may begin with part of its budget already spent (a head start), because regressions are most likely when a
stage begins. Head starts are paid from a purse. It holds half a start on the first day and gains half a start every
further day, but never holds more than a half at once. Each arming or raise takes half of what is in it. With the
half start a day of `killswitch.verdicts.evidence.detector` this is at most max(1, days) starts, hence at most
alpha_rule x max(1, days) false trips.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from killswitch.flags.flag import AA, SHADOW, STAGES, StageEntry
from killswitch.timestamps import DAY
from killswitch.verdicts.evidence.detector import ALTERNATIVES
from killswitch.verdicts.evidence.dispersion import Mask
from killswitch.verdicts.evidence.evariables import Array, TickCounts

PURSE = 0.5
PAUSE_DELAYS = 3.0
LONGEST_DRAIN = 600.0
# a canary within its limits may be slower than control, whose latencies are known
STRETCH = 1.5
# (m - 1) / ln m of the largest alternative
_LIKE_A_RATE = (ALTERNATIVES[-1] - 1.0) / math.log(ALTERNATIVES[-1])
# shares of a tick's requests, above which a rule is DRAINING
_MATERIAL_REQUESTS = 0.2
_MATERIAL_EVENTS = 0.002
# If nearly all of a cohort's requests are under way, the counts are multiplied by at most 20.
_LEAST_COUNTED = 0.05


@dataclass(frozen=True, slots=True)
class HeadStart:
    """``amount`` is added to every S_j of every rule of the rollout before the first tick after ``at``."""

    at: float
    amount: float


def head_starts(stages: Sequence[StageEntry]) -> tuple[HeadStart, ...]:
    """The head starts of one generation, from all its stages (ascending, from arming on)."""
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
    """The head starts as the array that `advance` takes, (T, R), for ascending ticks.

    A head start belongs to the first tick after its time. ``after``: the last tick taken in before these, or
    ``armed_at`` when a replay reaches back to it. Older head starts are dropped, so that a restart pays none twice.
    """
    amounts = np.zeros((len(ticks), rules))
    for head_start in head_starts(stages):
        row = int(np.searchsorted(ticks, head_start.at, side="right"))
        if head_start.at >= after and row < len(ticks):
            amounts[row] += head_start.amount
    return amounts


def paused_at(stages: Sequence[StageEntry], delays: Sequence[float], ticks: Array) -> Mask:
    """Which rules must not be updated at which ticks, (T, R); ``delays``: each rule's feedback delay in seconds.

    For three delays after the percent was lowered, late feedback of the larger cohort is counted with the requests
    of the smaller one.
    """
    lowered = [after.at for before, after in itertools.pairwise(stages) if after.percent < before.percent]
    length = PAUSE_DELAYS * np.array(delays, dtype=np.float64)
    paused = np.zeros((len(ticks), len(delays)), dtype=np.bool_)
    for at in lowered:
        age = (ticks - at)[:, None]
        paused |= (age > 0) & (age <= length)
    return paused


def renewals(stages: Sequence[StageEntry]) -> tuple[float, ...]:
    """When evidence starts again from zero (ascending): before, it was of another model, or against a baseline.

    Another model serves the canary's users when stage `aa` or `shadow` begins or ends. Below `full` a live control
    replaces the stored baseline.
    """
    return tuple(after.at for before, after in itertools.pairwise(stages) if renews(before, after))


def renews(before: StageEntry, after: StageEntry) -> bool:
    """Whether evidence gathered in one stage says nothing about the next."""
    apart = (AA, SHADOW)
    other_model = before.stage != after.stage and (before.stage in apart or after.stage in apart)
    return other_model or before.percent > STAGES["full"] >= after.percent


def shadow_turned_at(stages: Sequence[StageEntry]) -> float | None:
    """When stage ``shadow`` last began or ended after arming (Unix seconds), None if it did neither.

    Other series are read from there on: of shadow requests, or of users. So evidence is opened there, by a replica that
    ran before and by one that starts later.
    """
    turns = (
        after.at for before, after in itertools.pairwise(stages) if (before.stage == SHADOW) != (after.stage == SHADOW)
    )
    return max(turns, default=None)


def renewed_at(stages: Sequence[StageEntry], ticks: Array, step: float, *, after: float) -> tuple[Mask, Mask]:
    """Which of ascending ticks are the first after a renewal, and which steps reach back before one; each (T,).

    ``after``: the last tick taken in before these.
    """
    first, mixed = np.zeros(len(ticks), dtype=np.bool_), np.zeros(len(ticks), dtype=np.bool_)
    for at in renewals(stages):
        row = int(np.searchsorted(ticks, at, side="right"))
        if at >= after and row < len(ticks):
            first[row] = True
        mixed |= (ticks > at) & (ticks - step < at)
    return first, mixed


class Latencies:
    """How long requests take, from a histogram: ``edges`` (K,) ascending seconds, cumulative ``counts`` (K,).

    Within a bucket requests are spread evenly. For requests beyond the last finite edge `LONGEST_DRAIN` is assumed,
    because their duration is not known. Every duration is multiplied by ``STRETCH``, since a canary within its limits
    may be slower than control.
    """

    __slots__ = ("_areas", "_knots", "_left", "all_ended_after")

    def __init__(self, edges: Array, counts: Array) -> None:
        finite = STRETCH * edges[np.isfinite(edges)]
        knots = np.concatenate([[0.0], finite, [max(LONGEST_DRAIN, 2.0 * finite[-1] if finite.size else 0.0)]])
        left = np.ones(len(knots))
        if counts[-1] > 0:
            left[1:-1] = 1.0 - np.minimum(np.maximum.accumulate(counts[: finite.size]) / counts[-1], 1.0)
        self._knots, self._left = knots, left
        # beyond the last finite edge no request ends before the last knot
        self._left[-1] = left[-2]
        trapezes = 0.5 * (self._left[1:] + self._left[:-1]) * np.diff(knots)
        self._areas = np.concatenate([[0.0], np.cumsum(trapezes)])
        longest = min(int(np.flatnonzero(self._left != 0.0)[-1]) + 1, len(knots) - 1)
        self.all_ended_after = float(knots[longest])
        """Seconds from which on `under_way` grows no more: no request takes longer."""

    def under_way(self, seconds: Array) -> Array:
        """The integral from 0 to ``seconds`` of the share of requests that take longer; constant past the last knot."""
        at = np.minimum(np.maximum(seconds, 0.0), self._knots[-1])
        index = np.minimum(np.searchsorted(self._knots, at, side="right") - 1, len(self._knots) - 2)
        there = np.interp(at, self._knots, self._left)
        area: Array = self._areas[index] + 0.5 * (self._left[index] + there) * (at - self._knots[index])
        return area


# Without a latency rule the duration of requests is not known: assumed to be evenly spread up to ten seconds.
UNKNOWN_LATENCIES = Latencies(np.array([10.0 / STRETCH, np.inf]), np.array([1.0, 1.0]))


@dataclass(frozen=True, slots=True)
class Unsettled:
    """How much of a tick's counts is missing or belongs to users of the other cohort, as shares of counted requests.

    Each (T,) for one rollout, or (T, B) with its own shares for each column of counts.

    ``*_missing``: requests of users who joined the cohort, still under way. ``*_leftover``: requests of users who
    left the cohort, begun before and counted now.
    """

    canary_missing: Array
    canary_leftover: Array
    control_missing: Array
    control_leftover: Array

    @property
    def material(self) -> Mask:
        """Where these shares could look like a rate, or hide one: too much to call anything healthy, (T,)."""
        requests = np.maximum(self.canary_missing, self.control_leftover)
        events = np.maximum(_LIKE_A_RATE * self.canary_leftover, self.control_missing)
        material: Mask = (requests > _MATERIAL_REQUESTS) | (events > _MATERIAL_EVENTS)
        return material


def unsettled_at(stages: Sequence[StageEntry], latencies: Sequence[Latencies], ticks: Array, step: float) -> Unsettled:
    """How each change of percent, or of the model behind it, unsettles the steps after it.

    A failure is counted at once, an answer when it is complete. ``latencies``: one per stage, as known when it began.
    Requests are assumed to arrive evenly, so of the requests begun since a change at age ``a`` the share under way is
    an integral of the latencies' distribution (Little's law).
    """
    known_of_each = list(zip(stages, latencies, strict=True))
    if all(ticks[0] - step - entry.at >= known.all_ended_after for entry, known in known_of_each):
        # true soon after each change; the arithmetic below took 6% of a cycle's processor time
        return Unsettled(*np.zeros((4, len(ticks))))
    shares = [(0.0, 100.0), *((entry.percent, 100.0 - entry.percent) for entry in stages)]
    began = [-np.inf, *(entry.at for entry in stages), np.inf]
    # This runs for each of a thousand rollouts in each tick, so what both cohorts need is computed once.
    lasted = [
        np.minimum(np.maximum(np.minimum(ticks, end) - np.maximum(ticks - step, start), 0.0), step)
        for start, end in itertools.pairwise(began)
    ]
    late: list[Array] = []
    for entry, known in known_of_each:
        age = ticks - entry.at
        now, before = np.split(known.under_way(np.maximum(np.concatenate([age, age - step]), 0.0)), 2)
        late.append(now - before)
    found: list[Array] = []
    for cohort in (0, 1):
        served = np.zeros(len(ticks))
        missing, leftover = np.zeros(len(ticks)), np.zeros(len(ticks))
        for seconds, both in zip(lasted, shares, strict=True):
            served += both[cohort] * seconds
        for number, entry in enumerate(stages):
            before_it, after_it = shares[number][cohort], shares[number + 1][cohort]
            joined, gone = max(after_it - before_it, 0.0), max(before_it - after_it, 0.0)
            if cohort == 0 and number and renews(stages[number - 1], entry):
                joined, gone = after_it, before_it
            missing += joined * late[number]
            leftover += gone * late[number]
        counted = np.maximum(served - missing + leftover, _LEAST_COUNTED * served)
        found += [np.divide(part, counted, out=np.zeros_like(part), where=counted > 0) for part in (missing, leftover)]
    return Unsettled(*found)


def settled(counts: TickCounts, unsettled: Unsettled) -> TickCounts:
    """The counts (T, B) corrected as far as possible in the canary's favour: a lower bound of the excess.

    The canary's requests under way are assumed to end well, and control's to fail. Requests of users who left are
    assumed to fail in the canary, and to end well in control. ``_LIKE_A_RATE`` times the leftover requests are
    subtracted from the canary's events, so that their chance variation is no evidence either: exp(L) has a mean of at
    most 1 for each alternative m if (m - 1) / ln m times their mean is subtracted.
    """
    canary_missing, canary_leftover, control_missing, control_leftover = (
        share.reshape(len(share), -1)
        for share in (
            unsettled.canary_missing, unsettled.canary_leftover, unsettled.control_missing, unsettled.control_leftover
        )
    )  # fmt: skip
    n_c, n_b = counts.canary_trials, counts.control_trials
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity stay what they are
        control_events = counts.control_events + control_missing * n_b
        return TickCounts(
            np.maximum(counts.canary_events - _LIKE_A_RATE * canary_leftover * n_c, 0.0),
            n_c * (1.0 + canary_missing),
            control_events,
            np.maximum(n_b * (1.0 + control_missing - control_leftover), control_events),
        )


def _raises(before: StageEntry, after: StageEntry) -> bool:
    """Whether more users see the new model: at a higher percent, or when stage `aa` (all get control) ends."""
    return after.percent > before.percent or (before.stage == AA != after.stage)
