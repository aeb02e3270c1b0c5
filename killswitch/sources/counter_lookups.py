"""What was found when a counter's existence was looked up, kept for as long as it is true."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from killswitch.model import Unreadable
from killswitch.sources.asks import Ask
from killswitch.sources.columns import Column

_KEEP_SEEN: Final = 3600.0  # seconds
_KEEP_UNSEEN: Final = 60.0


class AbsentCache:
    """Series that had no sample at all when they were asked for, kept while none of their steps has one.

    Without it, a service without judged counters would be asked for them at every tick. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._absent: dict[Ask, float] = {}

    def known(self, asks: Mapping[Ask, float], tick: float) -> dict[Ask, Column]:
        """Those of ``asks`` that are still absent; ``asks`` gives the seconds before ``tick`` without a sample."""
        with self._lock:
            return {ask: [None] for ask, quiet in asks.items() if 0 <= tick - self._absent.get(ask, -math.inf) <= quiet}

    def keep(self, columns: Mapping[Ask, Column], tick: float) -> None:
        """What was found, or known, at ``tick``; all else is forgotten."""
        with self._lock:
            self._absent = {
                ask: tick for ask, column in columns.items() if not isinstance(column, Unreadable) and column[0] is None
            }


class SeenCache:
    """Answers of the 24 h look-up: kept for an hour if the counter was seen, else for a minute. Thread-safe."""

    def __init__(self, most: int = 50_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Ask, tuple[float, Column]] = OrderedDict()

    def at(self, ask: Ask, tick: float) -> Column | None:
        with self._lock:
            asked, column = self._kept.get(ask, (0.0, None))
        seen = column is not None and not isinstance(column, Unreadable) and column[0] is not None
        return column if 0 <= tick - asked < (_KEEP_SEEN if seen else _KEEP_UNSEEN) else None

    def keep(self, ask: Ask, tick: float, column: Column) -> None:
        if isinstance(column, Unreadable):
            return
        with self._lock:
            self._kept[ask] = (tick, column)
            self._kept.move_to_end(ask)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
