"""An honest in-memory flag store on a virtual clock, with faults at any call.

`MemoryServer` is the store's server: revisions, compare-and-commit, leases that end by the clock.
`MemoryStore` is one client of it and satisfies `killswitch.stores.Store`; each process of a test has
its own. A fault is chosen per call by `MemoryStore.fault`, so that a test can strike at every point.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from killswitch.errors import OutcomeUnknown, Unavailable
from killswitch.stores import Committed, Compare, Delete, Item, Lease, Lost, Put, Snapshot
from killswitch.stores.limits import check_commit
from tests.doubles.clock import VirtualClock


class Crash(BaseException):
    """The process ends here. No `except Exception` of the code under test can hold it."""


class Fault(StrEnum):
    FAIL_BEFORE = "fail before"  # nothing arrives at the server: Unavailable
    LOSE_ANSWER = "lose answer"  # applied, the answer is lost: OutcomeUnknown (reads: Unavailable)
    APPLY_LATER = "apply later"  # OutcomeUnknown now; applied when `MemoryServer.apply_late` is called
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client: ``number`` counts from 0, ``name`` is the method's."""

    number: int
    name: str
    subject: object


@dataclass(frozen=True, slots=True)
class Change:
    """One key's change in the server's history; ``value`` None for a deletion, ``at`` the server's wall clock."""

    revision: int
    key: str
    value: bytes | None
    by: str
    at: float | None = None


@dataclass(slots=True)
class _Key:
    value: bytes
    mod_revision: int
    lease: int | None


@dataclass(slots=True)
class _LeaseState:
    ttl: float
    ends_at: float
    keys: set[str] = field(default_factory=set)


_Answer = TypeVar("_Answer")
Transaction = tuple[str, Sequence[Compare], Sequence[Put | Delete]]


