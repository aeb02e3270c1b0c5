"""The e-detector: evidence over time, for all rules of all rollouts in one set of arrays.

A regression may be there from the first request of a stage, or begin at any tick. For each rule and alternative j,
over the rule's bounds i, at each tick with data (Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for
sequential change detection", 2022)::

    S_j <- exp(min over i of L_ij / phi_i) * (S_j + w)
    evidence = weighted mean over j of S_j;  a breach when evidence >= 1 / alpha_rule

``w`` is half a start a day; head starts (`killswitch.verdicts.evidence.starts`) are added when a stage starts.
The minimum of e-variables is an e-variable for "at this tick at least one bound holds", so which bound holds may
change from tick to tick. ``S - starts`` is a supermartingale. By optional stopping and Markov's inequality a canary
within its limits is tripped with probability at most alpha_rule times the starts paid, which is one a day. So
evidence of N means that the chance of this by luck is at most 1 in N, per day and rule.

At the first tick with data after a breach, S is 0 again. The same argument holds for each stretch between two
breaches, so the expected *number* of false alarms is also at most alpha_rule times the starts paid. If no one acts
on an alarm, the only cost is that evidence must grow again.

Everything here is a value: `advance` returns new evidence and changes nothing. The daemon advances all rules by one
tick, and a replay advances one rollout by thousands. Both run the same lines.

Shapes: ``T`` ticks, ``R`` rules, ``B`` bounds (grouped by rule), ``J`` alternatives.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from killswitch.model import Bursts
from killswitch.timestamps import DAY
from killswitch.verdicts.evidence import dispersion
from killswitch.verdicts.evidence.dispersion import Mask, Past
from killswitch.verdicts.evidence.evariables import (
    LARGEST_COUNT,
    ROUNDING,
    Array,
    HalfPlanes,
    TickCounts,
    half_planes,
    log_evidence,
)
from killswitch.verdicts.evidence.tested_limits import Bound

# How far beyond the limit a canary may be, and the weight of each. Any fixed weights that sum to 1 are valid; these
# were the fastest on the whole (docs/statistics.md, "What was tried").
ALTERNATIVES = (1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
WEIGHTS = tuple(weight / 17 for weight in (1, 3, 4, 4, 3, 2))
STARTS_PER_DAY = 0.5
# One tick is worth at most this many times ln(1 / alpha). The failures in a clump are not independent: 26 failures of
# 44, all one user's, would count as 1 in a million million. An e-variable made smaller is still an e-variable. HEAD_CAP
# is for a canary's first two ticks, which have its head start. FIRST_CAP and QUIET_CAP are for the time in which its
# own clumps are not known yet, LONG_CAP is for the long run.
HEAD_CAP, FIRST_CAP, QUIET_CAP, LONG_CAP = 1.0, 0.55, 0.95, 2.2
# The cap by ticks is half way from FIRST_CAP to LONG_CAP after _CAP_TICKS of the canary's ticks (discounted). The cap
# by clumps is half way from QUIET_CAP to LONG_CAP after _CAP_CLUMPS clumps of its events. The smaller of the two is
# used: a rule with few events may have seen many ticks, and no clump.
_CAP_TICKS, _CAP_CLUMPS = 30.0, 20.0
# the part of the evidence that is staked on a tick whose counts may be of users of the other cohort
STAKE = 0.1
# A standing breach grows to at most this many times the evidence needed, so that it ends soon after its cause.
_STANDING = 20.0
_LARGEST_LOG = 690.0


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """A rule as evidence sees it. ``key``: the caller's, such as (rollout, rule). ``alpha``: per day.

    ``stands``: a breach lasts as long as the data show it (the traffic split, which trips nothing).
    """

    key: Hashable
    bounds: tuple[Bound, ...]
    alpha: float
    bursts: Bursts = "auto"
    stands: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """What each tick did; all (T, R) except ``phi`` and ``control_share`` (T, B).

    ``evidence``: the weighted mean over alternatives of S after the tick. ``breach``: evidence >= needed.
    ``since``: the tick after which the current excursion began (the change-point that the best alternative finds most
    likely), NaN before the first update. ``updated``: the tick moved the evidence. ``numeric``: the tick held
    impossible numbers (not finite, negative, beyond `LARGEST_COUNT`, or many more events than its requests can
    have). ``warming_up``: control's past is shorter than 120 ticks.
    """

    evidence: Array
    breach: Mask
    since: Array
    updated: Mask
    numeric: Mask
    warming_up: Mask
    phi: Array
    control_share: Array


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of R rules after some tick.

    ``log_sums`` (R, J): ln S_j, -inf for S = 0. ``excursions`` (R, J): the sum of log evidence since the
    excursion's start (Page's CUSUM), never below 0. ``since`` (R, J): the last tick at which that sum was 0.
    """

    specs: tuple[DetectorSpec, ...]
    planes: HalfPlanes
    first_bound: npt.NDArray[np.intp]
    needed: Array
    past: Past
    log_sums: Array
    excursions: Array
    since: Array

    @property
    def value(self) -> Array:
        """Weighted mean over alternatives of S, (R,)."""
        return _mean(self.log_sums)

    @property
    def warming_up(self) -> Mask:
        """Which rules have seen fewer than 120 ticks of control, (R,)."""
        return _any_bound(self.past.control.ticks < dispersion.WARM_TICKS, self.first_bound)


