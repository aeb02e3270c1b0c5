"""Counters that are quiet: no series of theirs fell, is new or has gone. What they counted is cheap to ask.

`Shape.STEP` looks at every series four times, which is nearly all that a cycle costs the metric store. It must, since
a counter may have fallen, or been away, at any time within reach of the step. Where it was asked a step ago, and had
nothing to mark, only the newest step can hold anything new, and `Shape.GROWN` looks twice:

- every series with a sample in this step and in the one before adds its growth, and `EACH`;
- every series with a sample in either of them adds one, and one for each time it fell, to what is expected.

Growth is less than `EACH`, so the first sum holds the number of its series, too. Where that is the number expected, no
series fell, is new or has gone: the growth is what `Shape.STEP` would have answered. Anything else is asked again, by
`Shape.STEP`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from typing import Final

from killswitch.model import Buckets, Unreadable
from killswitch.sources.asks import Ask, Free, Shape
from killswitch.sources.columns import Column

EACH: Final = 2**28
"""What each series adds to `Shape.GROWN`: more than a cohort counts in a step. Sums of a million series are exact."""

PROBE: Final = "idelta(vector(1)[1ms:1s]) or vector(2)"
"""2 where `idelta` needs two samples. VictoriaMetrics takes a missing one for zero: it would count what is new."""


def grown(value: float) -> float | None:
    """What was counted, out of an answer from which the series expected are subtracted; None where they differ.

    Counters with fractions are left to `Shape.STEP`: added to `EACH` they lose digits.
    """
    return value if 0 <= value < EACH and value.is_integer() else None


def grown_by_edge(sums: Mapping[float, float], expected: float) -> dict[float, float] | None:
    """What each bucket counted; None where not all series that are ``expected`` are in the sums."""
    if not all(value >= 0 and value.is_integer() for value in sums.values()):
        return None
    parts = {edge: divmod(value, EACH) for edge, value in sums.items()}
    if not parts or math.fsum(number for number, _ in parts.values()) != expected:
        return None
    return {edge: growth for edge, (_, growth) in parts.items()}


def is_step(ask: Ask) -> bool:
    """Whether it asks what one step counted: only of these can a counter be quiet."""
    return not isinstance(ask, Free) and ask.shape is Shape.STEP


class Quiet:
    """Keeps at which step each counter was last known to be quiet. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[Ask, float] = {}

    def known(self, asks: Iterable[Ask], tick: float) -> frozenset[Ask]:
        """Those that were quiet up to the beginning of the step that ends at ``tick``."""
        with self._lock:
            until = self._until
            return frozenset(ask for ask in asks if ask in until and _begins_at(until[ask], tick, ask))

    def keep(self, columns: Mapping[Ask, Column], tick: float) -> None:
        """What was found at ``tick``: a number that no series spoils proves a quiet step."""
        with self._lock:
            kept = {ask: at for ask, at in self._until.items() if ask not in columns and _may_serve(at, tick, ask)}
            kept.update((ask, tick) for ask, column in columns.items() if is_step(ask) and _is_quiet(column))
            self._until = kept


def _begins_at(until: float, tick: float, ask: Ask) -> bool:
    """Whether the step that ends at ``tick`` begins at ``until``, and is one of the grid a subquery looks at."""
    if isinstance(ask, Free):
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
