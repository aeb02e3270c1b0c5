"""Notices steps of the wall clock, on which APScheduler's due times run.

A clock set back N seconds would stall every job for N seconds, silently. The guard compares wall with
monotonic time in a thread that waits on monotonic time only, and says when they part.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class ClockGuard(threading.Thread):
    """Calls ``on_jump(seconds)`` when the wall clock has moved ``tolerance`` seconds against the monotonic one."""

    def __init__(
        self,
        on_jump: Callable[[float], None],
        *,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        every: float = 1.0,
        tolerance: float = 1.0,
    ) -> None:
        super().__init__(name="clock-guard", daemon=True)
        self._on_jump = on_jump
        self._monotonic = monotonic
        self._wall = wall
        self._every = every
        self._tolerance = tolerance
        self._offset = wall() - monotonic()
        self._stopped = threading.Event()

    def check(self) -> None:
        """One comparison; `run` makes one every second."""
        offset = self._wall() - self._monotonic()
        jump = offset - self._offset
        self._offset = offset
        if abs(jump) > self._tolerance:
            self._on_jump(jump)

    def run(self) -> None:
        while not self._stopped.wait(self._every):
            self.check()

    def stop(self) -> None:
        self._stopped.set()