def start(specs: Sequence[DetectorSpec]) -> Evidence:
    """Evidence of these rules before any tick. Raises ValueError for a rule without bounds or a bad alpha."""
    specs = tuple(specs)
    for spec in specs:
        if not spec.bounds:
            raise ValueError(f"rule {spec.key!r} has no bounds: evidence cannot judge it")
        if not 0.0 < spec.alpha < 1.0:
            raise ValueError(f"rule {spec.key!r}: alpha must be between 0 and 1, got {spec.alpha!r}")
    sizes = np.array([len(spec.bounds) for spec in specs], dtype=np.intp)
    shape = (len(specs), len(ALTERNATIVES))
    return Evidence(
        specs,
        half_planes(tuple(bound.half_plane for spec in specs for bound in spec.bounds)),
        np.cumsum(sizes) - sizes,
        np.array([1.0 / spec.alpha for spec in specs]),
        dispersion.empty_past(int(sizes.sum())),
        np.full(shape, -np.inf),
        np.zeros(shape),
        np.full(shape, np.nan),
    )


def combine(parts: Iterable[Evidence]) -> Evidence:
    """Several sets of rules as one, in order."""
    parts = list(parts)
    whole = start([spec for part in parts for spec in part.specs])
    if not parts:
        return whole
    return replace(
        whole,
        past=dispersion.concatenate([part.past for part in parts]),
        log_sums=np.concatenate([part.log_sums for part in parts]),
        excursions=np.concatenate([part.excursions for part in parts]),
        since=np.concatenate([part.since for part in parts]),
    )


def select(evidence: Evidence, keys: Iterable[Hashable]) -> Evidence:
    """The evidence of these rules only, in this order. Raises KeyError for a rule that is not there."""
    position = {spec.key: row for row, spec in enumerate(evidence.specs)}
    rows = np.array([position[key] for key in keys], dtype=np.intp)
    part = start([evidence.specs[row] for row in rows])
    bounds = [int(evidence.first_bound[row]) + i for row in rows for i in range(len(evidence.specs[row].bounds))]
    return replace(
        part,
        past=dispersion.select(evidence.past, np.array(bounds, dtype=np.intp)),
        log_sums=evidence.log_sums[rows],
        excursions=evidence.excursions[rows],
        since=evidence.since[rows],
    )


def warm_up(evidence: Evidence, control_events: Array, control_trials: Array) -> Evidence:
    """The evidence after learning control's past, (T, B), without judging anything."""
    control = dispersion.CohortSteps(control_events, control_trials, _usable(control_events, control_trials))
    nothing = np.zeros(control_events.shape)
    canary = dispersion.CohortSteps(nothing, nothing, nothing > 0)
    _, past = dispersion.look_ahead(evidence.past, control, canary, _kinds(evidence))
    return replace(evidence, past=past)


