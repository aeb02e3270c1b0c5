"""The protocol by which routers read flags and watch them: `Reader`, `Watch`, `LeaseWriter`.

A reader reads a few keys at one revision and watches one of them, or all under a prefix. It never changes a flag.
Readers use the standard library alone, because they run inside users' services.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from killswitch.errors import KillswitchError
from killswitch.stores import Item, Lease

READ_TIMEOUT = 5.0  # seconds, all endpoints together


@dataclass(frozen=True, slots=True)
class ReadView:
    """What one read saw, all of it at ``revision``.

    ``items`` by key: those of the keys asked for that exist, and everything under the prefixes asked for, or what has
    changed there where only that was asked for.
    ``counts`` by prefix: how many keys are under each prefix that was only to be counted.
    """

    items: Mapping[str, Item]
    revision: int
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A watched key was written (``item``) or deleted (``item`` is None) at ``revision``."""

    key: str
    item: Item | None
    revision: int


@dataclass(frozen=True, slots=True)
class Connected:
    """The watch is set up; its store is at ``revision``."""

    revision: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The watch ended and is being set up again from where it was. ``quiet``: it had no news, which may be no fault."""

    reason: str
    quiet: bool = False


WatchEvent = Change | Connected | Disconnected


class Resync(KillswitchError):
    """The watch cannot continue (its history was compacted, or a line is too long): read, then watch from there."""


class Watch(Protocol):
    """A key or a prefix being watched. Iterate in one thread; `restart` and `close` may be called from any other."""

    def __iter__(self) -> Iterator[WatchEvent]:
        """Changes in order, each once, across reconnections; ends after `close`. Raises `Resync` only."""
        ...

    def restart(self, after: int) -> None:
        """Cut the current stream, which may be dead, and continue with the changes after revision ``after``."""
        ...

    def close(self) -> None: ...


class Reader(Protocol):
    """What a follower needs of a flag store."""

    @property
    def sees_controllers(self) -> bool:
        """Whether controllers leave their heartbeats in this store."""
        ...

    def describe(self) -> str:
        """Where the store is, in words fit for a log (no secrets)."""
        ...

    def read(
        self,
        names: Sequence[str],
        *,
        prefixes: Sequence[str] = (),
        counted: Sequence[str] = (),
        changed_after: int = 0,
        timeout: float = READ_TIMEOUT,
    ) -> ReadView:
        """A linearizable read of everything asked for at one revision, within ``timeout`` seconds in total.

        ``changed_after``: of the prefixes' keys only those written after that revision are wanted. What was deleted
        shows in ``counted`` alone.
        Raises Unavailable (could not be read now), AccessDenied (the store refuses us), BadDocument (the answer is
        not understood).
        """
        ...

    def watch(self, name: str, *, after: int, prefix: bool = False) -> Watch:
        """Watches what happens to the key ``name``, or to every key that begins so, after revision ``after``."""
        ...

    def forget(self) -> None:
        """Drop every connection without closing it: for the child of a fork, whose parent still uses them."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class LeaseWriter(Protocol):
    """What a router writes: its own report, under its own lease.

    Every method ends within the reader's timeout and raises Unavailable or AccessDenied. All of them may be
    repeated safely: an extra lease expires by itself.
    """

    def grant(self, ttl: float) -> Lease: ...

    def keep_alive(self, lease: Lease) -> Lease | None: ...

    def put(self, name: str, value: bytes, lease: Lease) -> int: ...

    def revoke(self, lease: Lease) -> None: ...
