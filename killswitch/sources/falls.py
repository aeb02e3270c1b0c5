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
from killswitch.sources.asks import Ask, Shape, Sum
from killswitch.sources.columns import Answers, Column, Point

EVERY: Final = 300.0  # seconds
_TIMES_KEPT: Final = 2

AskColumns = Callable[[Sequence[Ask], Sequence[float]], Mapping[Ask, Column]]
"""A column for every ask, a point a tick."""


class Falls:
    """Keeps what was found at the two newest of these times: rollouts that lag ask for the older one. Thread-safe.

    Hardly any of thousands of counters fell, so only those that fell are returned.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[float, dict[Sum, Point]] = OrderedDict()
        self._newest: tuple[Sequence[Sum], float, dict[Ask, Point]] | None = None

    def at(self, asks: Sequence[Sum], ticks: Sequence[float], ask_columns: AskColumns) -> Answers:
        """The asks of which a series fell without a restart, or that failed: how often at each tick, None for never."""
        grid = [math.floor(tick / EVERY + 1e-9) * EVERY for tick in ticks]
        times = sorted(set(grid))
        if len(times) > 1:
            place = {time: at for at, time in enumerate(times)}
            where = [place[time] for time in grid]
            return {ask: _spread(column, where) for ask, column in _found(asks, times, ask_columns).items()}
        (time,) = times
        return {ask: [point] * len(ticks) for ask, point in self._at(time, asks, ask_columns).items()}

    def _at(self, time: float, asks: Sequence[Sum], ask_columns: AskColumns) -> Mapping[Ask, Point]:
        with self._lock:
            newest = self._newest
            if newest is not None and newest[0] is asks and newest[1] == time:
                return newest[2]
            known = dict(self._kept.get(time, ()))
        fresh = [ask for ask in asks if ask not in known]
        columns = _found(fresh, [time], ask_columns)
        points: dict[Ask, Point] = {
            ask: column if isinstance(column, Unreadable) else column[0] for ask, column in columns.items()
        }
        failed = any(isinstance(point, Unreadable) for point in points.values())
        answered: dict[Sum, Point] = {
            ask: points.get(ask) for ask in fresh if not isinstance(points.get(ask), Unreadable)
        }
        fell = points | {ask: known[ask] for ask in asks if known.get(ask) is not None}
        with self._lock:
            self._kept.setdefault(time, {}).update(answered)
            self._kept.move_to_end(time)
            while len(self._kept) > _TIMES_KEPT:
                self._kept.popitem(last=False)
            if not failed:
                self._newest = (asks, time, fell)
        return fell


def _found(asks: Sequence[Sum], times: Sequence[float], ask_columns: AskColumns) -> dict[Ask, Column]:
    if not asks:
        return {}
    often = ask_columns(asks, times)
    doubtful = {ask: replace(ask, shape=Shape.CLOSE_FALLS) for ask in asks if _is_doubtful(often[ask])}
    close = ask_columns(list(doubtful.values()), times) if doubtful else {}
    found: dict[Ask, Column] = {ask: often[ask] for ask in asks if isinstance(often[ask], Unreadable)}
    found |= {ask: column for ask, look in doubtful.items() if _says_something(column := close[look])}
    return found


def _says_something(column: Column) -> bool:
    return isinstance(column, Unreadable) or any(point is not None for point in column)


def _is_doubtful(column: Column) -> bool:
    return not isinstance(column, Unreadable) and any(isinstance(point, float) and point > 0 for point in column)


def _spread(column: Column, places: Sequence[int]) -> Column:
    return column if isinstance(column, Unreadable) else [column[place] for place in places]
