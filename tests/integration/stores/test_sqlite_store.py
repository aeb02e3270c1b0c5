"""The embedded store: several processes, forks, restarts of the machine, and files that will not do."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from killswitch.errors import AccessDenied, BadSettings, OutcomeUnknown, Unavailable
from killswitch.net.credentials import TLS
from killswitch.stores import Committed, Compare, Lost, Put
from killswitch.stores.opening import open_store
from killswitch.stores.sqlite.store import SqliteStore
from tests.servers.etcd import wait_until

PATIENT = 60.0


class Clock:
    """The machine's monotonic clock, set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path, timeout=PATIENT)
    yield store
    store.close()


def revision_of(committed: Committed | Lost) -> int:
    assert isinstance(committed, Committed)
    return committed.revision


# --- several processes

_COUNT = """
import sys
from killswitch.stores import Committed, Compare, Put
from killswitch.stores.sqlite.store import SqliteStore

store = SqliteStore(sys.argv[1], timeout=60)
done = 0
while done < 50:
    item = store.get("counter")
    value, revision = (int(item.value), item.mod_revision) if item else (0, 0)
    done += isinstance(store.commit([Compare("counter", revision)], [Put("counter", b"%d" % (value + 1))]), Committed)
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    out, problems = process.communicate(timeout=PATIENT)
    assert process.returncode == 0, problems
    return out


def test_processes_that_start_without_a_file_count_correctly(path: Path, store: SqliteStore) -> None:
    """Processes that start without a file and count together lose no count."""
    for process in [python(_COUNT, path) for _ in range(4)]:
        finished(process)
    item = store.get("counter")
    assert item is not None
    assert item.value == b"200"


@pytest.mark.parametrize("statement", range(8))
def test_a_file_made_while_it_is_being_recognised_is_recognised(
    path: Path, monkeypatch: pytest.MonkeyPatch, statement: int
) -> None:
    """A file that another process makes while ours examines it is recognised correctly."""
    connect = sqlite3.connect
    statements = itertools.count()

    class Overtaken(sqlite3.Connection):
        """Before one of its statements another process makes the file, if it can."""

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if next(statements) == statement:
                with monkeypatch.context() as undone:
                    undone.setattr(sqlite3, "connect", connect)
                    other = SqliteStore(path, timeout=0.1)
                    with contextlib.suppress(Unavailable):
                        other.commit([], [Put("other", b"1")])
                    other.close()
            return super().execute(sql, parameters)

    monkeypatch.setattr(sqlite3, "connect", functools.partial(connect, factory=Overtaken))
    store = SqliteStore(path, timeout=PATIENT)
    store.commit([], [Put("ours", b"1")])
    assert store.get("ours") is not None
    assert next(statements) > statement
    store.close()


def test_a_process_killed_while_writing_leaves_whole_commits(path: Path, store: SqliteStore) -> None:
    """A process that is killed while it writes leaves only whole commits."""
    endless = """
        import itertools, sys
        from killswitch.stores import Put
        from killswitch.stores.sqlite.store import SqliteStore
        store = SqliteStore(sys.argv[1], timeout=60)
        for number in itertools.count():
            value = b"%d" % number
            store.commit([], [Put("a", value), Put("b", value * 1000)])
    """
    for round_ in range(5):
        process = python(endless, path)
        before = store.list("").revision
        wait_until(lambda before=before: store.list("").revision > before + 20 * round_, "commits by the process")  # type: ignore[misc]  # noqa: B023  called at once
        process.send_signal(signal.SIGKILL)
        process.communicate()
        a, b = store.list("").items
        assert (a.value * 1000, a.mod_revision) == (b.value, b.mod_revision)
    assert isinstance(store.commit([], [Put("a", b"after")]), Committed)


def test_a_forked_child_and_its_parent_use_the_store_side_by_side(path: Path, store: SqliteStore) -> None:
    store.commit([], [Put("parent", b"0")])

    def child() -> None:
        for number in range(50):
            store.commit([], [Put("child", b"%d" % number)])
        store.close()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    for number in range(50):
        store.commit([], [Put("parent", b"%d" % number)])
    process.join(PATIENT)
    assert process.exitcode == 0
    assert [(item.key, item.value) for item in store.list("").items] == [("child", b"49"), ("parent", b"49")]
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_lease_of_a_process_that_died_ends_for_the_others(path: Path) -> None:
    clock = Clock()
    dead, alive = SqliteStore(path, clock=clock), SqliteStore(path, clock=clock)
    lease = dead.grant(15)
    dead.commit([], [Put("claim", b"1", lease)])
    clock.now += 14.9
    assert alive.get("claim") is not None
    assert alive.commit([Compare("claim", 0)], [Put("claim", b"2")]) == Lost()
    clock.now += 0.2
    assert alive.get("claim") is None
    assert alive.list("").items == ()
    assert isinstance(alive.commit([Compare("claim", 0)], [Put("claim", b"2")]), Committed)
    assert dead.keep_alive(lease) is None


def test_the_end_of_a_lease_takes_a_revision_as_any_change_does(path: Path) -> None:
    clock = Clock()
    store = SqliteStore(path, clock=clock)
    lease = store.grant(15)
    first = revision_of(store.commit([], [Put("claim", b"1", lease)]))
    clock.now += 16
    assert revision_of(store.commit([], [Put("other", b"1")])) > first + 1


@pytest.mark.parametrize("named", [True, False], ids=["boot-id", "no-boot-id"])
def test_a_restart_of_the_machine_ends_every_lease(path: Path, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    clock.now = 1_000_000.0
    store = SqliteStore(path, clock=clock)
    store._clock.boot = "one" if named else ""
    store.commit([], [Put("claim", b"1", store.grant(15)), Put("flag", b"1")])
    store.close()
    clock.now = 30.0  # the clock began again
    store._clock.boot = "two" if named else ""
    assert [item.key for item in store.list("").items] == ["flag"]
    assert isinstance(store.commit([Compare("claim", 0)], [Put("claim", b"2")]), Committed)


# --- trouble with the file


def test_a_file_that_is_locked_is_unavailable_until_released(path: Path) -> None:
    """A file that another process keeps locked is Unavailable for changes, and works once it is released."""
    store = SqliteStore(path, timeout=0.2)
    store.commit([], [Put("a", b"1")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for change in (lambda: store.commit([], [Put("a", b"2")]), lambda: store.grant(5)):
        with pytest.raises(Unavailable, match="another process keeps it locked"):
            change()
    item = store.get("a")  # who reads does not wait for who writes
    assert item is not None
    assert item.value == b"1"
    other.rollback()
    assert isinstance(store.commit([], [Put("a", b"2")]), Committed)


def test_a_deleted_file_is_begun_anew_and_a_restored_one_is_read(path: Path, store: SqliteStore) -> None:
    store.commit([], [Put("a", b"old")])
    store.close()
    backup = path.with_suffix(".backup")
    shutil.copy(path, backup)
    store.commit([], [Put("a", b"new")])
    for file in path.parent.glob("flags.db*"):
        file.unlink()
    assert store.get("a") is None
    store.close()
    backup.replace(path)
    item = store.get("a")
    assert item is not None
    assert item.value == b"old"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"this is no database, " * 100), "not an SQLite file"),
        (lambda path: sqlite3.connect(path).executescript("CREATE TABLE t (x)"), "not a flag store"),
        (
            lambda path: sqlite3.connect(path).executescript("PRAGMA application_id=7; CREATE TABLE t (x)"),
            "not a flag store",
        ),
        (lambda path: path.mkdir(), "cannot be opened"),
    ],
    ids=["garbage", "another-program", "another-id", "folder"],
)
def test_what_is_not_a_flag_store_is_refused_and_left_alone(path: Path, make: object, said: str) -> None:
    make(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else None
    store = SqliteStore(path)
    for call in (lambda: store.get("a"), lambda: store.commit([], [Put("a", b"1")])):
        with pytest.raises(AccessDenied, match=said):
            call()
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_damaged_file_is_unavailable_with_what_to_do(path: Path, store: SqliteStore) -> None:
    store.commit([], [Put(f"{number:03}", b"x" * 1000) for number in range(100)])
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(Unavailable, match="damaged"):
        store.list("")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach; pytest's own they cannot."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_somebody_else(path: Path, line: Connection) -> None:
    if os.getuid() == 0:  # root may do anything
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    line.recv()  # the file is as the test wants it
    store = SqliteStore(path)
    item = store.get("a")
    line.send(None if item is None else item.value)
    try:
        store.commit([], [Put("a", b"2")])
    except AccessDenied as error:
        line.send(str(error))


@pytest.mark.parametrize("running", [True, False], ids=["beside-a-writer", "alone"])
def test_a_read_only_file_is_read_and_a_change_says_why_it_fails(open_folder: Path, running: bool) -> None:
    """A read-only file is read. A change fails and says why."""
    path = open_folder / "flags.db"
    store = SqliteStore(path, timeout=PATIENT)
    store.commit([], [Put("a", b"1")])
    for file in open_folder.iterdir():
        file.chmod(0o444)
    open_folder.chmod(0o555)
    here, there = multiprocessing.Pipe()
    # a fork, because somebody else may not be able to start our Python
    process = multiprocessing.get_context("fork").Process(target=as_somebody_else, args=(path, there))
    process.start()  # the parent lets go of the file for that
    if running:
        store.get("a")
    assert (open_folder / "flags.db-wal").exists() is running
    here.send("go")
    process.join(PATIENT)
    open_folder.chmod(0o755)
    assert process.exitcode == 0
    assert here.recv() == b"1"
    assert "it is read only; check the permissions" in here.recv()
    store.close()


_FULL_DISK = """
import resource, signal, sys
from killswitch.errors import OutcomeUnknown, Unavailable
from killswitch.stores import Put
from killswitch.stores.sqlite.store import SqliteStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SqliteStore(sys.argv[1])
store.commit([], [Put("a", b"1")])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    for number in range(100):
        store.commit([], [Put("big", b"x" * 50_000 + b"%d" % number), Put("last", b"%d" % number)])
