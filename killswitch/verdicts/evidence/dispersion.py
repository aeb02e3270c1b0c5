"""Learns from the past: control's share p_b*, and the dispersion phi, by how much counts vary more than chance.

Errors come in clumps (retries, one broken tenant). An e-variable made for independent trials then overstates the
evidence. Its logarithm is divided by a dispersion phi >= 1.05. For independent trials the result is still an
e-variable (Jensen's inequality); for clumps it is a measured approximation, not a theorem.

phi depends only on ticks before the one it is used in::

    D/M  = discounted sum of squared differences / the same expected of independent trials
    phi  = clip(1 + 1.5 (D/M - 1), 1.05, 30)

With x events of n trials in one block of ticks and x', n' in the block before, a block adds
``(x n' - x' n)^2 / (2 n n')`` to D and ``(x + x') / 2`` to M, times 1 - pooled share where the bound's own formula
has the binomial's variance. A term of D is capped at 9 max(D/M, 1) max(its expectation, 1). Without the cap, one
incident common to both cohorts would blind the rule for an hour.

Blocks are single ticks. `bursts: long` adds blocks of 10 and 60 ticks and uses the largest phi. It sees clumps that
last minutes, but trips later. `bursts: auto` does the same where control's past shows clumps that last minutes,
unless only users' first requests are counted. Then one user's retries are not a clump, and what lasts minutes is the
drift of the service itself, in both cohorts.

No tick outweighs the past. A tick counts with at most four times the past's mean. A past whose mean per tick is more
than four times the newest tick is scaled down. So an hour of sane traffic outweighs ten ticks of garbage.

A small control (a 99 % canary, or little traffic) has too few events to estimate its dispersion. If M is under 50
clumps (M is divided by D/M of the cohort with more events), the canary's own past makes up the difference. It is
still only from ticks before this one, and differences from tick to tick hardly change at a step in the rate.

Clumps may come in the canary alone. The effect of jittering rates also grows with a cohort's events, so a busy canary
shows more of it than control. So phi is at least that of the canary's own past, drawn towards 1 with the weight of 50
events, and used three pairs of blocks later. The delay is there because a regression's own jump is one clump, and
must not slow its trip.

Bounds of the form ``p_c <= r p_b`` hold however both rates move together. For them, what moves both cohorts alike (a
jittering service) is no reason for doubt, but control's counts cannot tell it from clumps. How events *split*
between the cohorts can tell: the same D/M of the canary's events among both cohorts' events, drawn towards control's
D/M with the weight of 50 events. Where control has more events than the canary, these bounds use the smaller of the
two D/M. A smaller control shows too few clumps in its split. For bounds with a shift a smaller phi would not be valid.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from killswitch.verdicts.evidence.evariables import Array

Mask = npt.NDArray[np.bool_]

SHARE_DISCOUNT = 0.98
DISPERSION_DISCOUNT = 0.995
BLOCKS = (1, 10, 60)
SMALLEST_PHI = 1.05
LARGEST_PHI = 30.0
WARM_TICKS = 120
# Until 120 ticks of control have been seen, phi is at least 1 + (COLD_PHI - 1) * 300 / (300 + M), where M is the
# number of events expected so far. Found by simulation (docs/statistics.md, "Cold start").
COLD_PHI = 12.0
_COLD_EVENTS = 300.0
_SLOPE = 1.5
# A count below this is rounding. The square of a smaller one underflows, and 0 / 0 would spoil the past permanently.
_NOTHING = 1e-9
_CAP = 9.0
_SMALLEST_SPREAD = 0.02
# This many clumps of events are enough to estimate a dispersion; with fewer, control's is topped up with the canary's.
ENOUGH_CLUMPS = 50.0
# The weight, in events, with which a split's dispersion is drawn towards control's.
_DRAWN = 50.0
# The weight, in events, with which the canary's own dispersion is drawn towards 1.
OWN_DRAWN = 50.0
# The canary's own dispersion is used this many pairs of blocks later: a regression's jump must not slow its trip.
OWN_LAG = 3
# D/M beyond which phi does not grow: a larger D/M would only take longer to fade.
_LARGEST_RATIO = 1.0 + (LARGEST_PHI - 1.0) / _SLOPE
# One tick weighs at most this many times the mean of the past. The past weighs at most this many times what it would
# if all its ticks were like the newest. So an hour of sane traffic outweighs any earlier garbage.
LEVEL = 4.0
# below this many trials, or events, ticks differ by chance
_FEW_TRIALS, _FEW_EVENTS = 10.0, 4.0
# Each event belongs to a trial, but feedback may come later than its request. If the events of the past and the tick
# are more than 1.25 times their trials plus ten, they are not events of these requests.
EVENTS_PER_TRIAL, SPARE_EVENTS = 1.25, 10.0
# `bursts: auto` uses long blocks if control's blocks of 10 ticks vary over 3 times as much as chance and over twice as
# much as its ticks, and if at least one pair in five is far apart: one incident does not make clumps frequent.
_AUTO_RATIO, _AUTO_TIMES, _AUTO_FAR, _AUTO_PAIRS = 3.0, 2.0, 0.2, 5.0
# Besides chance, the blocks must vary by more than this share of their mean: a rate drifts by as much in both cohorts
# alike, and in a busy control this drift is many times the variation by chance.
_AUTO_WANDER = 0.16
_FAR = 3.84  # the 95 % point of the square of a standard normal


@dataclass(frozen=True, slots=True)
class History:
    """The past of one series (a cohort's, or the split's), as far as evidence needs it; arrays of (B,) or (B, blocks).

    ``ticks``: the number of ticks seen, counted up to `WARM_TICKS`. ``weight``: the discounted number of ticks;
    ``pairs``: that of the pairs of blocks; ``far``: that of the pairs that are far apart. ``late_squares`` and
    ``late_expected`` (B, blocks, OWN_LAG): D and M before each of the last pairs, oldest first.
    """

    events: Array
    trials: Array
    weight: Array
    ticks: Array
    block_events: Array
    block_trials: Array
    filled: Array
    last_events: Array
    last_trials: Array
    squares: Array
    expected: Array
    pairs: Array
    far: Array
    late_squares: Array
    late_expected: Array

    @property
    def size(self) -> int:
        return self.events.size


@dataclass(frozen=True, slots=True)
class Past:
    """Both cohorts' histories, and the history of how events split between them; one row per bound."""

    control: History
    canary: History
    split: History

    @property
    def size(self) -> int:
        return self.control.size


