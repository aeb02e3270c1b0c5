"""What control's past says: its share p_b*, and by how much its counts vary more than chance.

Errors come in clumps (retries, one broken tenant), and then an e-variable made for independent trials
overstates. Dividing its logarithm by a dispersion phi >= 1.05 keeps it an e-variable for independent
trials (Jensen) and makes it a measured approximation, not a theorem, for clumps.

phi looks at *control*, and only at ticks before the one it is used in::

    D/M  = discounted sum of squared differences / the same expected of independent trials
    phi  = clip(1 + 1.5 (D/M - 1), 1.05, 30)

With x events of n trials in one block of ticks and x', n' in the block before, a block adds
``(x n' - x' n)^2 / (2 n n')`` to D and ``(x + x') / 2`` to M, times 1 - pooled share where the bound's
own formula has the binomial's variance. A term of D is capped at 9 max(D/M, 1) max(its expectation, 1):
without the cap one incident common to both cohorts would blind the rule for an hour.

Blocks are single ticks. `bursts: long` adds blocks of 10 and 60 ticks and takes the largest phi: it sees
what lasts minutes, at a price in delay.

A small control (a 99 % canary, or little traffic) has too few events to know its dispersion from. Where M
is under 50 clumps (events over D/M of the cohort with more of them) the canary's own past makes up the
difference: still only ticks before this one, and differences from tick to tick hardly notice a step.

What moves rates (a jittering service) shows as D/M - 1 in proportion to a cohort's events. Where a canary at
its limit has more of them than control, control's D/M understates: for bounds with a shift it grows by that
proportion, up to the D/M the canary's own past shows. Neither alone would do: clumps do not grow with events,
and a canary that jitters on its own account must not earn doubt by it.

Bounds of the form ``p_c <= r p_b`` hold however both rates move together, so what moves both cohorts
alike (a jittering service) is no reason for doubt there, though control's counts cannot tell it from
clumps. How events *split* between the cohorts can: the same D/M of the canary's events among both
cohorts' events, drawn towards control's D/M with the weight of 50 events. These bounds use the smaller
of the two, where control has more events than the canary: a small control shows too few clumps to be
split. For bounds with a shift a smaller phi would not be valid.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from killswitch.evidence.evariables import Array

Mask = npt.NDArray[np.bool_]

SHARE_DISCOUNT = 0.98
DISPERSION_DISCOUNT = 0.995
BLOCKS = (1, 10, 60)
SMALLEST_PHI = 1.05
LARGEST_PHI = 30.0
WARM_TICKS = 120
# Until 120 ticks of control have been seen phi is at least 1 + (this - 1) * 300 / (300 + M), M being the
# events expected so far: found by simulation (docs/statistics.md, "Cold start").
COLD_PHI = 12.0
_COLD_EVENTS = 300.0
_SLOPE = 1.5
# Below it a count is rounding; the square of a smaller one vanishes, and nothing over nothing spoils the past for good.
_NOTHING = 1e-9
_CAP = 9.0
_SMALLEST_SPREAD = 0.02
# So many clumps of events tell a dispersion; below them control's is topped up with the canary's.
ENOUGH_CLUMPS = 50.0
# The weight, in events, with which a split's dispersion is drawn towards control's.
_DRAWN = 50.0


@dataclass(frozen=True, slots=True)
class History:
    """The past of one series (a cohort's, or the split's), as far as evidence needs it; arrays of (B,) or (B, blocks).

    ``ticks`` counts the ticks seen, at most `WARM_TICKS` of which matter.
    """

    events: Array
    trials: Array
    ticks: Array
    block_events: Array
    block_trials: Array
    filled: Array
    last_events: Array
    last_trials: Array
    squares: Array
    expected: Array

    @property
    def size(self) -> int:
        return self.events.size


@dataclass(frozen=True, slots=True)
class Past:
    """Both cohorts' histories, and that of how events split between them; one row a bound."""

    control: History
    canary: History
    split: History

    @property
    def size(self) -> int:
        return self.control.size


@dataclass(frozen=True, slots=True)
class Outlook:
    """What was known before each tick, each (T, B): the share p_b*, phi, and whether the past was too short."""

    share: Array
    phi: Array
    warming_up: Mask


@dataclass(frozen=True, slots=True)
class Series:
    """One cohort's counts of T ticks, (T, B). ``seen`` marks those that are data; the others change nothing."""

    events: Array
    trials: Array
    seen: Mask


@dataclass(frozen=True, slots=True)
class Kinds:
    """What phi must know of the bounds, each (B,): ``p_c <= ratio p_b + shift``, and which judge long bursts too."""

    ratio: Array
    shift: Array
    long: Mask

    @property
    def binomial(self) -> Mask:
        """Which scale with the binomial's 1 - share."""
        shifted: Mask = self.shift > 0
        return shifted


