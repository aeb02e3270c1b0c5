"""What was found when a counter's existence was looked up, kept for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from killswitch.model import Unreadable
from killswitch.sources.plan import Ask
from killswitch.sources.readings import Column

_KEEP_SEEN: Final = 3600.0  # seconds
_KEEP_UNSEEN: Final = 60.0


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
