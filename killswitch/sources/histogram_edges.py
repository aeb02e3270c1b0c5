"""Which edges some histograms lack: asked again when the histograms have changed, and every five minutes.

This costs a metric store more than the counts themselves, and nearly always all histograms have the same edges. Cheap
facts show when that may have changed: how many histograms there are, the edges
that the newest counts have, whether a counter fell or is new (its process may have come back with other edges), and
the time.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from killswitch.model import Buckets, Unreadable
from killswitch.sources.asks import Needs, Sum
from killswitch.sources.columns import Answers, Column, Point

EVERY: Final = 300.0  # seconds
# between the times at which `falls` are asked for, so that no tick asks for both
_SHIFT: Final = 150.0

Signature = tuple[float, tuple[float, ...], int]
"""How many histograms there are, the edges of their sum, and which `EVERY` seconds it is."""


class Layouts:
    """Keeps which histograms are known to have every edge. Thread-safe."""

    def __init__(self, most: int = 50_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._whole: OrderedDict[Sum, Signature] = OrderedDict()

    def doubtful(self, histograms: Sequence[Needs], found: Answers, tick: float) -> list[Sum]:
        """The layouts to be asked at ``tick``; ``found`` answers ``trials``, and ``live`` where there are any."""
        with self._lock:
            return list(
                dict.fromkeys(
                    ask
                    for need in histograms
                    for ask in need.layout
                    if _is_there(need, found) and _changed(_signature(need, found, tick), self._whole.get(ask))
                )
            )

    def forget(self, asks: Iterable[Sum]) -> None:
        """Call it after ticks were read together: what changed between them was not looked at."""
        with self._lock:
            for ask in asks:
                self._whole.pop(ask, None)

    def keep(self, histograms: Sequence[Needs], found: Answers, tick: float) -> None:
        """Remember the histograms whose layouts were asked at ``tick`` and lack no edge."""
        with self._lock:
            for need in histograms:
                for ask in need.layout:
                    if ask not in found:
                        continue
                    signature = _signature(need, found, tick)
                    if signature is None or not _is_whole(found[ask]):
                        self._whole.pop(ask, None)
                        continue
                    self._whole[ask] = signature
                    self._whole.move_to_end(ask)
            while len(self._whole) > self._most:
                self._whole.popitem(last=False)


def _is_there(need: Needs, found: Answers) -> bool:
    """Whether there are any histograms whose edges could differ."""
    return _point(found[need.trials[0]]) is not None


def _changed(now: Signature | None, before: Signature | None) -> bool:
    return now is None or now != before


def _signature(need: Needs, found: Answers, tick: float) -> Signature | None:
    """None if nothing shows whether they changed: no answer, or a counter that fell or is new."""
    if not need.live:  # for a window: an edge that came in the middle of it shows in none of these
        return None
    live, counts = _point(found.get(need.live[0], ())), _point(found[need.trials[0]])
    if not isinstance(live, float) or not isinstance(counts, Buckets) or not math.isfinite(sum(counts.counts)):
        return None
    return (live, counts.bounds, math.floor((tick - _SHIFT) / EVERY + 1e-9))


def _is_whole(column: Column) -> bool:
    return not isinstance(column, Unreadable) and column[0] is None


def _point(column: Column) -> Point:
    return column if isinstance(column, Unreadable) else next(iter(column), None)
