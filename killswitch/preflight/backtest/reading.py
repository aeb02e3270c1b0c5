"""History read block by block, or an error: half a history proves nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Unavailable
from killswitch.model import Readings, Reason, Unreadable, Want
from killswitch.preflight.backtest.results import Terms
from killswitch.sources import Source
from killswitch.timestamps import DAY
from killswitch.verdicts.catch_up import PASSING, last_step

BLOCK_SECONDS = DAY
# readings held at once: one block of all rollouts that are read together
_MOST_READINGS = 400_000
_FEWEST_TICKS = 120
# the whole source failed, not one query
_LOST = frozenset({Reason.SOURCE_DOWN, Reason.SOURCE_TIMEOUT})


def blocks(after: float, until: float, spacing: float, wants: int) -> Iterator[tuple[float, list[float]]]:
    """The ticks in (after, until], multiples of ``spacing``, block by block, each with the share done after it."""
    first = math.floor(after / spacing + 1e-9) + 1
    last = round(last_step(until, spacing) / spacing)
    size = max(_FEWEST_TICKS, min(round(BLOCK_SECONDS / spacing), _MOST_READINGS // max(wants, 1)))
    for start in range(first, last + 1, size):
        end = min(start + size, last + 1)
        yield (end - first) / (last + 1 - first), [number * spacing for number in range(start, end)]


def read(source: Source, wants: Sequence[Want], ticks: Sequence[float], terms: Terms) -> Mapping[float, Readings]:
    """The readings of these ticks. Raises Unavailable or AccessDenied if the source itself failed."""
    readings = source.read_back(wants, ticks, Deadline(terms.patience))
    for tick in (ticks[0], ticks[-1]):
        sides = [side for reading in readings[tick].values() for side in (reading.canary, reading.control)]
        failed = [side for side in sides if isinstance(side, Unreadable) and side.reason in PASSING]
        lost = [side for side in failed if side.reason in _LOST]
        if lost or (failed and len(failed) == len(sides)):
            problem = (lost or failed)[0]
            kind = AccessDenied if problem.reason is Reason.SOURCE_REFUSED else Unavailable
            raise kind(f"the metric store gave no answer ({problem.reason}): {problem.detail}")
    return readings


def read_steps(source: Source, wants: Sequence[Want], terms: Terms) -> list[Readings]:
    """Every evidence step of the span, in order. Raises as `read`."""
    if not wants:
        return []
    return [
        readings
        for _, ticks in blocks(terms.since, terms.until, terms.step, len(wants))
        for readings in read(source, wants, ticks, terms).values()
    ]
