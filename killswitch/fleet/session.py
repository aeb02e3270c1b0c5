"""A controller's session: proof, inside the store, that this process has not been asleep.

One key under a lease, written once and kept alive. Every automatic trip compares that key's revision,
so a transaction prepared before a long pause (SIGSTOP, a frozen machine) is refused by the store itself:
the lease has ended and the key is gone, or was written again.

The key is also what makes a controller id one process's: heartbeats are stored under it, and a replica that takes
another's heartbeat for its own would call itself blind alone.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable

from killswitch.errors import KillswitchError, NameTaken, OutcomeUnknown, Unavailable
from killswitch.stores import Committed, Compare, Lease, Lost, Put, Store, keys

TTL = 15.0
# A session of a process that has died ends within one TTL of its last renewal; one that lasts longer is alive.
PATIENCE_TTLS = 1.5


class Session:
    """Thread-safe. Raises what the store raises; `guard` and `lease` open the session where it has ended.

    ``owner`` names this process and no other: a session of our controller id that another process holds is not
    written over, but raises NameTaken. So of two processes with one id only the first can trip or report, and the
    session of a process that has died is in the way for as long as its lease, and no longer.
    """

    def __init__(
        self,
        store: Store,
        controller_id: str,
        *,
        monotonic: Callable[[], float],
        ttl: float = TTL,
        owner: str | None = None,
    ) -> None:
        self._store = store
        self._id = controller_id
        self._key = keys.claim(f"sessions/{controller_id}")
        self._monotonic = monotonic
        self._ttl = ttl
        self._owner = owner or uuid.uuid4().hex
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._revision = 0
        self._closed = False
        self._held_once = False
        self._taken_since: float | None = None
        self._taken_by = ""
        self._outlives = False  # as seen at the last look, and not only because time has passed

    @property
    def taken(self) -> bool:
        """Whether another process holds a session of our name, though we have had one: two processes run under it."""
        return self._taken_since is not None and self._held_once

    @property
    def refused(self) -> bool:
        """Whether another process has held our name since we began, for longer than the lease of one that has died."""
        return self._taken_since is not None and self._outlives and not self._held_once

    def guard(self) -> Compare:
        """Holds exactly as long as this session lives."""
        with self._lock:
            self._ensure()
            return Compare(self._key, self._revision)

    def lease(self) -> Lease:
        """The lease of this controller's other keys."""
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
        # no lease is asked for again and again while another process has the name
        revision = 0 if self._taken_since is None else self._stands_at()
        lease = self._store.grant(self._ttl)
        outcome = self._written(lease, revision)
        if isinstance(outcome, Lost):
            outcome = self._written(lease, self._stands_at())
        if isinstance(outcome, Lost):
            raise Unavailable("the session could not be opened: its key has just changed; tried again")
        self._lease, self._revision = lease, outcome.revision
        self._held_once, self._taken_since = True, None
        return lease

    def _written(self, lease: Lease, revision: int) -> Committed | Lost:
        value = json.dumps({"owner": self._owner}).encode()
        try:
            return self._store.commit((Compare(self._key, revision),), (Put(self._key, value, lease),))
        except OutcomeUnknown as error:
            raise Unavailable(f"the session could not be opened: {error}") from error

    def _stands_at(self) -> int:
        """The revision of our own session's key, 0 where there is none. Raises NameTaken."""
        item = self._store.get(self._key)
        if item is None or _owner(item.value) == self._owner:
            return 0 if item is None else item.mod_revision
        by, now = _owner(item.value), self._monotonic()
        if self._taken_since is None or self._taken_by != by:
            self._taken_since, self._taken_by = now, by
        self._outlives = now - self._taken_since > PATIENCE_TTLS * self._ttl
        raise NameTaken(
            f"another living process runs as controller {self._id!r} (session owner {by!r:.100}): give "
            "each replica a KILLSWITCH_CONTROLLER_ID of its own, or none; until then this one cannot act"
        )


def _owner(value: bytes) -> str:
    """Whose session a document says that it is; "" where it does not."""
    try:
        return str(json.loads(value)["owner"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
