"""Watches a store that does not report changes: a cheap look at short intervals, and a read when it differs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from killswitch.errors import AccessDenied, BadDocument, Unavailable
from killswitch.stores.reader import Change, Connected, Disconnected, Reader, Resync, WatchEvent

_RACY = 0.1  # seconds; file systems stamp changes only to a tick of the kernel's clock


def file_stamp(*paths: Path) -> object:
    """A value that differs when one of the files does. It always differs after a very recent change."""
    stamps: list[tuple[int, ...] | None] = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            stamps.append(None)
            continue
        if abs(time.time() - status.st_mtime) < _RACY:
            return object()
        stamps.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(stamps)


class PollingWatch:
    """One key, or all keys under a prefix, being watched; see `Watch`.

    ``stamp`` is a cheap look: a value that differs when anything may have changed. It is taken every
    ``interval`` seconds. Under a prefix, a key that was deleted between the read and the first look is not noticed: the
    follower's next read finds it gone.
    """

    def __init__(
        self,
        reader: Reader,
        name: str,
        after: int,
        *,
        prefix: bool = False,
        stamp: Callable[[], object],
        interval: float,
    ) -> None:
        self._reader = reader
        self._name = name
        self._prefix = prefix
        self._stamp = stamp
        self._interval = interval
        self._closed = threading.Event()
        self._after = after
        self._present: frozenset[str] | None = None  # keys; unknown before the first look
        self._look = threading.Event()  # read at the next look, even if the stamp is equal
        self._look.set()

    def __iter__(self) -> Iterator[WatchEvent]:
        seen: object = None
        broken = False
        yield Connected(self._after)
        while not self._closed.is_set():
            try:
                stamp = self._stamp()
                if broken or self._look.is_set() or stamp != seen:
                    self._look.clear()
                    yield from self._changes()
                    seen = stamp  # taken before the read, so a change in between is read at the next look
                if broken:
                    yield Connected(self._after)
                broken = False
            except (Unavailable, AccessDenied) as error:
                if not broken:
                    yield Disconnected(str(error))
                broken = True
            except BadDocument as error:
                raise Resync(str(error)) from error  # the follower's own read finds out what is wrong
            self._closed.wait(self._interval)

    def restart(self, after: int) -> None:
        self._after = after
        self._present = None
        self._look.set()  # the key may have been deleted and written again since

    def close(self) -> None:
        self._closed.set()

    def _changes(self) -> Iterator[WatchEvent]:
        if self._prefix:
            view = self._reader.read((), prefixes=(self._name,))
            expected: frozenset[str] = frozenset()
        else:
            view = self._reader.read((self._name,))
            expected = frozenset({self._name})
        found = {key: item for key, item in view.items.items() if self._prefix or key == self._name}
        after = self._after
        gone = (expected if self._present is None else self._present) - found.keys()
        # set before yielding: `restart` may be called meanwhile and must not be undone
        self._after, self._present = max(after, view.revision), frozenset(found)
        changes = [Change(key, item, item.mod_revision) for key, item in found.items() if item.mod_revision > after]
        if view.revision > after:
            changes += [Change(key, None, view.revision) for key in gone]
        yield from sorted(changes, key=lambda change: (change.revision, change.key))