@dataclass(frozen=True, slots=True)
class Outlook:
    """What was known before each tick, each (T, B): the share p_b*, phi, and whether the past was too short.

    ``canary_ticks``: the discounted number of ticks in which the canary's own clumps could have shown.
    ``canary_clumps``: how many clumps it had in them, up to `OWN_LAG` ticks before this one.
    ``crowded_control`` and ``crowded_canary``: the tick holds more events than the cohort's requests can have.
    """

    share: Array
    phi: Array
    warming_up: Mask
    canary_ticks: Array
    canary_clumps: Array
    crowded_control: Mask
    crowded_canary: Mask


@dataclass(frozen=True, slots=True)
class CohortSteps:
    """One cohort's counts of T ticks, (T, B). ``seen`` marks the counts that are data; the others change nothing."""

    events: Array
    trials: Array
    seen: Mask


@dataclass(frozen=True, slots=True)
class Kinds:
    """What phi must know of the bounds, each (B,) except the last.

    ``binomial``: bounds with a shift, whose variance has the binomial's 1 - share. ``long``: bounds that also judge
    long bursts. ``auto``: bounds that do so if control's past shows long bursts, except where only users' first
    requests are counted (``first_requests``, (T, B)).
    """

    binomial: Mask
    long: Mask
    auto: Mask
    first_requests: Mask | None = None


def empty_past(bounds: int) -> Past:
    return Past(*(_empty(bounds) for _ in fields(Past)))


def _empty(bounds: int) -> History:
    flat, blocks = (bounds,), (bounds, len(BLOCKS))
    late = (*blocks, OWN_LAG)
    shapes = ([flat] * 4, [blocks] * 9, [late] * 2)
    return History(*(np.zeros(shape) for part in shapes for shape in part))


def select(past: Past, rows: npt.NDArray[np.intp]) -> Past:
    def part(history: History) -> History:
        return History(*(getattr(history, field.name)[rows] for field in fields(History)))

    return Past(*(part(getattr(past, field.name)) for field in fields(Past)))


def concatenate(pasts: list[Past]) -> Past:
    def whole(histories: list[History]) -> History:
        return History(*(np.concatenate([getattr(h, field.name) for h in histories]) for field in fields(History)))

    return Past(*(whole([getattr(past, field.name) for past in pasts]) for field in fields(Past)))


