"""A controller's session: proof, inside the store, that this process has not been asleep.

One key under a lease, written once and kept alive. Every automatic trip compares that key's revision,
so a transaction prepared before a long pause (SIGSTOP, a frozen machine) is refused by the store itself:
the lease has ended and the key is gone, or was written anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from killswitch.errors import KillswitchError, OutcomeUnknown, Unavailable
from killswitch.stores import Compare, Lease, Lost, Put, Store, keys

TTL = 15.0


class Session:
    """Thread-safe. Raises what the store raises; `guard` and `lease` open the session where it has ended."""

    def __init__(self, store: Store, controller_id: str, *, monotonic: Callable[[], float], ttl: float = TTL) -> None:
        self._store = store
        self._key = keys.claim(f"sessions/{controller_id}")
        self._monotonic = monotonic
        self._ttl = ttl
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._revision = 0
        self._closed = False

    def guard(self) -> Compare:
        """Holds exactly as long as this session lives."""
        with self._lock:
            self._ensure()
            return Compare(self._key, self._revision)

    def lease(self) -> Lease:
        """The lease under which this controller's other keys stand."""
        with self._lock:
            return self._ensure()

    def renew(self) -> None:
        """To be called every third of the TTL."""
        with self._lock:
            if self._lease is None:
                self._ensure()
                return
            self._lease = self._store.keep_alive(self._lease)
            if self._lease is None:
                self._ensure()

    def doubt(self) -> None:
        """Forget the session after a lost comparison: the next use opens a new one."""
        with self._lock:
            self._lease = None

    def close(self) -> None:
        """Give the lease back, so that other replicas need not wait for it to expire."""
        with self._lock:
            self._closed = True
            lease, self._lease = self._lease, None
        if lease is not None:
            try:
                self._store.revoke(lease)
            except KillswitchError:
                return  # it will expire by itself

    def _ensure(self) -> Lease:
        if self._lease is not None and self._monotonic() < self._lease.expires_at:
            return self._lease
        self._lease = None
        if self._closed:  # a cycle may still be on its way; a session it opened would outlive its process
            raise Unavailable("the session is closed: this controller is stopping")
        lease = self._store.grant(self._ttl)
        try:
            outcome = self._store.commit((), (Put(self._key, b"{}", lease),))
        except OutcomeUnknown as error:
            raise Unavailable(f"the session could not be opened: {error}") from error
        if isinstance(outcome, Lost):
            raise Unavailable("the session could not be opened: the store refused an unconditional write")
        self._lease, self._revision = lease, outcome.revision
        return lease
