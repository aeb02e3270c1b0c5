"""How often counters fell within the last hour: asked every five minutes, since it needs an hour of samples.

A function of the tick alone, so that every replica and every replay knows the same.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from killswitch.model import Unreadable
from killswitch.sources.plan import Ask, Shape, Sum
from killswitch.sources.readings import Answers, Column, Point

EVERY: Final = 300.0  # seconds

AskColumns = Callable[[Sequence[Ask], Sequence[float]], Mapping[Ask, Column]]
"""A column for every ask, a point a tick."""


class Falls:
    """Keeps what was found at the newest of these times. Thread-safe."""

    def __init__(self, most: int = 50_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Sum, tuple[float, Point]] = OrderedDict()

    def at(self, asks: Sequence[Sum], ticks: Sequence[float], ask_columns: AskColumns) -> Answers:
        """A point a tick for each ask: how often one of its series fell without a restart, None where none did."""
        grid = [math.floor(tick / EVERY + 1e-9) * EVERY for tick in ticks]
        times = sorted(set(grid))
        if len(times) > 1:
            found = _found(asks, times, ask_columns)
            place = {time: at for at, time in enumerate(times)}
            return {ask: _spread(column, [place[time] for time in grid]) for ask, column in found.items()}
        (time,) = times
        with self._lock:
            known = {ask: kept[1] for ask in asks if (kept := self._kept.get(ask)) is not None and kept[0] == time}
        fresh = _found([ask for ask in asks if ask not in known], times, ask_columns)
        points = {ask: column if isinstance(column, Unreadable) else column[0] for ask, column in fresh.items()}
        self._keep(time, points)
        return {ask: [point] * len(ticks) for ask, point in {**known, **points}.items()}

    def _keep(self, time: float, points: Mapping[Sum, Point]) -> None:
        with self._lock:
            for ask, point in points.items():
                if not isinstance(point, Unreadable):
                    self._kept[ask] = (time, point)
                    self._kept.move_to_end(ask)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def _found(asks: Sequence[Sum], times: Sequence[float], ask_columns: AskColumns) -> dict[Sum, Column]:
    if not asks:
        return {}
    often = ask_columns(asks, times)
    doubtful = {ask: replace(ask, shape=Shape.CLOSE_FALLS) for ask in asks if _is_doubtful(often[ask])}
    close = ask_columns(list(doubtful.values()), times) if doubtful else {}
    nothing: list[Point] = [None] * len(times)
    found: dict[Sum, Column] = {}
    for ask in asks:
        column = close[doubtful[ask]] if ask in doubtful else often[ask]
        found[ask] = column if ask in doubtful or isinstance(column, Unreadable) else nothing
    return found


def _is_doubtful(column: Column) -> bool:
    return not isinstance(column, Unreadable) and any(isinstance(point, float) and point > 0 for point in column)


def _spread(column: Column, places: Sequence[int]) -> Column:
    return column if isinstance(column, Unreadable) else [column[place] for place in places]