def look_ahead(past: Past, control: CohortSteps, canary: CohortSteps, kinds: Kinds) -> tuple[Outlook, Past]:
    """What was known before each of T ticks of both cohorts, and the past after them."""
    shares, crowded, past = _walk_totals(past, _stacked([_cleaned(control), _cleaned(canary)]))
    control, canary = (
        CohortSteps(side.events, side.trials, side.seen & ~crowded[at]) for at, side in enumerate((control, canary))
    )
    control, canary = _cleaned(control), _cleaned(canary)
    warming_up = _ticks_before(past.control, control) < WARM_TICKS
    series = _stacked([control, canary, _split(control, canary)])
    binomial = np.stack([kinds.binomial, kinds.binomial, np.ones_like(kinds.binomial)])[:, None]
    past = _copied(past)  # once, for thousands of bounds: each size of blocks then writes its own column
    found: list[tuple[Array, _Sums]] = []
    for column in range(len(BLOCKS) if (kinds.long | kinds.auto).any() else 1):
        sums = _walk_blocks(past, column, series, binomial)
        found.append((_of_blocks(sums, kinds), sums.of(0)))
        if column == 0:
            canary_ticks, canary_clumps = sums.of(1).pairs, _clumps(sums.of(1))
    ratio, of_ticks = found[0]
    if len(found) > 1:
        auto = kinds.auto if kinds.first_requests is None else kinds.auto & ~kinds.first_requests
        long = kinds.long | (auto & _lasting(of_ticks, found[1][1]))
        ratio = np.where(long, np.maximum.reduce([each for each, _ in found]), ratio)
    floor = 1.0 + (COLD_PHI - 1.0) * _COLD_EVENTS / (_COLD_EVENTS + of_ticks.expected)
    phi = np.clip(1.0 + _SLOPE * (ratio - 1.0), SMALLEST_PHI, LARGEST_PHI)
    phi = np.where(warming_up, np.maximum(phi, floor), phi)
    seen = past.control.ticks + control.seen.sum(axis=0)
    past = replace(past, control=replace(past.control, ticks=np.minimum(seen, float(WARM_TICKS))))
    return Outlook(shares[0], phi, warming_up, canary_ticks, canary_clumps, crowded[0], crowded[1]), past


def _ticks_before(history: History, series: CohortSteps) -> Array:
    return np.asarray(history.ticks + np.cumsum(series.seen, axis=0) - series.seen)


def _of_blocks(sums: _Sums, kinds: Kinds) -> Array:
    """D/M as the bounds need it, from blocks of one size."""
    control, canary, split = sums.of(0), sums.of(1), sums.of(2)
    ratio = _ratio(control, canary)
    comparable = ~kinds.binomial & (canary.expected <= control.expected)
    ratio = np.where(comparable, np.minimum(ratio, _drawn(split, ratio)), ratio)
    own = np.where(comparable, _late(split), _late(canary))
    return np.maximum(ratio, own)


def _lasting(ticks: _Sums, minutes: _Sums) -> Mask:
    """Whether control's events come in clumps that last minutes, from its single ticks and its blocks of ten."""
    ratio = minutes.quotient
    lasting: Mask = (ratio > _AUTO_RATIO) & (ratio > _AUTO_TIMES * ticks.quotient)
    lasting &= (minutes.pairs >= _AUTO_PAIRS) & (minutes.far >= _AUTO_FAR * minutes.pairs)
    lasting &= (ratio - 1.0) * minutes.pairs > _AUTO_WANDER**2 * minutes.expected
    return lasting


def _ratio(control: _Sums, canary: _Sums) -> Array:
    """D/M of control, topped up with the canary's if control has too few events."""
    larger = np.where(canary.expected > control.expected, canary.quotient, control.quotient)
    enough = ENOUGH_CLUMPS * np.maximum(larger, 1.0)
    missing = np.maximum(enough - control.expected, 0.0)
    weight = np.divide(missing, canary.expected, out=np.zeros_like(missing), where=canary.expected > 0)
    weight = np.minimum(weight, 1.0)
    squares, expected = control.squares + weight * canary.squares, control.expected + weight * canary.expected
    return np.divide(squares, expected, out=np.ones_like(squares), where=expected > 0)


def _drawn(sums: _Sums, towards: Array) -> Array:
    return (sums.squares + _DRAWN * towards) / (sums.expected + _DRAWN)


def _late(sums: _Sums) -> Array:
    return (sums.late_squares + OWN_DRAWN) / (sums.late_expected + OWN_DRAWN)


def _clumps(sums: _Sums) -> Array:
    """M over D/M: how many clumps the events come in, each clump being one event or more."""
    return np.asarray(sums.late_expected**2 / np.maximum(np.maximum(sums.late_squares, sums.late_expected), _NOTHING))


def _split(control: CohortSteps, canary: CohortSteps) -> CohortSteps:
    """The canary's events among both cohorts' events, at the ticks where both were seen."""
    both = control.seen & canary.seen
    events = np.where(both, canary.events, 0.0)
    whole = events + np.where(both, control.events, 0.0)
    return CohortSteps(events, whole, both & (whole > 0))


