"""A calendar of the test's own, over a store whose answers say what time it is: no hour, day or month ends meanwhile.

The clock of an etcd cannot be set without setting the machine's. So what it says is moved, together with the process's
own clock, to the middle of a month. Their difference is a real one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from killswitch.stores import Committed, Compare, Delete, Item, Lease, Lost, Put, Snapshot, Store, TellsTime, ToldTime
from killswitch.stores.opening import open_store

# a Monday at noon, in the middle of a month
NOON: Final = datetime(2026, 6, 15, 12, 10, tzinfo=UTC).timestamp()
_SHIFT: Final = NOON - time.time()


def wall() -> float:
    """Unix seconds of this calendar: it was `NOON` when this process began."""
    return time.time() + _SHIFT


class OwnCalendar:
    """The store at ``url``, with its clock on this calendar. Where a store tells no time, nor does this."""

    def __init__(self, url: str) -> None:
        self._store: Store = open_store(url)

    def told_time(self) -> ToldTime | None:
        told = self._store.told_time() if isinstance(self._store, TellsTime) else None
        return None if told is None else replace(told, latest=told.latest + _SHIFT)

    def get(self, key: str) -> Item | None:
        return self._store.get(key)

    def list(self, prefix: str) -> Snapshot:
        return self._store.list(prefix)

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        return self._store.commit(compares, writes)

    def grant(self, ttl: float) -> Lease:
        return self._store.grant(ttl)

    def keep_alive(self, lease: Lease) -> Lease | None:
        return self._store.keep_alive(lease)

    def revoke(self, lease: Lease) -> None:
        self._store.revoke(lease)

    def close(self) -> None:
        self._store.close()
