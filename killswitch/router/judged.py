"""Which requests are judged: a user's first in each five minutes, chosen before its outcome is known.

One user whose retries fail every few seconds for ten minutes makes a healthy canary look broken; no
statistic on request counts can tell that from a bad model. Counting each user once in five minutes
can. The choice never looks at outcomes, so it adds no bias.

The five minutes are fixed and belong to the user, not to a cohort: they begin at a second that a hash of the
user decides. So judged requests arrive evenly, and a user whom arming moves into the canary is judged there
when the next five minutes begin. (When the first request *in each cohort* was judged, arming made every canary
user first at one moment, and silent for five minutes afterwards.)
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Hashable
from hashlib import sha256
from typing import Protocol

PERIOD = 300.0  # seconds


def period_of(user: str, now: float) -> int:
    """The number of the user's five minutes at ``now``, in seconds on a clock that all processes share."""
    # crc32, because a user must have the same phase in every process, and `hash` is salted
    phase = zlib.crc32(user.encode("utf-8", "surrogatepass")) / 2**32
    return int(now / PERIOD + phase)


def shared_key(rollout: str, user: str, period: int) -> str:
    """The key for a shared `FirstSeen`: one user's five minutes in one rollout, without the user's name."""
    digest = sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{rollout}:{period}:{digest}"


class FirstSeen(Protocol):
    """Says whether a key is seen for the first time.

    `RecentlySeen` knows one process. A fleet whose load balancer spreads one user over many processes
    may give its own, shared one (for instance ``SET key 1 NX EX 600`` in Redis). It is asked for texts of under
    200 characters. The text names the user's five minutes. So the shared memory need not know when they begin; it only
    has to remember a key for five minutes or longer (a feedback token's key: for a day).
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
