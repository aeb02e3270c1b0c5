"""The grid of ticks on the metric store's clock, aged by the monotonic clock between readings.

Ticks are fixed points, so all replicas evaluate the same ones. A late cycle skips to the newest tick and counts
the ticks it missed. The wall clock is used while the metric store has never answered, and to decide when the store
contradicts itself.

One answer cannot move the grid far: one name may lead to two servers, and clocks are stepped. An answer that differs
from the monotonic clock by more than an interval must come three times in a row, or agree with the wall clock where
the earlier answers did not. If two servers with different clocks answer in turn, we keep following one of them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.sources import Source
from killswitch.wording import duration_in_words

log = logging.getLogger(__name__)
# The store's clock may jitter around a tick by this many ticks before it counts as a step back.
JITTER_SLOTS = 2
# This many readings in a row must agree on a step of the store's clock.
BELIEVED_AFTER = 3


class TickClock:
    """``interval`` between ticks and ``lag`` after a tick before it is judged, in seconds.

    ``tick``: the newest given out. ``problem``: in words, where the newest reading is not believed (yet).
    """

    def __init__(
        self, *, interval: float, lag: float, monotonic: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._interval = interval
        self._lag = lag
        self._monotonic = monotonic
        self._wall = wall
        self._offset: float | None = None
        self._has_answered = False
        self._doubted: float | None = None
        self._said = 0
        self.tick: float | None = None
        self.missed = 0
        self.problem: str | None = None

    def read(self, source: Source, deadline: Deadline) -> str | None:
        """Ask the metric store what time it is; why it could not be read, or None."""
        before = self._monotonic()
        try:
            now = source.now(deadline)
        except KillswitchError as error:
            if self._offset is None:
                self._offset = self._wall() - self._monotonic()
            return str(error)
        self._take(now - (before + self._monotonic()) / 2)
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
        """The tick on this process's monotonic clock; the earlier one where two readings disagree.

        That errs on the safe side: evidence is thought older than it is, never younger. A machine that was
        suspended has a monotonic clock which does not know.
        """
        ahead = 0.0
        if self._doubted is not None and self._offset is not None:
            ahead = max(0.0, self._doubted - self._offset)
        return tick - self.now() + self._monotonic() - ahead

    def age(self, tick: float) -> float:
        """Seconds since the tick; the larger number where two readings disagree, as in `monotonic_at`."""
        return self._monotonic() - self.monotonic_at(tick)

    def seconds_until_due(self) -> float:
        """How long until the next tick can be judged; 0 when it is due."""
        if self.tick is None or self._offset is None:
            return 0.0
        return max(0.0, self.tick + self._interval + self._lag - self.now())

    def _take(self, offset: float) -> None:
        """Believe this reading, or note that it is in doubt."""
        known = self._offset if self._has_answered else None  # a guess by the wall clock gives way to any answer
        if known is None or abs(offset - known) <= self._interval:
            self._believe(offset)
            return
        again = self._doubted is not None and abs(offset - self._doubted) <= self._interval
        self._doubted, self._said = offset, self._said + 1 if again else 1
        apart = duration_in_words(round(abs(offset - known)))
        where = "ahead of" if offset > known else "behind"
        step = f"the metric store's clock is {apart} {where} what it has said so far"
        witness = self._wall() - self._monotonic()
        confirmed = abs(offset - witness) <= self._interval < abs(known - witness)
        if confirmed or self._said >= BELIEVED_AFTER:
            log.warning("%s: believed, %s", step, "our own agrees" if confirmed else f"it said so {self._said} times")
            self._believe(offset)
            return
        self.problem = f"{step}; not believed unless it says so {BELIEVED_AFTER} times in a row (two servers, a step?)"
        log.warning("%s", self.problem)

    def _believe(self, offset: float) -> None:
        self._offset, self._has_answered = offset, True
        self._doubted, self._said, self.problem = None, 0, None