def empty_past(bounds: int) -> Past:
    return Past(*(_empty(bounds) for _ in fields(Past)))


def _empty(bounds: int) -> History:
    flat, blocks = (bounds,), (bounds, len(BLOCKS))
    return History(*(np.zeros(flat) for _ in range(3)), *(np.zeros(blocks) for _ in range(7)))


def select(past: Past, rows: npt.NDArray[np.intp]) -> Past:
    def part(history: History) -> History:
        return History(*(getattr(history, field.name)[rows] for field in fields(History)))

    return Past(*(part(getattr(past, field.name)) for field in fields(Past)))


def concatenate(pasts: list[Past]) -> Past:
    def whole(histories: list[History]) -> History:
        return History(*(np.concatenate([getattr(h, field.name) for h in histories]) for field in fields(History)))

    return Past(*(whole([getattr(past, field.name) for past in pasts]) for field in fields(Past)))


def look_ahead(past: Past, control: Series, canary: Series, kinds: Kinds) -> tuple[Outlook, Past]:
    """Walk over T ticks of both cohorts: what was known before each, and the past afterwards."""
    control, canary = _cleaned(control), _cleaned(canary)
    split = _split(control, canary)
    ticks_before = past.control.ticks + np.cumsum(control.seen, axis=0) - control.seen
    share, of_control = _walk_share(past.control, control)
    of_canary, of_split = past.canary, past.split
    always = np.ones(kinds.binomial.shape, dtype=np.bool_)
    busier = _busier(kinds, share, control, canary)
    ratio = floor = np.zeros(share.shape)
    for column in range(len(BLOCKS) if kinds.long.any() else 1):
        own, of_control = _walk_blocks(of_control, column, control, kinds.binomial)
        borrowed, of_canary = _walk_blocks(of_canary, column, canary, kinds.binomial)
        parted, of_split = _walk_blocks(of_split, column, split, always)
        of_blocks = _ratio(own, borrowed)
        comparable = ~kinds.binomial & (borrowed.expected <= own.expected)
        of_blocks = np.where(comparable, np.minimum(of_blocks, _shrunk(parted, of_blocks)), of_blocks)
        jittering = np.minimum(borrowed.quotient, 1.0 + (of_blocks - 1.0) * busier)
        of_blocks = np.where(kinds.binomial, np.maximum(of_blocks, jittering), of_blocks)
        ratio = np.where(kinds.long | (column == 0), np.maximum(ratio, of_blocks), ratio)
        if column == 0:
            floor = 1.0 + (COLD_PHI - 1.0) * _COLD_EVENTS / (_COLD_EVENTS + own.expected)
    warming_up = ticks_before < WARM_TICKS
    phi = np.clip(1.0 + _SLOPE * (ratio - 1.0), SMALLEST_PHI, LARGEST_PHI)
    phi = np.where(warming_up, np.maximum(phi, floor), phi)
    return Outlook(share, phi, warming_up), Past(of_control, of_canary, of_split)


def _busier(kinds: Kinds, share: Array, control: Series, canary: Series) -> Array:
    """How many times control's events a canary at its limit has, at least 1."""
    theirs = control.trials * share
    at_the_limit = canary.trials * np.minimum(kinds.ratio * share + kinds.shift, 1.0)
    times = np.divide(at_the_limit, theirs, out=np.ones_like(theirs), where=theirs > 0)
    return np.maximum(times, 1.0)


def _ratio(control: _Sums, canary: _Sums) -> Array:
    """D/M of control, topped up with the canary's where control has too few events."""
    larger = np.where(canary.expected > control.expected, canary.quotient, control.quotient)
    enough = ENOUGH_CLUMPS * np.maximum(larger, 1.0)
    missing = np.maximum(enough - control.expected, 0.0)
    weight = np.divide(missing, canary.expected, out=np.zeros_like(missing), where=canary.expected > 0)
    weight = np.minimum(weight, 1.0)
    return _Sums(control.squares + weight * canary.squares, control.expected + weight * canary.expected).quotient


def _shrunk(sums: _Sums, towards: Array) -> Array:
    return (sums.squares + _DRAWN * towards) / (sums.expected + _DRAWN)


def _split(control: Series, canary: Series) -> Series:
    """The canary's events among both cohorts' events, at the ticks both were seen."""
    both = control.seen & canary.seen
    events = np.where(both, canary.events, 0.0)
    whole = events + np.where(both, control.events, 0.0)
    return Series(events, whole, both & (whole > 0))


def _cleaned(series: Series) -> Series:
    with np.errstate(invalid="ignore"):
        seen = series.seen & (series.trials > _NOTHING)
        some = seen & (series.events > _NOTHING)
    return Series(np.where(some, series.events, 0.0), np.where(seen, series.trials, 0.0), seen)


