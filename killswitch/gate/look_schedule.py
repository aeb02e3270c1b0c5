"""When a run of the gate looks at its numbers, and how much of the allowed error it spends at each look."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from killswitch.roles.bars import Bars

FIRST_LOOK = 50  # rows: fewer decide nothing that a person could not see
GROWTH = 3.0  # each look has this many times the error of the look before it
NUMBERS = 4  # any of them can speak against a candidate, so they share the error of doing so


@dataclass(frozen=True, slots=True)
class Look:
    """A look after ``rows`` rows, and the one-sided error of one number at it.

    ``for_it``: that a number at its bar is taken for good. ``against_it``: that a number at its bar is taken for bad.
    ``may_pass``: False where even a candidate without a failure could not be shown to be good.
    """

    rows: int
    for_it: float
    against_it: float
    may_pass: bool


def looks(rows: int) -> tuple[int, ...]:
    """After how many rows a run over ``rows`` rows looks: all of them, half of them, and so on down to FIRST_LOOK.

    Raises ValueError for no rows.
    """
    if rows < 1:
        raise ValueError(f"a golden set has at least one row, not {rows}")
    found = [rows]
    while (half := math.ceil(found[-1] / 2)) >= FIRST_LOOK:
        found.append(half)
    return tuple(reversed(found))


@lru_cache(maxsize=1024)
def schedule(rows: int, bars: Bars) -> tuple[Look, ...]:
    """The looks with their errors: each has GROWTH times the error of the one before, and together at most all of it.

    Errors of looks are added up, so they hold however the looks depend on each other (Bonferroni). A look at which the
    schema's bar cannot be shown, even without a failure, takes nothing from the error of passing.
    """
    sizes = looks(rows)
    against = _spent(bars.wrong / NUMBERS, len(sizes))
    first = 0
    while first < len(sizes) - 1 and bars.schema ** sizes[first] > _spent(bars.wrong, len(sizes) - first)[0]:
        first += 1
    passing = _spent(bars.wrong, len(sizes) - first)
    return tuple(
        Look(size, passing[max(at - first, 0)], against[at], may_pass=at >= first) for at, size in enumerate(sizes)
    )


def _spent(error: float, count: int) -> list[float]:
    weights = [GROWTH**at for at in range(count)]
    return [error * weight / sum(weights) for weight in weights]