class MemoryServer:
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.history: list[Change] = []
        self.late: list[Transaction] = []
        self._lock = threading.RLock()
        self._keys: dict[str, _Key] = {}
        self._leases: dict[int, _LeaseState] = {}
        self._revision = 1
        self._next_lease = 1

    @property
    def revision(self) -> int:
        return self._revision

    def value(self, key: str) -> bytes | None:
        item = self.get(key)
        return None if item is None else item.value

    def get(self, key: str) -> Item | None:
        with self._lock:
            self._expire()
            found = self._keys.get(key)
            return None if found is None else Item(key, found.value, found.mod_revision)

    def list(self, prefix: str) -> Snapshot:
        with self._lock:
            self._expire()
            items = (Item(key, k.value, k.mod_revision) for key, k in sorted(self._keys.items()))
            return Snapshot(tuple(item for item in items if item.key.startswith(prefix)), self._revision)

    def commit(self, by: str, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        with self._lock:
            self._expire()
            for compare in compares:
                found = self._keys.get(compare.key)
                if (found.mod_revision if found is not None else 0) != compare.mod_revision:
                    return Lost()
            for write in writes:
                if isinstance(write, Put) and write.lease is not None and write.lease.id not in self._leases:
                    raise Unavailable("lease not found: grant a new one")
            self._revision += 1
            for write in writes:
                if isinstance(write, Put):
                    self._put(by, write)
                else:
                    self._delete(by, write.key)
            return Committed(self._revision)

    def grant(self, ttl: float) -> int:
        with self._lock:
            self._next_lease += 1
            self._leases[self._next_lease] = _LeaseState(ttl, self.clock.monotonic() + ttl)
            return self._next_lease

    def keep_alive(self, lease: int) -> float | None:
        with self._lock:
            self._expire()
            state = self._leases.get(lease)
            if state is None:
                return None
            state.ends_at = self.clock.monotonic() + state.ttl
            return state.ttl

    def revoke(self, lease: int) -> None:
        with self._lock:
            self._end(lease)

    def apply_late(self) -> None:
        """Apply what timed out before, if its comparisons still hold."""
        late, self.late = self.late, []
        for by, compares, writes in late:
            try:
                self.commit(by, compares, writes)
            except Unavailable:
                continue  # its lease has ended meanwhile

    def _put(self, by: str, write: Put) -> None:
        self._detach(write.key)
        lease = write.lease.id if write.lease is not None else None
        self._keys[write.key] = _Key(write.value, self._revision, lease)
        if lease is not None:
            self._leases[lease].keys.add(write.key)
        self.history.append(Change(self._revision, write.key, write.value, by, self.clock.wall()))

    def _delete(self, by: str, key: str) -> None:
        self._detach(key)
        if self._keys.pop(key, None) is not None:
            self.history.append(Change(self._revision, key, None, by, self.clock.wall()))

    def _detach(self, key: str) -> None:
        before = self._keys.get(key)
        if before is not None and before.lease in self._leases:
            self._leases[before.lease].keys.discard(key)

    def _expire(self) -> None:
        now = self.clock.monotonic()
        for lease in [lease for lease, state in self._leases.items() if state.ends_at <= now]:
            self._end(lease)

    def _end(self, lease: int) -> None:
        state = self._leases.pop(lease, None)
        if state is None or not state.keys:
            return
        self._revision += 1
        for key in sorted(state.keys):
            self._keys.pop(key, None)
            self.history.append(Change(self._revision, key, None, "lease ended", self.clock.wall()))


class MemoryStore:
    """One client. ``fault`` is asked before each call and may name one."""

    def __init__(self, server: MemoryServer, name: str = "client") -> None:
        self._server = server
        self.name = name
        self.calls: list[Call] = []
        self.fault: Callable[[Call], Fault | None] = lambda _: None

    def get(self, key: str) -> Item | None:
        return self._read("get", key, lambda: self._server.get(key))

    def list(self, prefix: str) -> Snapshot:
        return self._read("list", prefix, lambda: self._server.list(prefix))

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        check_commit(compares, writes)  # the real limits; what a test plants on the server itself has none
        fault = self._next("commit", tuple(writes))
        if fault is Fault.APPLY_LATER:
            self._server.late.append((self.name, tuple(compares), tuple(writes)))
            raise OutcomeUnknown("commit: no answer in time")
        self._strike_before(fault, "commit")
        outcome = self._server.commit(self.name, compares, writes)
        self._strike_after(fault, OutcomeUnknown("commit: the answer was lost"))
        return outcome

    def grant(self, ttl: float) -> Lease:
        fault = self._next("grant", ttl)
        self._strike_before(fault, "grant")
        before = self._server.clock.monotonic()
        lease = self._server.grant(ttl)
        self._strike_after(fault, OutcomeUnknown("grant: the answer was lost"))
        return Lease(lease, ttl, before + ttl)

    def keep_alive(self, lease: Lease) -> Lease | None:
        before = self._server.clock.monotonic()
        ttl = self._read("keep_alive", lease.id, lambda: self._server.keep_alive(lease.id))
        return None if ttl is None else Lease(lease.id, ttl, before + ttl)

    def revoke(self, lease: Lease) -> None:
        fault = self._next("revoke", lease.id)
        self._strike_before(fault, "revoke")
        self._server.revoke(lease.id)
        self._strike_after(fault, OutcomeUnknown("revoke: the answer was lost"))

    def close(self) -> None:
        """Nothing to let go of."""

    def _read(self, name: str, subject: object, read: Callable[[], _Answer]) -> _Answer:
        fault = self._next(name, subject)
        self._strike_before(fault, name)
        answer = read()
        self._strike_after(fault, Unavailable(f"{name}: the answer was lost"))
        return answer

    def _next(self, name: str, subject: object) -> Fault | None:
        call = Call(len(self.calls), name, subject)
        self.calls.append(call)
        return self.fault(call)

    @staticmethod
    def _strike_before(fault: Fault | None, name: str) -> None:
        if fault is Fault.CRASH_BEFORE:
            raise Crash
        if fault in (Fault.FAIL_BEFORE, Fault.APPLY_LATER):
            raise Unavailable(f"{name}: the store does not answer")

    @staticmethod
    def _strike_after(fault: Fault | None, lost: Exception) -> None:
        if fault is Fault.CRASH_AFTER:
            raise Crash
        if fault is Fault.LOSE_ANSWER:
            raise lost
