"""Flag stores: a small key-value store with revisions, compare-and-commit, and leases.

An adapter speaks to one outside system and satisfies `Store`. It does not know what keys and documents
mean (see `killswitch.stores.keys` and `killswitch.flags.flag`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Item:
    """One key as stored. ``mod_revision`` is the store-wide revision of its last change."""

    key: str
    value: bytes
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A promise to be alive: keys put under a lease vanish when it ends.

    ``expires_at`` is on the adapter's monotonic clock, seconds, counted from *before* the request was
    sent, so it never outlives the store's own view.
    """

    id: int
    ttl: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Compare:
    """Holds when ``key`` was last changed at ``mod_revision``; 0 means the key must be absent."""

    key: str
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything under a prefix at one revision."""

    items: tuple[Item, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Committed:
    """All writes were applied, at this revision."""

    revision: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A comparison did not hold, and nothing was written. Read again, then decide."""


@dataclass(frozen=True, slots=True)
class ToldTime:
    """What a store's newest answer says of the store's clock: it showed ``latest`` (Unix seconds) at most.

    ``asked_at``: when the request was sent, in monotonic seconds of this process.
    """

    latest: float
    asked_at: float


@runtime_checkable
class TellsTime(Protocol):
    """A store on another machine, whose answers say what time it is there."""

    def told_time(self) -> ToldTime | None:
        """As of the newest answer; None before the first, and where a proxy removes it."""
        ...


class Store(Protocol):
    """What orchestration needs of a flag store.

    Every method ends within the adapter's timeout (default 5 s in total, all endpoints together)
    and raises Unavailable (surely nothing changed), AccessDenied, or, `commit`, `grant` and `revoke` only,
    OutcomeUnknown (re-read). `commit` raises BadTransaction for what `killswitch.stores.limits` does not allow.
    Reads are linearizable. Methods may be called from any thread.
    """

    def get(self, key: str) -> Item | None: ...

    def list(self, prefix: str) -> Snapshot: ...

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        """Apply all writes at one revision if every comparison holds and each lease they name lives; else none."""
        ...

    def grant(self, ttl: float) -> Lease:
        """A new lease of ``ttl`` seconds; keys put under it vanish when it ends."""
        ...

    def keep_alive(self, lease: Lease) -> Lease | None:
        """The renewed lease, or None when it had ended (its keys are gone)."""
        ...

    def revoke(self, lease: Lease) -> None: ...

    def close(self) -> None: ...