def advance(  # long: a third is the docstring, which gives the shape and meaning of every array
    evidence: Evidence,
    counts: TickCounts,
    ticks: Array,
    *,
    step: float,
    head_starts: Array | None = None,
    paused: Mask | None = None,
    renewed: Mask | None = None,
    hedged: Mask | None = None,
    judged: TickCounts | None = None,
    first_requests: Mask | None = None,
) -> tuple[Evidence, Trace]:
    """Take in T ticks of counts: the new evidence, and what each tick did.

    ``ticks`` (T,): Unix seconds; ``step``: seconds between evidence ticks. ``head_starts`` (T, R): added before
    the tick of their row. ``paused`` (T, R): ticks that must not move a rule (late feedback after the percent was
    lowered). ``renewed`` (T, R): ticks at which a rule first starts again from zero. ``hedged`` (T, R): ticks on
    which only a tenth of a rule's evidence is staked. ``judged``: the counts to judge by, if other than ``counts``,
    from which control's past is learnt. ``first_requests`` (T, R): where only users' first requests are counted.
    Raises ValueError when shapes do not fit.
    """
    _check_shapes(evidence, counts, ticks, (head_starts, paused, renewed, hedged, first_requests))
    control = _usable(counts.control_events, counts.control_trials)
    canary = _usable(counts.canary_events, counts.canary_trials)
    outlook, past = dispersion.look_ahead(
        evidence.past,
        dispersion.CohortSteps(counts.control_events, counts.control_trials, control),
        dispersion.CohortSteps(counts.canary_events, counts.canary_trials, canary),
        _kinds(evidence, first_requests),
    )
    control &= ~outlook.crowded_control
    canary &= ~outlook.crowded_canary
    if judged is None:
        judged = counts
    log_e, usable = _tick_evidence(evidence, judged, outlook, canary, control, hedged)
    updates = _all_bounds(usable, evidence.first_bound)
    if paused is not None:
        updates &= ~paused
    impossible = ~(canary | _missing(counts.canary_events, counts.canary_trials))
    impossible |= ~(control | _missing(counts.control_events, counts.control_trials))
    numeric = _any_bound(impossible, evidence.first_bound)
    if head_starts is None:
        head_starts = np.zeros(updates.shape)
    if renewed is None:
        renewed = np.zeros(updates.shape, dtype=np.bool_)
    after, values, since = _accumulate(evidence, log_e, _Walk(ticks, step, updates, head_starts, renewed))
    trace = Trace(
        values,
        values >= evidence.needed,
        since,
        updates,
        numeric,
        _any_bound(outlook.warming_up, evidence.first_bound),
        outlook.phi,
        outlook.share,
    )
    return replace(after, past=past), trace


def _check_shapes(
    evidence: Evidence, counts: TickCounts, ticks: Array, of_rules: Sequence[Array | Mask | None]
) -> None:
    per_bound, per_rule = (len(ticks), evidence.past.size), (len(ticks), len(evidence.specs))
    for array, shape in (
        (counts.canary_events, per_bound),
        (counts.canary_trials, per_bound),
        (counts.control_events, per_bound),
        (counts.control_trials, per_bound),
        *((array, per_rule) for array in of_rules),
    ):
        if array is not None and array.shape != shape:
            raise ValueError(f"expected an array of shape {shape}, got {array.shape}")


def _usable(events: Array, trials: Array) -> Mask:
    """Which counts are possible: finite, not negative (but for rounding), and at most `LARGEST_COUNT`."""
    with np.errstate(invalid="ignore"):
        usable: Mask = (events >= ROUNDING) & (trials >= ROUNDING)
        usable &= (events <= LARGEST_COUNT) & (trials <= LARGEST_COUNT)
    return usable


def _missing(events: Array, trials: Array) -> Mask:
    """Where a cohort has neither events nor trials: a gap, not an impossible number."""
    missing: Mask = np.isnan(events) & np.isnan(trials)
    return missing


def _kinds(evidence: Evidence, first_requests: Mask | None = None) -> dispersion.Kinds:
    bursts = [spec.bursts for spec in evidence.specs for _ in spec.bounds]
    long, auto = (np.array([each == which for each in bursts], dtype=np.bool_) for which in ("long", "auto"))
    if first_requests is not None:
        first_requests = first_requests.repeat([len(spec.bounds) for spec in evidence.specs], axis=1)
    return dispersion.Kinds(evidence.planes.shift > 0, long, auto, first_requests)


def _all_bounds(mask: Mask, first_bound: npt.NDArray[np.intp]) -> Mask:
    if mask.shape[-1] == 0:
        return mask
    return np.asarray(np.logical_and.reduceat(mask, first_bound, axis=-1))


def _any_bound(mask: Mask, first_bound: npt.NDArray[np.intp]) -> Mask:
    if mask.shape[-1] == 0:
        return mask
    return np.asarray(np.logical_or.reduceat(mask, first_bound, axis=-1))