def _cleaned(series: CohortSteps) -> CohortSteps:
    with np.errstate(invalid="ignore"):
        seen = series.seen & (series.trials > _NOTHING)
        some = seen & (series.events > _NOTHING)
    return CohortSteps(np.where(some, series.events, 0.0), np.where(seen, series.trials, 0.0), seen)


def _stacked(series: list[CohortSteps]) -> CohortSteps:
    """Several series as one, (series, T, B): one walk serves all."""
    return CohortSteps(
        np.stack([each.events for each in series]),
        np.stack([each.trials for each in series]),
        np.stack([each.seen for each in series]),
    )


def _walk_totals(past: Past, series: CohortSteps) -> tuple[Array, Mask, Past]:
    """p_b* = (x + 1/2) / (n + 1) over the past, discounted 0.98 a tick: never 0 or 1, so never infinite evidence.

    For control and canary, (2, T, B); also which ticks hold too many events, and the past after them. A tick far
    larger than the past's mean counts with a smaller weight; a past far larger than the tick is scaled down.
    """
    sides = (past.control, past.canary)
    x, n, w = (np.stack([getattr(side, name) for side in sides]) for name in ("events", "trials", "weight"))
    before = np.empty((2, *series.events.shape))
    crowded = np.zeros(series.events.shape, dtype=np.bool_)
    for tick in range(series.events.shape[1]):
        before[0, :, tick], before[1, :, tick] = x, n
        events, trials, seen = series.events[:, tick], series.trials[:, tick], series.seen[:, tick]
        lowered = SHARE_DISCOUNT * _at_most(LEVEL * np.maximum(trials, _FEW_TRIALS) * w, n)
        taken = np.where(w > 0, _at_most(LEVEL * np.maximum(n, _FEW_TRIALS * w), trials * w), 1.0)
        x_after, n_after = x * lowered + events * taken, n * lowered + trials * taken
        crowded[:, tick] = seen & (x_after > EVENTS_PER_TRIAL * n_after + SPARE_EVENTS)
        moved = seen & ~crowded[:, tick]
        x, n = np.where(moved, x_after, x), np.where(moved, n_after, n)
        w = np.where(moved, w * SHARE_DISCOUNT + 1.0, w)
    share = (np.minimum(before[0], before[1]) + 0.5) / (before[1] + 1.0)
    control, canary = (replace(side, events=x[at], trials=n[at], weight=w[at]) for at, side in enumerate(sides))
    return share, crowded, replace(past, control=control, canary=canary)


