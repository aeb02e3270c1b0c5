"""Sampled requests that were never asked or never recorded, counted by reason without a lock."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from killswitch.router.lock_free_count import LockFreeCount


class Drop(StrEnum):
    """Why a sampled request made no pair."""

    QUEUE_FULL = "queue_full"
    NOT_COMPARABLE = "not_comparable"  # control had no answer
    SIDE_EFFECTS = "side_effects"  # asking it again would act on the world
    CHANGED = "changed"  # the caller changed the request before it was copied
    TOO_LARGE = "too_large"
    TURNED_OFF = "turned_off"  # the flag no longer asks for a shadow
    LATE = "late"  # it waited so long that the two answers are of different times
    PRESSURE = "pressure"  # control is near its rate limit
    BUDGET = "budget"  # the ledger, or the provider's spend limit, says no
    UNBOUNDED = "unbounded"  # nothing bounds what it would cost
    STUCK = "stuck"  # too many calls hang and do not come back
    UNIDENTIFIED = "unidentified"  # the request id is nothing that can be hashed
    UNREADABLE = "unreadable"  # the body is no JSON object
    SHUTTING_DOWN = "shutting_down"
    DISK = "disk"
    NOISE = (
        "noise"  # control was not asked a second time: its pair with the canary is not lost, and no floor is measured
    )
    FAILED = "failed"  # a mistake of ours; it is logged


class Drops:
    """The counts of one `Shadow`. `add` may be called from any thread, `take` from one."""

    def __init__(self) -> None:
        self._counts = {reason: LockFreeCount() for reason in Drop}
        self.queue_full = self._counts[Drop.QUEUE_FULL].add
        self.shutting_down = self._counts[Drop.SHUTTING_DOWN].add
        self.unidentified = self._counts[Drop.UNIDENTIFIED].add

    def add(self, reason: Drop) -> None:
        self._counts[reason].add()

    def take(self) -> Counter[Drop]:
        """New drops by reason since the last call, those of 0 left out."""
        return Counter({reason: new for reason, one in self._counts.items() if (new := one.take())})
