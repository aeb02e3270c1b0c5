"""A clock that stands still until it is told otherwise; wall and monotonic time can be moved apart."""

from __future__ import annotations

import threading


class VirtualClock:
    def __init__(self, wall: float = 1_776_608_531.0, monotonic: float = 1000.0) -> None:
        self._lock = threading.Lock()
        self._wall = wall
        self._monotonic = monotonic

    def wall(self) -> float:
        """Unix seconds."""
        with self._lock:
            return self._wall

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._wall += seconds
            self._monotonic += seconds

    def jump_wall(self, seconds: float) -> None:
        """What an administrator or NTP does: the monotonic clock does not notice."""
        with self._lock:
            self._wall += seconds
