"""What control's past says: its share p_b*, and by how much its counts vary more than chance.

Errors come in clumps (retries, one broken tenant), and then an e-variable made for independent trials
overstates. Dividing its logarithm by a dispersion phi >= 1.05 keeps it an e-variable for independent
trials (Jensen) and makes it a measured approximation, not a theorem, for clumps.

phi looks at *control* only, and only at ticks before the one it is used in::

    D/M  = discounted sum of squared differences / the same expected of independent trials
    phi  = clip(1 + 1.5 (D/M - 1), 1.05, 30)

With x events of n trials in one block of ticks and x', n' in the block before, a block adds
``(x n' - x' n)^2 / (2 n n')`` to D and ``(x + x') / 2`` to M, times 1 - pooled share where the bound's
own formula has the binomial's variance. A term of D is capped at 9 max(D/M, 1) max(its expectation, 1):
without the cap one incident common to both cohorts would blind the rule for an hour.

Blocks are single ticks. `bursts: long` adds blocks of 10 and 60 ticks and takes the largest phi: it sees
what lasts minutes, at a price in delay.
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
# Until 120 ticks of control have been seen phi is at least this (docs/statistics.md, "Cold start").
COLD_PHI = 12.0
_SLOPE = 1.5
_CAP = 9.0
_SMALLEST_SPREAD = 0.02


@dataclass(frozen=True, slots=True)
class Past:
    """Control's past, as far as evidence needs it; arrays of (B,) or (B, blocks).

    ``ticks`` counts the ticks of control seen, at most `WARM_TICKS` of which matter.
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
class Outlook:
    """What was known before each tick, each (T, B): the share p_b*, phi, and whether the past was too short."""

    share: Array
    phi: Array
    warming_up: Mask


@dataclass(frozen=True, slots=True)
class Series:
    """Control's counts of T ticks, (T, B). ``seen`` marks those that are data; the others change nothing."""

    events: Array
    trials: Array
    seen: Mask


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which bounds (B,) scale with the binomial's 1 - share, and which judge long bursts too."""

    binomial: Mask
    long: Mask


def empty_past(bounds: int) -> Past:
    flat, blocks = (bounds,), (bounds, len(BLOCKS))
    return Past(*(np.zeros(flat) for _ in range(3)), *(np.zeros(blocks) for _ in range(7)))


def select(past: Past, rows: npt.NDArray[np.intp]) -> Past:
    return Past(*(getattr(past, field.name)[rows] for field in fields(Past)))


def concatenate(pasts: list[Past]) -> Past:
    return Past(*(np.concatenate([getattr(past, field.name) for past in pasts]) for field in fields(Past)))


def look_ahead(past: Past, series: Series, kinds: Kinds) -> tuple[Outlook, Past]:
    """Walk over T ticks of control: what was known before each, and the past afterwards."""
    seen = series.seen & (series.trials > 0)
    series = Series(
        np.where(seen, np.maximum(series.events, 0.0), 0.0),
        np.where(seen, series.trials, 0.0),
        seen,
    )
    share, past = _walk_share(past, series)
    ticks_before = past.ticks + np.cumsum(seen, axis=0) - seen
    past = replace(past, ticks=np.minimum(past.ticks + seen.sum(axis=0), float(WARM_TICKS)))
    phi, past = _walk_blocks(past, 0, series, kinds.binomial)
    if kinds.long.any():
        for column in range(1, len(BLOCKS)):
            block_phi, past = _walk_blocks(past, column, series, kinds.binomial)
            phi = np.where(kinds.long, np.maximum(phi, block_phi), phi)
    warming_up = ticks_before < WARM_TICKS
    phi = np.where(warming_up, np.maximum(phi, COLD_PHI), phi)
    return Outlook(share, phi, warming_up), past


def _walk_share(past: Past, series: Series) -> tuple[Array, Past]:
    """p_b* = (x + 1/2) / (n + 1) over the past, discounted 0.98 a tick: never 0 or 1, so never infinite evidence."""
    x, n = past.events, past.trials
    before = np.empty((2, *series.events.shape))
    discount = np.where(series.seen, SHARE_DISCOUNT, 1.0)
    for tick in range(len(series.events)):
        before[0, tick], before[1, tick] = x, n
        x = x * discount[tick] + series.events[tick]
        n = n * discount[tick] + series.trials[tick]
    share = (np.minimum(before[0], before[1]) + 0.5) / (before[1] + 1.0)
    return share, replace(past, events=x, trials=n)


