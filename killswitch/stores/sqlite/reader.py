"""Reads flags from the embedded store's file, and never writes to it.

What the file holds is in `killswitch.stores.sqlite.layout`. Every read opens the file again, read-only, so nothing
is held across a fork, and a replaced file is noticed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from killswitch.errors import AccessDenied, BadDocument, KillswitchError, Unavailable
from killswitch.stores import Item
from killswitch.stores.polling import PollingWatch, file_stamp
from killswitch.stores.reader import READ_TIMEOUT, ReadView
from killswitch.stores.sqlite import layout

_POLL = 0.25  # seconds
_ROWS = """
SELECT items.key, items.value, items.mod_revision FROM items LEFT JOIN leases ON items.lease = leases.id
WHERE (items.lease IS NULL OR alive(leases.boot, leases.ttl, leases.expires))
"""


class SqliteReader:
    """A `Reader` of one file. ``clock``: monotonic seconds, the same for all processes of the machine."""

    sees_controllers = True

    def __init__(
        self, path: Path, *, timeout: float = READ_TIMEOUT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path.absolute()
        self._timeout = timeout
        self._clock = layout.LeaseClock(clock)

    def describe(self) -> str:
        return f"sqlite file {self._path}"

    def read(
        self,
        names: Sequence[str],
        *,
        prefixes: Sequence[str] = (),
        counted: Sequence[str] = (),
        changed_after: int = 0,
        timeout: float | None = None,
    ) -> ReadView:
        """See `Reader.read`. Raises Unavailable if the file does not exist yet."""
        with self._reading(self._timeout if timeout is None else timeout) as connection:
            items: dict[str, Item] = {}
            for name in names:
                _add(items, connection.execute(f"{_ROWS} AND items.key = ?", (name,)))
            for prefix in prefixes:
                changed = {"prefix": prefix, "after": changed_after}
                _add(items, connection.execute(f"{_ROWS} AND {_BEGINS} AND items.mod_revision > :after", changed))
            counts = {
                prefix: int(
                    connection.execute(
                        f"SELECT count(*) FROM ({_ROWS} AND {_BEGINS})",  # noqa: S608  # constants
                        {"prefix": prefix},
                    ).fetchone()[0]
                )
                for prefix in counted
            }
            revision = int(connection.execute("SELECT revision FROM store").fetchone()[0])
        return ReadView(items, revision, counts)

    def watch(self, name: str, *, after: int, prefix: bool = False) -> PollingWatch:
        log = self._path.with_name(self._path.name + "-wal")
        return PollingWatch(self, name, after, prefix=prefix, stamp=lambda: file_stamp(self._path, log), interval=_POLL)

    def forget(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""

    @contextlib.contextmanager
    def _reading(self, timeout: float) -> Iterator[sqlite3.Connection]:
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(self._path))}?mode=ro", uri=True, timeout=timeout, isolation_level=None
            )
            connection.create_function("alive", 3, self._alive)
            connection.execute("BEGIN")  # one revision for everything read
            self._recognise(connection)
            yield connection
        except sqlite3.Error as error:
            raise self._failure(error) from error
        except (TypeError, ValueError, IndexError) as error:  # a missing row, or text instead of a number
            raise BadDocument(f"flag store {self._path}: its rows are not as expected ({error})") from error
        finally:
            if connection is not None:
                connection.close()

    def _alive(self, boot: object, ttl: object, expires: object) -> bool:
        # NULL if the lease has ended
        if not isinstance(boot, str) or not isinstance(ttl, float) or not isinstance(expires, float):
            return False
        return self._clock.alive(boot, ttl, expires)

    def _recognise(self, connection: sqlite3.Connection) -> None:
        found = tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        wanted = (layout.APPLICATION_ID, layout.FORMAT)
        if found != wanted:
            raise BadDocument(f"flag store {self._path}: this is not a flag store of format {wanted[1]}")

    def _failure(self, error: sqlite3.Error) -> KillswitchError:
        if not self._path.exists():
            return Unavailable(f"flag store {self._path}: there is no such file yet; the daemon creates it")
        kind = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").partition("_")[0]
        if kind in ("PERM", "CANTOPEN", "READONLY", "AUTH"):
            return AccessDenied(f"flag store {self._path}: it may not be read; check the permissions ({error})")
        if kind in ("NOTADB", "CORRUPT"):
            return BadDocument(f"flag store {self._path}: {error}")
        return Unavailable(f"flag store {self._path}: {error}")


# not LIKE, which would read % and _ in the prefix as wildcards
_BEGINS = "items.key >= :prefix AND substr(items.key, 1, length(:prefix)) = :prefix"


def _add(items: dict[str, Item], rows: sqlite3.Cursor) -> None:
    for key, value, revision in rows:
        if not isinstance(value, bytes):
            raise TypeError(f"{key}: the value is not a blob")
        items[str(key)] = Item(str(key), value, int(revision))
