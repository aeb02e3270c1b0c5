"""Counters that are quiet: no series of theirs fell, is new or has gone. What they counted is cheap to ask.

`Shape.STEP` looks at every series four times, which is nearly all that a cycle costs the metric store. `Shape.GROWN`
looks twice:

- every series with a sample in this step and in the one before adds its growth, and `EACH`;
- every series within reach of `Shape.STEP` adds one to what is expected, and makes it infinite if it fell there.

Growth is whole and `EACH` a fraction, so the first sum holds the number of its series, too. Where that is the number
expected, no series fell, is new or has gone: the growth is what `Shape.STEP` would have answered. Anything else is
asked again, by `Shape.STEP`.

The number proves itself. It rests on nothing that was read at an earlier tick: samples may come late, and another
replica of the metric store may have others. Earlier ticks only tell which counters are worth the cheap question.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from killswitch.model import Buckets, Unreadable
from killswitch.sources.asks import Ask, Shape, Sum
from killswitch.sources.columns import Column

EACH: Final = 2.0**-20
"""What each series adds to `Shape.GROWN`: a million series add less than one event."""

MOST: Final = 2.0**32
"""Growth from here on is left to `Shape.STEP`: beyond twice as much, adding `EACH` changes nothing."""

PROBE: Final = "idelta(vector(1)[1ms:1s]) or vector(2)"
"""2 where `idelta` needs two samples. VictoriaMetrics takes a missing one for zero: it would count what is new."""


def grown(value: float) -> float | None:
    """What was counted, out of an answer from which the series expected are subtracted; None where they differ.

    Counters with fractions are left to `Shape.STEP`: a fraction could be taken for a series.
    """
    return value if 0 <= value < MOST and value.is_integer() else None


def grown_by_edge(sums: Mapping[float, float], expected: float) -> dict[float, float] | None:
    """What each bucket counted; None where not all series that are ``expected`` are in the sums."""
    if not all(0 <= value < MOST for value in sums.values()):
        return None
    growth = {edge: float(math.floor(value)) for edge, value in sums.items()}
    numbers = math.fsum(sums[edge] - growth[edge] for edge in sums)
    return growth if sums and numbers == expected * EACH else None


def is_step(ask: Ask) -> bool:
    """Whether it asks what one step counted: only of these can a counter be quiet."""
    return isinstance(ask, Sum) and ask.shape is Shape.STEP and not ask.native


class Quiet:
    """Keeps which counters are worth the cheap question: those that were quiet a step ago. Thread-safe.

    A series that has gone spoils it for as long as `Shape.STEP` reaches back, and fractions spoil it for good: after an
    answer that was no number the counter is left alone for ``pause`` seconds.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._lock = threading.Lock()
        self._until: dict[Ask, float] = {}
        self._spoilt: dict[Ask, float] = {}

    def known(self, asks: Iterable[Ask], tick: float) -> frozenset[Ask]:
        """Those that were quiet up to the beginning of the step that ends at ``tick``."""
        with self._lock:
            until = self._until
            return frozenset(
                ask for ask in asks if ask in until and _begins_at(until[ask], tick, ask) and not self._waits(ask, tick)
            )

    def _waits(self, ask: Ask, tick: float) -> bool:
        return 0 <= tick - self._spoilt.get(ask, -math.inf) < self._pause

    def keep(self, columns: Mapping[Ask, Column], tick: float, spoilt: AbstractSet[Ask] = frozenset()) -> None:
        """What was found at ``tick``: a number that no series spoils shows a quiet step.

        ``spoilt``: those whose cheap answer was no number.
        """
        quiet = {ask for ask, column in columns.items() if is_step(ask) and _is_quiet(column)}
        with self._lock:
            kept = {ask: at for ask, at in self._until.items() if ask not in columns and _may_serve(at, tick, ask)}
            self._until = kept | dict.fromkeys(quiet, tick)
            waiting = {ask: at for ask, at in self._spoilt.items() if self._waits(ask, tick)}
            self._spoilt = waiting | dict.fromkeys(spoilt & quiet, tick)


def _begins_at(until: float, tick: float, ask: Ask) -> bool:
    """Whether the step that ends at ``tick`` begins at ``until``, and is one of the grid a subquery looks at."""
    if not isinstance(ask, Sum):
        return False
    step = round(ask.seconds * 1000)
    return round(tick * 1000) - round(until * 1000) == step and round(tick * 1000) % step == 0


def _may_serve(until: float, tick: float, ask: Ask) -> bool:
    """Whether another call at ``tick``, or the next step, can begin where this one is known to be quiet."""
    return until == tick or _begins_at(until, tick, ask)


def _is_quiet(column: Column) -> bool:
    point = column if isinstance(column, Unreadable) else column[0]
    if isinstance(point, Buckets):
        return math.isfinite(sum(point.counts))
    return isinstance(point, float) and math.isfinite(point)