def _walk_blocks(past: Past, column: int, series: Series, binomial: Mask) -> tuple[Array, Past]:
    """What phi was before each tick for one size of blocks, (T, B)."""
    blocks, past = _gather(past, column, series)
    x, n, complete = blocks.events, blocks.trials, blocks.seen
    x_before, n_before, past = _block_before(past, column, blocks)
    pair = complete & (n_before > 0)
    n, n_before = np.where(pair, n, 1.0), np.where(pair, n_before, 1.0)
    square = np.where(pair, (x * n_before - x_before * n) ** 2 / (2.0 * n * n_before), 0.0)
    pooled = np.minimum((x + x_before) / (n + n_before), 1.0)
    spread = np.where(binomial, np.maximum(1.0 - pooled, _SMALLEST_SPREAD), 1.0)
    expected = np.where(pair, 0.5 * (x + x_before) * spread, 0.0)
    ceiling = _CAP * np.maximum(expected, 1.0)
    discount = np.where(pair, DISPERSION_DISCOUNT ** BLOCKS[column], 1.0)
    d, m = past.squares[:, column], past.expected[:, column]
    ratio = np.empty(x.shape)
    for tick in range(len(x)):
        ratio[tick] = now = np.divide(d, m, out=np.ones_like(d), where=m > 0)
        d = d * discount[tick] + np.minimum(square[tick], ceiling[tick] * np.maximum(now, 1.0))
        m = m * discount[tick] + expected[tick]
    phi = np.clip(1.0 + _SLOPE * (ratio - 1.0), SMALLEST_PHI, LARGEST_PHI)
    return phi, _with_columns(past, column, squares=d, expected=m)


def _with_columns(past: Past, column: int, **values: Array) -> Past:
    changed = {}
    for name, of_blocks in values.items():
        changed[name] = getattr(past, name).copy()
        changed[name][:, column] = of_blocks
    return replace(past, **changed)


def _gather(past: Past, column: int, series: Series) -> tuple[Series, Past]:
    """Sums of each block at the tick that completes it; ``seen`` of the result marks those ticks."""
    if BLOCKS[column] == 1:
        return series, past
    x, n, filled = past.block_events[:, column], past.block_trials[:, column], past.filled[:, column]
    sums = np.empty((2, *series.events.shape))
    complete = np.zeros(series.events.shape, dtype=np.bool_)
    for tick in range(len(complete)):
        x, n, filled = x + series.events[tick], n + series.trials[tick], filled + series.seen[tick]
        sums[0, tick], sums[1, tick] = x, n
        complete[tick] = done = filled >= BLOCKS[column]
        x, n, filled = (np.where(done, 0.0, value) for value in (x, n, filled))
    past = _with_columns(past, column, block_events=x, block_trials=n, filled=filled)
    return Series(sums[0], sums[1], complete), past


def _block_before(past: Past, column: int, blocks: Series) -> tuple[Array, Array, Past]:
    """Events and trials of the complete block before each tick, (T, B)."""
    ticks = np.arange(len(blocks.seen), dtype=np.intp)[:, None]
    newest = np.maximum.accumulate(np.where(blocks.seen, ticks, -1), axis=0)
    # row t: the newest complete block at or before t - 1; one row more than there are ticks
    index = np.concatenate([np.full((1, past.size), -1, dtype=np.intp), newest])

    def at(values: Array, carried: Array) -> Array:
        if not len(values):
            return carried[None]
        return np.where(index >= 0, np.take_along_axis(values, np.maximum(index, 0), axis=0), carried)

    events = at(blocks.events, past.last_events[:, column])
    trials = at(blocks.trials, past.last_trials[:, column])
    past = _with_columns(past, column, last_events=events[-1], last_trials=trials[-1])
    return events[:-1], trials[:-1], past
