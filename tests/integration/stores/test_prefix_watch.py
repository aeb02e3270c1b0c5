"""Readers that watch a prefix and read what has changed there: etcd, the embedded store, and a file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.stores import Delete, Put, keys
from killswitch.stores.opening import open_store
from killswitch.stores.reader import Change, Reader
from killswitch.stores.reader_opening import open_reader
from tests.servers.etcd import EtcdCluster, wait_until


class Written:
    """The store under test, as its writer has it; a value is ``{"role": …, "n": …}``."""

    def __init__(self, kind: str, url: str) -> None:
        self.reader: Reader = open_reader(url)
        self._store = None if kind == "file" else open_store(url)
        self._path = Path(url.removeprefix("file://"))
        self._held: dict[str, bytes] = {}

    def set(self, changes: dict[str, int | None]) -> None:
        """All at once; None deletes."""
        for role, number in changes.items():
            if number is None:
                self._held.pop(role)
            else:
                self._held[role] = json.dumps({"role": role, "n": number}).encode()
        if self._store is None:
            whole = self._path.with_name("new")  # renamed into place: a reader finds the old one or the new one
            whole.write_text(json.dumps([json.loads(value) for value in self._held.values()]))
            whole.replace(self._path)
        else:
            writes = [Put(keys.role(r), self._held[r]) if r in self._held else Delete(keys.role(r)) for r in changes]
            self._store.commit((), [*writes, Put(keys.flag("other"), b"not under the prefix")])

    def close(self) -> None:
        self.reader.close()
        if self._store is not None:
            self._store.close()


@pytest.fixture(params=["etcd", "sqlite", "file"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Written]:
    if request.param == "etcd":
        with EtcdCluster(tmp_path) as cluster:
            one = Written("etcd", cluster.url)
            yield one
            one.close()
        return
    one = Written(request.param, f"{request.param}://{tmp_path}/store")
    yield one
    one.close()


def test_a_watched_prefix_brings_each_change_under_it(written: Written) -> None:
    """Writes, deletions and several keys of one transaction come; a key outside of the prefix never does."""
    written.set({"a": 1, "b": 1})
    start = written.reader.read((), prefixes=(keys.ROLES,))
    assert set(start.items) == {keys.role("a"), keys.role("b")}
    watch = written.reader.watch(keys.ROLES, after=start.revision, prefix=True)
    seen: dict[str, bytes | None] = {}
    looks: list[str] = []

    def consume() -> None:
        for event in watch:
            looks.append(type(event).__name__)
            if isinstance(event, Change):
                seen[event.key.removeprefix(keys.ROLES)] = None if event.item is None else event.item.value

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    try:
        wait_until(lambda: "Connected" in looks, "the watch")
        written.set({"a": 2, "c": 1})
        wait_until(lambda: set(seen) == {"a", "c"}, "both changes")
        assert json.loads(seen["a"] or b"{}")["n"] == 2
        written.set({"c": None})
        wait_until(lambda: seen["c"] is None, "the deletion")
        assert set(seen) == {"a", "c"}
    finally:
        watch.close()
        thread.join(20)


def test_a_read_can_ask_for_what_has_changed(written: Written) -> None:
    """Items are those written since; the count under the prefix is of all of them, so a deletion shows."""
    written.set({"a": 1, "b": 1, "c": 1})
    first = written.reader.read((), prefixes=(keys.ROLES,), counted=(keys.ROLES,))
    written.set({"b": 2, "c": None})
    then = written.reader.read((), prefixes=(keys.ROLES,), counted=(keys.ROLES,), changed_after=first.revision)
    assert set(then.items) == {keys.role("b")}
    assert (first.counts[keys.ROLES], then.counts[keys.ROLES]) == (3, 2)
