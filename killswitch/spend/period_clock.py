"""The clock by which periods begin: this process's own, and never later than the flag store's.

A process whose clock is ahead would begin the next hour, day or month for everyone, with a cap that is whole. So a
period begins only when both clocks say so. A store on the same machine has no other clock to compare with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from killswitch.documents import parse_object
from killswitch.errors import BadDocument
from killswitch.stores import Snapshot, Store, TellsTime, keys
from killswitch.wording import duration_in_words

_MAX_BYTES: Final = 1024
TOLERANCE: Final = 60.0  # seconds between two clocks of which nothing is said


class PeriodClock:
    """``wall`` in Unix seconds; ``monotonic`` in the seconds that the store's answers are dated with.

    Calling it gives Unix seconds. Between two answers of the store the monotonic clock goes on, so a wall clock that
    jumps ahead opens nothing either.
    """

    __slots__ = ("_monotonic", "_store_offset", "_wall")

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._store_offset = math.inf  # what the store's clock shows at most, less our monotonic one

    def __call__(self) -> float:
        own, store = self._wall(), self._monotonic() + self._store_offset
        return min(store, own)

    def note(self, store: Store) -> None:
        """Take over what the store's newest answer says of its clock."""
        told = store.told_time() if isinstance(store, TellsTime) else None
        if told is not None:
            self._store_offset = told.latest - told.asked_at

    @property
    def ahead(self) -> float:
        """Seconds that our clock is ahead of the store's, less than 0 if it is behind; 0 within the tolerance."""
        difference = self._wall() - self._monotonic() - self._store_offset
        return difference if math.isfinite(difference) and abs(difference) > TOLERANCE else 0.0


def clock_document(ahead: float) -> bytes:
    """What an owner of blocks writes of its clock."""
    return json.dumps({"ahead_seconds": round(ahead)}).encode()


def wrong_clocks(owners: Snapshot) -> Mapping[str, float]:
    """Seconds that the clocks of living processes are ahead of the store's, by process; from `keys.LEDGER_OWNERS`."""
    found: dict[str, float] = {}
    for item in owners.items:
        owner, _, what = item.key.removeprefix(keys.LEDGER_OWNERS).partition("/")
        if what == "clock":
            with suppress(BadDocument):
                found[owner] = parse_object(item.value, "clock", max_bytes=_MAX_BYTES).number("ahead_seconds")
    return found


def clocks_in_words(ahead: float, whose: str = "this process's clock") -> str:
    """What is wrong, what it means, and the fix."""
    side = "ahead of" if ahead > 0 else "behind"
    return (
        f"{whose} is {duration_in_words(abs(ahead))} {side} the flag store's: spend periods begin when both clocks say "
        "so; synchronise both machines' clocks (NTP)"
    )
