"""A worked example: a flag store from outside, by the protocol `Store`. It is a dictionary of one process.

All tests of the contract (tests/integration/stores/test_store_contract.py) run against it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from killswitch.stores import Committed, Compare, Delete, Item, Lease, Lost, Put, Snapshot, Store
from killswitch.stores.limits import check_commit
from tests.integration.stores.test_store_contract import *  # noqa: F403  the contract itself

pytestmark = pytest.mark.simulation


class Server:
    """What all clients share. ``revision`` goes up by one with each commit and each lease that ends with keys."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.items: dict[str, tuple[Item, int | None]] = {}  # with the id of its lease
        self.leases: dict[int, tuple[float, float]] = {}  # seconds to live, and when it ends
        self.revision = 1

    def end_what_is_over(self) -> None:
        now = time.monotonic()
        for lease in [lease for lease, (_, ends) in self.leases.items() if ends <= now]:
            self.end(lease)

    def end(self, lease: int) -> None:
        self.leases.pop(lease, None)
        gone = [key for key, (_, of) in self.items.items() if of == lease]
        self.revision += bool(gone)
        for key in gone:
            del self.items[key]


class DictionaryStore:
    """One client of a `Server`."""

    _leases = itertools.count(1)

    def __init__(self, server: Server) -> None:
        self._server = server

    def get(self, key: str) -> Item | None:
        with self._server.lock:
            self._server.end_what_is_over()
            found = self._server.items.get(key)
            return None if found is None else found[0]

    def list(self, prefix: str) -> Snapshot:
        with self._server.lock:
            self._server.end_what_is_over()
            items = (item for key, (item, _) in sorted(self._server.items.items()) if key.startswith(prefix))
            return Snapshot(tuple(items), self._server.revision)

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        check_commit(compares, writes)  # raises BadTransaction: what etcd would refuse, no store takes
        server = self._server
        with server.lock:
            server.end_what_is_over()
            for compare in compares:
                found = server.items.get(compare.key)
                if (found[0].mod_revision if found else 0) != compare.mod_revision:
                    return Lost()
            named = {write.lease.id for write in writes if isinstance(write, Put) and write.lease is not None}
            if not named <= server.leases.keys():
                return Lost()  # a lease has ended
            server.revision += 1
            for write in writes:
                if isinstance(write, Delete):
                    server.items.pop(write.key, None)
                else:
                    lease = write.lease.id if write.lease else None
                    server.items[write.key] = (Item(write.key, write.value, server.revision), lease)
            return Committed(server.revision)

    def grant(self, ttl: float) -> Lease:
        before = time.monotonic()  # counted from before the request, so it never outlives the server's view
        with self._server.lock:
            lease = Lease(next(self._leases), ttl, before + ttl)
            self._server.leases[lease.id] = (ttl, time.monotonic() + ttl)
            return lease

    def keep_alive(self, lease: Lease) -> Lease | None:
        before = time.monotonic()
        with self._server.lock:
            self._server.end_what_is_over()
            if lease.id not in self._server.leases:
                return None
            self._server.leases[lease.id] = (lease.ttl, time.monotonic() + lease.ttl)
            return Lease(lease.id, lease.ttl, before + lease.ttl)

    def revoke(self, lease: Lease) -> None:
        with self._server.lock:
            self._server.end(lease.id)

    def close(self) -> None:
        """Nothing is held open."""


# The fixtures of the contract, for the new store: these replace tests/integration/stores/conftest.py.


@pytest.fixture
def open_again() -> Callable[[], Store]:
    server = Server()
    return lambda: DictionaryStore(server)


@pytest.fixture
def store(open_again: Callable[[], Store]) -> Store:
    return open_again()


@pytest.fixture
def prefix() -> str:
    return "/test/"
