"""Finds a canary's ramp in its traffic, where the flag's history was not kept.

It looks for changes of the odds by a factor of two or more that last for minutes, since only those matter
to a replay. Uneven users, bursts and gaps move the share by less. All requests count, failed ones too.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from killswitch.verdicts.evidence.evariables import Array

# how many steps before and after a change are compared, and the fewest at a history's ends
SIDE = 10
_FEWEST = 2
_FEWEST_REQUESTS = 10.0
_MUCH = 20.0
_FACTOR = 2.0
# standard errors; requests are taken to be three times as uneven as independent ones
_CERTAIN = 5.0
_UNEVEN = 3.0


@dataclass(frozen=True, slots=True)
class Stage:
    """From ``at`` (Unix seconds) on, ``percent`` of the requests were the canary's."""

    at: float
    percent: float


def ramp_of(ticks: Array, canary: Array, control: Array, *, begins: float, step: float) -> tuple[Stage, ...]:
    """The stages of a history, the first from ``begins`` on. Empty without a request.

    ``canary`` and ``control`` (T,) are requests in the ``step`` seconds up to each of ``ticks`` (T,), NaN
    where they are not known. A change is dated to the start of the last step before it.
    """
    known = np.isfinite(canary) & np.isfinite(control) & (canary + control > 0)
    ticks, canary, control = ticks[known], canary[known], control[known]
    known = ~(_gone(canary) | _gone(control))
    ticks, canary, control = ticks[known], _calmed(canary[known]), _calmed(control[known])
    if not len(ticks):
        return ()
    bounds = [0, *_changes(canary, control), len(ticks)]
    percents = [
        100.0 * canary[first:last].sum() / (canary[first:last].sum() + control[first:last].sum())
        for first, last in itertools.pairwise(bounds)
    ]
    dates = [begins, *(max(float(ticks[at - 1]) - step, begins) for at in bounds[1:-1])]
    return tuple(Stage(at, float(percent)) for at, percent in zip(dates, percents, strict=True))


def _gone(requests: Array) -> npt.NDArray[np.bool_]:
    """Where a cohort has no requests next to steps with many: it vanished, which is not a stage."""
    gone = np.zeros(len(requests), dtype=np.bool_)
    some = np.flatnonzero(requests > 0)
    for first, last in itertools.pairwise([-1, *some.tolist(), len(requests)]):
        neighbours = [requests[at] for at in (first, last) if 0 <= at < len(requests)]
        gone[first + 1 : last] = max(neighbours, default=0.0) > _MUCH
    return gone


def _calmed(requests: Array) -> Array:
    """Requests with single peaks cut off: a counter that dips once counts its whole life again."""
    if not len(requests):
        return requests
    around = np.lib.stride_tricks.sliding_window_view(np.pad(requests, 2, mode="edge"), 5)
    return np.minimum(requests, 3.0 * np.median(around, axis=1) + _MUCH)


def _changes(canary: Array, control: Array) -> list[int]:
    """Before which steps the share changed, ascending. Of changes close together, the clearest alone."""
    size = len(canary)
    at = np.arange(_FEWEST, size - _FEWEST + 1)
    if not len(at):
        return []
    first, last = np.maximum(at - SIDE, 0), np.minimum(at + SIDE, size)
    sums = [np.concatenate([[0.0], np.cumsum(side)]) for side in (canary, control)]
    before = [side[at] - side[first] for side in sums]
    after = [side[last] - side[at] for side in sums]
    all_four = np.maximum(np.stack([*before, *after]), 0.5)
    moved = np.abs(np.log(all_four[2] / all_four[3]) - np.log(all_four[0] / all_four[1]))
    errors = moved / np.sqrt(_UNEVEN * (1.0 / all_four).sum(axis=0))
    clear = (moved >= np.log(_FACTOR)) & (errors >= _CERTAIN) & (all_four.min(axis=0) >= _FEWEST_REQUESTS)
    errors = np.where(clear, errors, 0.0)
    found: list[int] = []
    while errors.max(initial=0.0) > 0:
        best = int(np.argmax(errors))
        found.append(int(at[best]))
        # this close, both windows may hold part of the same change
        errors[max(best - SIDE - 1, 0) : best + SIDE + 2] = 0.0
    return sorted(found)
