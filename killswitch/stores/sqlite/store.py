"""The embedded flag store: one SQLite file, for the processes of one machine.

Several processes may use the file at once; SQLite's write-ahead log lets readers continue while one
writes. No history is kept: a revision only numbers the last change of each key.

Leases are points on the machine's monotonic clock, which all its processes share and no one can set.
A restart of the machine begins a new clock and ends every lease. Keys under an ended lease are gone for
every reader at once; the next writer deletes them from the file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Unavailable
from killswitch.private_files import make_private_file
from killswitch.stores import Committed, Compare, Delete, Item, Lease, Lost, Put, Snapshot
from killswitch.stores.limits import check_commit
from killswitch.stores.sqlite import layout

# `alive` is `LeaseClock.alive`. Not LIKE for prefixes: that takes % and _ in them for wildcards.
_GET: Final = """
SELECT key, value, mod_revision FROM items
WHERE key = ? AND (lease IS NULL OR lease IN (SELECT id FROM leases WHERE alive(boot, ttl, expires)))
"""
_LIST: Final = """
SELECT key, value, mod_revision FROM items
WHERE key >= :prefix AND substr(key, 1, length(:prefix)) = :prefix
AND (lease IS NULL OR lease IN (SELECT id FROM leases WHERE alive(boot, ttl, expires)))
ORDER BY key
"""


class SqliteStore:
    """`killswitch.stores.Store` in one file. Safe from any thread, in several processes, across a fork.

    ``timeout``: seconds that a call waits at most for others to release the file. ``clock``: monotonic
    seconds, the same for all processes of the machine. The file is made at the first call.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, timeout: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = Path(path).absolute()
        self._timeout = timeout
        self._clock = layout.LeaseClock(clock)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._passing = False  # whether the connection serves one transaction only
        self._file: tuple[int, int] | None = None
        _stores.add(self)

    # --- Store

    def get(self, key: str) -> Item | None:
        with self._reading() as connection:
            row = connection.execute(_GET, (key,)).fetchone()
        return None if row is None else Item(*row)

    def list(self, prefix: str) -> Snapshot:
        with self._reading() as connection:
            rows = connection.execute(_LIST, {"prefix": prefix}).fetchall()
            return Snapshot(tuple(Item(*row) for row in rows), _revision(connection))

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        """As `Store.commit`; also Lost when a lease named in ``writes`` has ended. Raises BadTransaction."""
        check_commit(compares, writes)
        with self._writing() as connection:
            if not all(_holds(connection, compare) for compare in compares):
                return Lost()
            leases = {write.lease.id for write in writes if isinstance(write, Put) and write.lease is not None}
            if not all(_is_granted(connection, lease) for lease in leases):
                return Lost()
            revision = _revision(connection)
            if not writes:
                return Committed(revision)
            revision = _advance(connection)
            for write in writes:
                _write(connection, write, revision)
            return Committed(revision)

    def grant(self, ttl: float) -> Lease:
        before = self._clock.now()
        with self._writing() as connection:
            # etcd's leases are 63-bit numbers, never 0
            lease = Lease(secrets.randbits(62) + 1, ttl, before + ttl)
            connection.execute(
                "INSERT INTO leases (id, ttl, boot, expires) VALUES (?, ?, ?, ?)",
                (lease.id, ttl, self._clock.boot, self._clock.now() + ttl),
            )
        return lease

    def keep_alive(self, lease: Lease) -> Lease | None:
        before = self._clock.now()
        try:
            with self._writing() as connection:
                if not _is_granted(connection, lease.id):
                    return None
                connection.execute("UPDATE leases SET expires = ? + ttl WHERE id = ?", (self._clock.now(), lease.id))
        except OutcomeUnknown as error:
            # the caller counts on the old end of the lease; a later one is harmless
            raise Unavailable(str(error)) from error
        return Lease(lease.id, lease.ttl, before + lease.ttl)

    def revoke(self, lease: Lease) -> None:
        """End the lease and delete its keys; does nothing if it had ended."""
        with self._writing() as connection:
            connection.execute("DELETE FROM leases WHERE id = ?", (lease.id,))
            _sweep(connection)

    def close(self) -> None:
        with self._holding(Deadline(self._timeout)):
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # --- inner workings

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        # IMMEDIATE: a read lock cannot become a write lock once another process has written
        with self._transaction("BEGIN IMMEDIATE") as connection:
            ended = connection.execute("DELETE FROM leases WHERE NOT alive(boot, ttl, expires)").rowcount
            if ended:
                _sweep(connection)
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        deadline = Deadline(self._timeout)
        with self._holding(deadline):
            try:
                connection = self._open(deadline)
                connection.execute(begin)
            except sqlite3.Error as error:
                self._abandon()
                raise self._failure(error) from error
            try:
                yield connection
            except sqlite3.Error as error:
                self._abandon()
                raise self._failure(error) from error
            except BaseException:
                connection.rollback()
                raise
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._abandon()
                if begin != "BEGIN" and error.sqlite_errorname.startswith("SQLITE_IOERR"):
                    # what reached the disk before the failure may be there after a crash
                    raise OutcomeUnknown(
                        f"{self._failure(error)}; the change may have been made: read again"
                    ) from error
                raise self._failure(error) from error
            if self._passing:
                self._abandon()

    @contextlib.contextmanager
    def _holding(self, deadline: Deadline) -> Iterator[None]:
        lock = self._lock
        if not lock.acquire(timeout=deadline.remaining()):
            raise Unavailable(f"flag store {self._path}: other threads hold it too long")
        try:
            yield
        finally:
            lock.release()

    def _open(self, deadline: Deadline) -> sqlite3.Connection:
        connection = self._connection
        if connection is not None and (self._passing or self._replaced()):
            self._abandon()
            connection = None
        if connection is None:
            make_private_file(self._path)
            address, self._passing = _address(self._path)
            connection = sqlite3.connect(
                address, uri=True, timeout=deadline.remaining(), isolation_level=None, check_same_thread=False
            )
            self._connection = connection
            connection.create_function("alive", 3, self._clock.alive)
            self._prepare(connection, deadline)
            self._file = _identity(self._path)
        connection.execute(f"PRAGMA busy_timeout = {int(deadline.remaining() * 1000)}")
        return connection

    def _prepare(self, connection: sqlite3.Connection, deadline: Deadline) -> None:
        """Create the file, or recognise it. Raises AccessDenied if it is another kind of file."""
        # one transaction for all of it: another process may be creating the file now
        connection.execute("BEGIN")
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        form = connection.execute("PRAGMA user_version").fetchone()[0]
        empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        connection.execute("COMMIT")
        if (application, form) != (layout.APPLICATION_ID, layout.FORMAT):
            if not empty:
                self._abandon()
                raise AccessDenied(
                    f"flag store {self._path}: this is not a flag store of format {layout.FORMAT}; name another file"
                )
            _use_write_ahead_log(connection, deadline)
            connection.executescript(layout.SCHEMA)
        # a trip must survive a power cut
        connection.execute("PRAGMA synchronous = FULL")

    def _replaced(self) -> bool:
        """Whether the file was deleted or replaced; SQLite would write on into the deleted one."""
        return _identity(self._path) != self._file

    def _abandon(self) -> None:
        """After an error, begin with a new connection; closing rolls back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _failure(self, error: sqlite3.Error) -> KillswitchError:
        kind = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").partition("_")[0]
        if kind == "CANTOPEN" and not self._path.parent.is_dir():
            return Unavailable(f"flag store {self._path}: its folder does not exist; create it")
        failure, why = _FAILURES.get(kind, (Unavailable, str(error)))
        return failure(f"flag store {self._path}: {why}")

    # --- No connection may be open while the process forks: the parent alone has SQLite's locks, and the
    # child would believe that it has them.

    def _before_fork(self) -> bool:
        """Close the file and keep others from opening it; whether that succeeded in time."""
        if not self._lock.acquire(timeout=self._timeout):
            return False
        self._abandon()
        return True

    def _after_fork_in_parent(self) -> None:
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        # a thread that does not exist in the child may have held it
        self._lock = threading.Lock()


_FAILURES: Final[Mapping[str, tuple[type[KillswitchError], str]]] = {
    "BUSY": (Unavailable, "another process keeps it locked"),
    "LOCKED": (Unavailable, "another process keeps it locked"),
    "FULL": (Unavailable, "the disk is full; make room"),
    "READONLY": (AccessDenied, "it is read only; check the permissions of the file and its folder"),
    "PERM": (AccessDenied, "it may not be opened; check the permissions of the file and its folder"),
    "CANTOPEN": (AccessDenied, "it cannot be opened; check the permissions of the file and its folder"),
    "NOTADB": (AccessDenied, "this is not an SQLite file; name another file"),
    "CORRUPT": (Unavailable, "the file is damaged; restore it, or move it away and arm again"),
}

_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()
_held: Final[list[SqliteStore]] = []


def _let_go() -> None:
    _held[:] = [store for store in list(_stores) if store._before_fork()]  # noqa: SLF001  the class's own hook


def _go_on_in_parent() -> None:
    for store in _held:
        store._after_fork_in_parent()  # noqa: SLF001  the class's own hook
    _held.clear()


def _go_on_in_child() -> None:
    for store in list(_stores):
        store._after_fork_in_child()  # noqa: SLF001  the class's own hook
    _held.clear()


os.register_at_fork(before=_let_go, after_in_parent=_go_on_in_parent, after_in_child=_go_on_in_child)


def _address(path: Path) -> tuple[str, bool]:
    """How to open the file, and whether what is read may soon be out of date.

    A process that may not write needs the log's index from one that may. Without a log no process has the file
    open; then it is read once, as it is.
    """
    if not path.exists() or os.access(path, os.W_OK):
        return path.as_uri(), False
    alone = not path.with_name(path.name + "-wal").exists()
    return f"{path.as_uri()}?mode=ro{'&immutable=1' if alone else ''}", alone


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _use_write_ahead_log(connection: sqlite3.Connection, deadline: Deadline) -> None:
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # SQLite does not wait here while another process creates the file
            if error.sqlite_errorname != "SQLITE_BUSY" or deadline.expired:
                raise
            time.sleep(0.01)
        else:
            return


def _is_granted(connection: sqlite3.Connection, lease: int) -> bool:
    """Whether the lease is alive; for writers, which have deleted ended leases."""
    return connection.execute("SELECT 1 FROM leases WHERE id = ?", (lease,)).fetchone() is not None


def _revision(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT revision FROM store").fetchone()[0])


def _advance(connection: sqlite3.Connection) -> int:
    return int(connection.execute("UPDATE store SET revision = revision + 1 RETURNING revision").fetchone()[0])


def _holds(connection: sqlite3.Connection, compare: Compare) -> bool:
    row = connection.execute("SELECT mod_revision FROM items WHERE key = ?", (compare.key,)).fetchone()
    return (0 if row is None else row[0]) == compare.mod_revision


def _write(connection: sqlite3.Connection, write: Put | Delete, revision: int) -> None:
    if isinstance(write, Delete):
        connection.execute("DELETE FROM items WHERE key = ?", (write.key,))
    else:
        connection.execute(
            "INSERT OR REPLACE INTO items (key, value, mod_revision, lease) VALUES (?, ?, ?, ?)",
            (write.key, write.value, revision, None if write.lease is None else write.lease.id),
        )


def _sweep(connection: sqlite3.Connection) -> None:
    """Delete the keys of leases that have ended; like any change, this takes a revision."""
    gone = connection.execute(
        "DELETE FROM items WHERE lease IS NOT NULL AND lease NOT IN (SELECT id FROM leases)"
    ).rowcount
    if gone:
        _advance(connection)