def _tick_evidence(
    evidence: Evidence,
    counts: TickCounts,
    outlook: dispersion.Outlook,
    canary: Mask,
    control: Mask,
    hedged: Mask | None,
) -> tuple[Array, Mask]:
    """The minimum over bounds of L / phi, capped, (T, R, J), and which bounds had data, (T, B)."""

    def clean(values: Array, usable: Mask) -> Array:
        return np.where(usable, np.maximum(values, 0.0), 0.0)

    cleaned = TickCounts(
        clean(counts.canary_events, canary),
        clean(counts.canary_trials, canary),
        clean(counts.control_events, control),
        clean(counts.control_trials, control),
    )
    log_e = log_evidence(evidence.planes, cleaned, outlook.share, np.array(ALTERNATIVES))
    log_e /= outlook.phi[..., None]
    finite: Mask = np.asarray(np.isfinite(log_e).all(axis=-1))
    log_e = np.where(finite[..., None], log_e, 0.0)
    if log_e.shape[1]:
        log_e = np.minimum.reduceat(log_e, evidence.first_bound, axis=1)
        if hedged is not None and hedged.any():  # before the cap, so that the cap limits hedged ticks as well
            log_e = np.where(hedged[..., None], np.logaddexp(np.log1p(-STAKE), np.log(STAKE) + log_e), log_e)
        ticks, clumps = (
            np.minimum.reduceat(each, evidence.first_bound, axis=-1)
            for each in (outlook.canary_ticks, outlook.canary_clumps)
        )
        log_e = np.minimum(log_e, (cap(ticks, clumps) * np.log(evidence.needed))[..., None])
    # A bound that does not compare with control needs no control trials, but impossible numbers still spoil the tick.
    spared = ~evidence.planes.needs_control & (control | _missing(counts.control_events, counts.control_trials))
    return log_e, finite & (cleaned.canary_trials > 0) & ((cleaned.control_trials > 0) | spared)


def cap(canary_ticks: Array, canary_clumps: Array) -> Array:
    """How many times ln(1 / alpha) one tick may be worth, given the canary's ticks and clumps seen before it."""
    seen = canary_ticks / (canary_ticks + _CAP_TICKS)
    known = canary_clumps / (canary_clumps + _CAP_CLUMPS)
    later = np.minimum(FIRST_CAP + (LONG_CAP - FIRST_CAP) * seen, QUIET_CAP + (LONG_CAP - QUIET_CAP) * known)
    return np.where(canary_ticks > 0, later, HEAD_CAP)


@dataclass(frozen=True, slots=True)
class _Walk:
    """When the recursion moves: ticks (T,), seconds between them, and (T, R) of updates, head starts, renewals."""

    ticks: Array
    step: float
    updates: Mask
    head_starts: Array
    renewed: Mask


def _accumulate(evidence: Evidence, log_e: Array, walk: _Walk) -> tuple[Evidence, Array, Array]:
    """The recursion itself: the evidence after the last tick, and (T, R) of its value and of ``since``."""
    log_w = np.log(STARTS_PER_DAY * walk.step / DAY)
    sums, excursions, since = evidence.log_sums, evidence.excursions, evidence.since
    all_sums, all_since = np.empty(log_e.shape), np.empty(log_e.shape)
    started: Mask = np.asarray((walk.head_starts > 0).any(axis=1))
    moved: Mask = np.asarray(walk.updates.any(axis=1))
    with np.errstate(divide="ignore"):
        log_starts = np.log(walk.head_starts)
    stands = np.array([spec.stands for spec in evidence.specs], dtype=np.bool_)
    most = np.log(evidence.needed * _STANDING)
    over = _mean(sums) >= evidence.needed
    for row, tick in enumerate(walk.ticks):
        # After a breach that tripped nothing, evidence starts again from zero.
        afresh = walk.renewed[row] | (over & ~stands & walk.updates[row])
        if afresh.any():
            sums = np.where(afresh[:, None], -np.inf, sums)
            excursions = np.where(afresh[:, None], 0.0, excursions)
            since = np.where(afresh[:, None], np.nan, since)
        if started[row]:
            sums = np.logaddexp(sums, log_starts[row][:, None])
        if moved[row]:
            update = walk.updates[row][:, None]
            sums = np.where(update, log_e[row] + np.logaddexp(sums, log_w), sums)
            grown = excursions + log_e[row]
            since = np.where(update & np.isnan(since), tick - walk.step, since)
            since = np.where(update & (grown <= 0), tick, since)
            excursions = np.where(update, np.maximum(grown, 0.0), excursions)
            if stands.any():
                sums = np.where(stands[:, None], np.minimum(sums, most[:, None]), sums)
        all_sums[row], all_since[row] = sums, since
        over = _mean(sums) >= evidence.needed
    best = np.argmax(all_sums, axis=-1)[..., None]
    best_since = np.take_along_axis(all_since, best, axis=-1)[..., 0]
    return replace(evidence, log_sums=sums, excursions=excursions, since=since), _mean(all_sums), best_since


def _mean(log_sums: Array) -> Array:
    """The weighted mean over alternatives, limited to about exp(690), because JSON has no infinity."""
    mean: Array = np.exp(np.minimum(log_sums, _LARGEST_LOG)) @ np.array(WEIGHTS)
    return mean
