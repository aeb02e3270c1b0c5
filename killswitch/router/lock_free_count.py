"""A number that any thread adds to without a lock, and one thread reads."""

from __future__ import annotations

from itertools import count


class LockFreeCount:
    """Counts on the request path: one call of C that no other thread can interrupt, so nothing is lost or locked."""

    __slots__ = ("_count", "_reads", "_taken", "add")

    def __init__(self) -> None:
        self._count = count()
        self.add = self._count.__next__
        self._reads = 0
        self._taken = 0

    def take(self) -> int:
        """How many were added since the last `take`; for one reader."""
        total = next(self._count) - self._reads  # each read has counted itself
        self._reads += 1
        new, self._taken = total - self._taken, total
        return new