def _walk_share(history: History, series: Series) -> tuple[Array, History]:
    """p_b* = (x + 1/2) / (n + 1) over the past, discounted 0.98 a tick: never 0 or 1, so never infinite evidence."""
    x, n = history.events, history.trials
    before = np.empty((2, *series.events.shape))
    discount = np.where(series.seen, SHARE_DISCOUNT, 1.0)
    for tick in range(len(series.events)):
        before[0, tick], before[1, tick] = x, n
        x = x * discount[tick] + series.events[tick]
        n = n * discount[tick] + series.trials[tick]
    share = (np.minimum(before[0], before[1]) + 0.5) / (before[1] + 1.0)
    ticks = np.minimum(history.ticks + series.seen.sum(axis=0), float(WARM_TICKS))
    return share, replace(history, events=x, trials=n, ticks=ticks)


@dataclass(frozen=True, slots=True)
class _Sums:
    """D and M before each tick, each (T, B)."""

    squares: Array
    expected: Array

    @property
    def quotient(self) -> Array:
        """D/M, 1 where nothing is expected yet."""
        return np.divide(self.squares, self.expected, out=np.ones_like(self.squares), where=self.expected > 0)


def _walk_blocks(history: History, column: int, series: Series, binomial: Mask) -> tuple[_Sums, History]:
    """D and M for one size of blocks."""
    blocks, history = _gather(history, column, series)
    x, n, complete = blocks.events, blocks.trials, blocks.seen
    x_before, n_before, history = _block_before(history, column, blocks)
    pair = complete & (n_before > 0)
    n, n_before = np.where(pair, n, 1.0), np.where(pair, n_before, 1.0)
    square = np.where(pair, (x * n_before - x_before * n) ** 2 / (2.0 * n * n_before), 0.0)
    pooled = np.minimum((x + x_before) / (n + n_before), 1.0)
    spread = np.where(binomial, np.maximum(1.0 - pooled, _SMALLEST_SPREAD), 1.0)
    expected = np.where(pair, 0.5 * (x + x_before) * spread, 0.0)
    ceiling = _CAP * np.maximum(expected, 1.0)
    discount = np.where(pair, DISPERSION_DISCOUNT ** BLOCKS[column], 1.0)
    d, m = history.squares[:, column], history.expected[:, column]
    before = np.empty((2, *x.shape))
    for tick in range(len(x)):
        before[0, tick], before[1, tick] = d, m
        now = np.divide(d, m, out=np.ones_like(d), where=m > 0)
        d = d * discount[tick] + np.minimum(square[tick], ceiling[tick] * np.maximum(now, 1.0))
        m = m * discount[tick] + expected[tick]
    return _Sums(before[0], before[1]), _with_columns(history, column, squares=d, expected=m)


def _with_columns(history: History, column: int, **values: Array) -> History:
    changed = {}
    for name, of_blocks in values.items():
        changed[name] = getattr(history, name).copy()
        changed[name][:, column] = of_blocks
    return replace(history, **changed)


def _gather(history: History, column: int, series: Series) -> tuple[Series, History]:
    """Sums of each block at the tick that completes it; ``seen`` of the result marks those ticks."""
    if BLOCKS[column] == 1:
        return series, history
    x, n, filled = history.block_events[:, column], history.block_trials[:, column], history.filled[:, column]
    sums = np.empty((2, *series.events.shape))
    complete = np.zeros(series.events.shape, dtype=np.bool_)
    for tick in range(len(complete)):
        x, n, filled = x + series.events[tick], n + series.trials[tick], filled + series.seen[tick]
        sums[0, tick], sums[1, tick] = x, n
        complete[tick] = done = filled >= BLOCKS[column]
        x, n, filled = (np.where(done, 0.0, value) for value in (x, n, filled))
    history = _with_columns(history, column, block_events=x, block_trials=n, filled=filled)
    return Series(sums[0], sums[1], complete), history


def _block_before(history: History, column: int, blocks: Series) -> tuple[Array, Array, History]:
    """Events and trials of the complete block before each tick, (T, B)."""
    ticks = np.arange(len(blocks.seen), dtype=np.intp)[:, None]
    newest = np.maximum.accumulate(np.where(blocks.seen, ticks, -1), axis=0)
    # row t: the newest complete block at or before t - 1; one row more than there are ticks
    index = np.concatenate([np.full((1, history.size), -1, dtype=np.intp), newest])

    def at(values: Array, carried: Array) -> Array:
        if not len(values):
            return carried[None]
        return np.where(index >= 0, np.take_along_axis(values, np.maximum(index, 0), axis=0), carried)

    events = at(blocks.events, history.last_events[:, column])
    trials = at(blocks.trials, history.last_trials[:, column])
    history = _with_columns(history, column, last_events=events[-1], last_trials=trials[-1])
    return events[:-1], trials[:-1], history
