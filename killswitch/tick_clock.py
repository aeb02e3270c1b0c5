"""The grid of ticks on the metric store's clock, aged by the monotonic clock between readings.

Slots are fixed, so all replicas evaluate the same ticks; a late cycle skips to the newest one and counts
those it missed. The wall clock is asked only while the metric store has never answered.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.sources import Source

# The store's clock may jitter around a slot's edge by so many slots without being taken for a step back.
JITTER_SLOTS = 2


class TickClock:
    """``interval`` between ticks and ``lag`` after a tick before it is judged, in seconds."""

    def __init__(
        self, *, interval: float, lag: float, monotonic: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._interval = interval
        self._lag = lag
        self._monotonic = monotonic
        self._wall = wall
        self._offset: float | None = None
        self.tick: float | None = None
        self.missed = 0

    def read(self, source: Source, deadline: Deadline) -> str | None:
        """Ask the metric store what time it is; why it could not be read, or None."""
        before = self._monotonic()
        try:
            now = source.now(deadline)
        except KillswitchError as error:
            if self._offset is None:
                self._offset = self._wall() - self._monotonic()
            return str(error)
        self._offset = now - (before + self._monotonic()) / 2
        return None

    def advance(self) -> float | None:
        """The newest tick that is due, once; None when it has been given out already."""
        tick = math.floor((self.now() - self._lag) / self._interval) * self._interval
        if self.tick is not None:
            slots = round((tick - self.tick) / self._interval)
            if -JITTER_SLOTS <= slots <= 0:
                return None
            self.missed += max(0, slots - 1)
        self.tick = tick
        return tick

    def now(self) -> float:
        """The metric store's time, Unix seconds."""
        offset = self._offset if self._offset is not None else self._wall() - self._monotonic()
        return self._monotonic() + offset

    def monotonic_at(self, tick: float) -> float:
        """The tick on this process's monotonic clock."""
        return tick - self.now() + self._monotonic()

    def seconds_until_due(self) -> float:
        """How long until the next tick can be judged; 0 when it is due."""
        if self.tick is None or self._offset is None:
            return 0.0
        return max(0.0, self.tick + self._interval + self._lag - self.now())