except (OutcomeUnknown, Unavailable) as error:
    print(type(error).__name__)
    items = {item.key: item.value for item in store.list("").items}
    assert items["big"] == b"x" * 50_000 + items["last"], "half a commit"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.commit([], [Put("a", b"2")])
print(store.get("a").value.decode())
"""


def test_a_file_that_cannot_grow_refuses_commits_and_recovers(path: Path) -> None:
    """A file that cannot grow refuses whole commits, and accepts them again once there is space."""
    kind, value = finished(python(_FULL_DISK, path)).splitlines()
    assert kind in {OutcomeUnknown.__name__, Unavailable.__name__}
    assert value == "2"


def test_a_full_disk_says_so(path: Path, store: SqliteStore) -> None:
    store.commit([], [Put("a", b"1")])
    assert store._connection is not None
    # what SQLite says when the disk is full, without filling one
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match="disk is full"):
        store.commit([], [Put("a", b"x" * 100_000)])
    item = store.get("a")
    assert item is not None
    assert item.value == b"1"


# --- opening


def test_a_url_opens_the_store_and_foreign_settings_are_refused(tmp_path: Path) -> None:
    """A URL opens the store. Settings that do not belong to this kind of store are refused."""
    store = open_store(f"sqlite://{tmp_path}/flags.db")
    assert isinstance(store, SqliteStore)
    assert not list(tmp_path.iterdir())  # nothing is made before it is used
    with pytest.raises(BadSettings, match="remove TLS files"):
        open_store(f"sqlite://{tmp_path}/flags.db", tls=TLS())
    with pytest.raises(BadSettings, match="there is no folder"):
        open_store(f"sqlite://{tmp_path}/missing/flags.db")
    with pytest.raises(BadSettings, match="read only"):
        open_store(f"file://{tmp_path}/flags.json")
    with pytest.raises(BadSettings, match="together, or neither"):
        open_store("etcd://localhost", user="root")
    with pytest.raises(BadSettings, match="write etcds://"):
        open_store("etcd://localhost", tls=TLS(tmp_path / "ca.pem"))
