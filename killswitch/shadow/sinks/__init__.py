"""Where compared pairs are kept, behind one small protocol: files in a folder, or ClickHouse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from killswitch.router.shadow.raw_pair import Dropped
from killswitch.shadow.record import PairRecord


@dataclass(frozen=True, slots=True)
class Batch:
    """Records and drops of one rollout and one day (UTC, ``2026-05-03``).

    ``name`` names the raw files that they come from. A batch that is written again under its name takes the place of
    the first: that is what makes a record be there once, however often the worker was killed.
    """

    name: str
    rollout: str
    day: str
    records: tuple[PairRecord, ...]
    drops: tuple[Dropped, ...] = ()


class Sink(Protocol):
    """Every method raises Unavailable where a later try may succeed, and Refused where not."""

    def write(self, batch: Batch) -> None:
        """Keep a batch, all of it or nothing. It is safe on its return, also from a loss of power."""
        ...

    def forget(self, user: str) -> int:
        """Remove all records of a user (the keyed hash). How many there were."""
        ...

    def remove_texts(self, before: Callable[[str], float]) -> int:
        """Remove the texts of old records, and keep the records. How many had some.

        ``before``: of a rollout, Unix seconds; older texts go.
        """
        ...

    def close(self) -> None: ...
