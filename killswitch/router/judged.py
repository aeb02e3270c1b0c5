"""Which requests are judged: a user's first in each five minutes, chosen before its outcome is known.

One user whose retries fail every few seconds for ten minutes makes a healthy canary look broken; no
statistic on request counts can tell that from a bad model. Counting each user once in five minutes
can. The choice never looks at outcomes, so it adds no bias.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Protocol

PERIOD = 300.0  # seconds


class FirstSeen(Protocol):
    """Says whether a key is met for the first time in a period.

    `RecentlySeen` knows one process. A fleet whose load balancer spreads one user over many processes
    may give its own, shared one (for instance ``SET key 1 NX EX 300`` in Redis).
    """

    def first(self, key: Hashable) -> bool: ...


class RecentlySeen:
    """`FirstSeen` for one process, in bounded memory (about 120 bytes a key, twice ``capacity`` keys).

    Keeps hashes, never the keys. Two generations of at most ``capacity`` entries: when the younger is
    full or ``period`` seconds old it becomes the elder, and the elder is forgotten. So the period is
    exact up to ``capacity`` different keys a period and shortens, instead of growing, above that.
    No lock (a lock held during a fork would hang the child): each step is atomic by itself.
    """

    __slots__ = ("_capacity", "_clock", "_generations", "_period")

    def __init__(
        self, period: float = PERIOD, capacity: int = 50_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._period = period
        self._capacity = capacity
        self._clock = clock
        self._generations: tuple[dict[int, float], dict[int, float], float] = ({}, {}, clock())

    def first(self, key: Hashable) -> bool:
        """True for the first sight of ``key`` in the period; the period starts at that sight."""
        now = self._clock()
        younger, elder, since = self._generations
        if now - since >= self._period or len(younger) >= self._capacity:
            younger, elder = {}, younger
            self._generations = (younger, elder, now)
        digest = hash(key)
        earlier = elder.get(digest)
        if earlier is not None and now - earlier < self._period:
            return False
        # setdefault is atomic: of two threads with one key, exactly one gets its own object back
        mine = now + 0.0
        return younger.setdefault(digest, mine) is mine

    def __len__(self) -> int:
        younger, elder, _ = self._generations
        return len(younger) + len(elder)