def _at_most(most: Array, value: Array) -> Array:
    """The factor that brings ``value`` down to ``most``; 1 where it is no larger."""
    return np.minimum(np.divide(most, value, out=np.ones_like(value), where=value > 0), 1.0)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Before each tick: D, M, discounted numbers of (far) pairs, D and M `OWN_LAG` pairs ago; each (series, T, B)."""

    squares: Array
    expected: Array
    pairs: Array
    far: Array
    late_squares: Array
    late_expected: Array

    def of(self, series: int) -> _Sums:
        return _Sums(*(getattr(self, field.name)[series] for field in fields(self)))

    @property
    def quotient(self) -> Array:
        """D/M, 1 where nothing is expected yet."""
        return np.divide(self.squares, self.expected, out=np.ones_like(self.squares), where=self.expected > 0)


def _walk_blocks(past: Past, column: int, series: CohortSteps, binomial: Mask) -> _Sums:
    """D and M for one size of blocks, for control, canary and split together; ``past`` is updated to their end."""
    kept = {
        field.name: np.stack([getattr(getattr(past, side.name), field.name)[:, column] for side in fields(Past)])
        for field in fields(History)
        if getattr(past.control, field.name).ndim > 1
    }
    blocks = _gather(kept, BLOCKS[column], series)
    x, n, complete = blocks.events, blocks.trials, blocks.seen
    x_before, n_before = _block_before(kept, blocks)
    pair = complete & (n_before > 0)
    n, n_before = np.where(pair, n, 1.0), np.where(pair, n_before, 1.0)
    square = np.where(pair, (x * n_before - x_before * n) ** 2 / (2.0 * n * n_before), 0.0)
    pooled = np.minimum((x + x_before) / (n + n_before), 1.0)
    spread = np.where(binomial, np.maximum(1.0 - pooled, _SMALLEST_SPREAD), 1.0)
    expected = np.where(pair, 0.5 * (x + x_before) * spread, 0.0)
    sums = _walk_pairs(kept, pair, square, expected, DISPERSION_DISCOUNT ** BLOCKS[column])
    for at, side in enumerate(fields(Past)):
        for name, array in kept.items():
            getattr(getattr(past, side.name), name)[:, column] = array[at]
    return sums


def _walk_pairs(kept: dict[str, Array], pair: Mask, square: Array, expected: Array, discount: float) -> _Sums:
    """The recursion over pairs of blocks; ``kept`` (series, B) is updated to its end."""
    ceiling = _CAP * np.maximum(expected, 1.0)
    far = (square > _FAR * np.maximum(expected, 1.0)).astype(np.float64)
    d, m, w, f, late_d, late_m = (kept[field.name] for field in fields(_Sums))
    before = np.empty((len(fields(_Sums)), *square.shape))
    filled = 0
    for tick in np.flatnonzero(pair.any(axis=(0, 2))).tolist():
        before[:, :, filled : tick + 1] = np.stack([d, m, w, f, late_d[..., 0], late_m[..., 0]])[:, :, None]
        filled = tick + 1
        moved, new = pair[:, tick], expected[:, tick]
        late_d, late_m = (
            np.where(moved[..., None], np.concatenate([late[..., 1:], value[..., None]], axis=-1), late)
            for late, value in ((late_d, d), (late_m, m))
        )
        now = np.maximum(np.divide(d, m, out=np.ones_like(d), where=m > 0), 1.0)
        kept_part = np.where(moved, discount * _at_most(LEVEL * np.maximum(new, _FEW_EVENTS) * w, m), 1.0)
        taken = np.where(w > 0, _at_most(LEVEL * np.maximum(m, _FEW_EVENTS * w), new * w), 1.0)
        d = d * kept_part + np.minimum(square[:, tick], ceiling[:, tick] * now) * taken
        m = m * kept_part + new * taken
        # with m = 0 there has been no event yet, and D/M has no value
        d = np.where(m > 0, np.minimum(d, _LARGEST_RATIO * m), d)
        w = np.where(moved, w * discount + 1.0, w)
        f = np.where(moved, f * discount + far[:, tick], f)
    before[:, :, filled:] = np.stack([d, m, w, f, late_d[..., 0], late_m[..., 0]])[:, :, None]
    kept.update(zip((field.name for field in fields(_Sums)), (d, m, w, f, late_d, late_m), strict=True))
    return _Sums(*before)


def _copied(past: Past) -> Past:
    def part(history: History) -> History:
        return History(*(getattr(history, field.name).copy() for field in fields(History)))

    return Past(*(part(getattr(past, field.name)) for field in fields(Past)))


def _gather(kept: dict[str, Array], size: int, series: CohortSteps) -> CohortSteps:
    """Sums of each block at the tick that completes it; ``seen`` of the result marks those ticks."""
    if size == 1:
        return series
    x, n, filled = kept["block_events"], kept["block_trials"], kept["filled"]
    sums = np.empty((2, *series.events.shape))
    complete = np.zeros(series.events.shape, dtype=np.bool_)
    for tick in range(len(complete[0])):
        x, n, filled = x + series.events[:, tick], n + series.trials[:, tick], filled + series.seen[:, tick]
        done = filled >= size
        if done.any():
            sums[0, :, tick], sums[1, :, tick], complete[:, tick] = x, n, done
            x, n, filled = (np.where(done, 0.0, value) for value in (x, n, filled))
    kept.update(block_events=x, block_trials=n, filled=filled)
    return CohortSteps(np.where(complete, sums[0], 0.0), np.where(complete, sums[1], 0.0), complete)


def _block_before(kept: dict[str, Array], blocks: CohortSteps) -> tuple[Array, Array]:
    """Events and trials of the complete block before each tick, (series, T, B)."""
    ticks = blocks.seen.shape[1]
    rows = np.arange(ticks, dtype=np.intp)[:, None]
    newest = np.maximum.accumulate(np.where(blocks.seen, rows, -1), axis=1)
    # row t: the newest complete block at or before t - 1; the last row is for the tick after these
    none = np.full_like(kept["last_events"], -1, dtype=np.intp)[:, None]
    index = np.concatenate([none, newest], axis=1)

    def at(values: Array, carried: Array) -> Array:
        if not ticks:
            return carried[:, None]
        return np.where(index >= 0, np.take_along_axis(values, np.maximum(index, 0), axis=1), carried[:, None])

    events = at(blocks.events, kept["last_events"])
    trials = at(blocks.trials, kept["last_trials"])
    kept.update(last_events=events[:, -1], last_trials=trials[:, -1])
    return events[:, :-1], trials[:, :-1]
