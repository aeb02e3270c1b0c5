"""One look at the store for all requests at a time: the others answer with what was seen before, and do not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable

FRESH_FOR = 1.0  # seconds that one look serves everyone


class SharedLook:
    """Calls ``look`` at most once in `FRESH_FOR` seconds, in one thread at a time. ``monotonic`` in seconds."""

    def __init__(self, look: Callable[[], None], *, monotonic: Callable[[], float]) -> None:
        self._look = look
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._looking = False
        self._next_look = monotonic()

    def refresh(self) -> None:
        """Look, if it is time and no one else does. Raises what ``look`` raises."""
        with self._lock:
            mine = not self._looking and self._monotonic() >= self._next_look
            self._looking = self._looking or mine
        if mine:
            try:
                self._look()
            finally:
                with self._lock:
                    self._looking = False
                    self._next_look = self._monotonic() + FRESH_FOR
