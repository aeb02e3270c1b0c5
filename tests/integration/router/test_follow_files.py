"""Followers of what is no etcd: a mounted file, and the embedded store; and of something that answers garbage."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.errors import BadDocument, Unavailable
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.router.failsafe import RouterState, StalePolicy
from killswitch.router.follow import Follower
from killswitch.router.observers import Happening
from killswitch.stores import Committed, Delete, Put, keys
from killswitch.stores.file import FileReader
from killswitch.stores.reader import Change, Connected, Reader
from killswitch.stores.reader_opening import open_reader
from killswitch.stores.sqlite.reader import SqliteReader
from killswitch.stores.sqlite.store import SqliteStore
from tests.doubles.flags import ROLLOUT, armed, tripped
from tests.doubles.http_double import Answer, HttpDouble
from tests.integration.router.following import until
from tests.servers.etcd import wait_until

NAME = keys.flag(ROLLOUT)


@contextlib.contextmanager
def following(reader: Reader, *, policy: StalePolicy | None = None, reread_every: float = 3600.0) -> Iterator[Follower]:
    follower = Follower(ROLLOUT, reader, policy=policy, reread_every=reread_every, control_model="model-old")
    follower.start()
    try:
        yield follower
    finally:
        follower.close()


# --- a file -------------------------------------------------------------------------------------


class ConfigMap:
    """A folder as the kubelet writes it: ``..data`` is a link to the version, and every file a link through it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version = 0
        self.path = folder / "flags.json"

    def write(self, content: str | bytes) -> None:
        self._version += 1
        version = self._folder / f"..version_{self._version}"
        version.mkdir()
        (version / "flags.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        swap = self._folder / "..data_tmp"
        swap.symlink_to(version.name)
        swap.replace(self._folder / "..data")
        if not self.path.is_symlink():
            self.path.symlink_to("..data/flags.json")


def text(flag: Flag) -> str:
    return flag_document(flag).decode()


def test_a_mounted_file_is_followed_across_the_swap_of_its_link(tmp_path: Path) -> None:
    mounted = ConfigMap(tmp_path)
    mounted.write(text(armed()))
    with following(open_reader(f"file://{mounted.path}")) as follower:
        until(follower, RouterState.ARMED, canary_percent=50.0)
        mounted.write(text(armed(percent=5.0)))
        until(follower, RouterState.ARMED, canary_percent=5.0)
        mounted.write(text(tripped()))
        until(follower, RouterState.TRIPPED)
        mounted.write(text(armed()))
        until(follower, RouterState.OUTDATED)
        mounted.write(text(armed(generation=2)))
        until(follower, RouterState.ARMED, generation=2)
        assert follower.health().controllers is None, "nobody leaves heartbeats in a file"


def test_a_list_holds_the_flags_of_several_rollouts(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    other = json.loads(text(armed())) | {"rollout": "another", "canary_percent": 99.0}
    path.write_text(json.dumps([other, json.loads(text(armed()))]))
    with following(FileReader(path)) as follower:
        until(follower, RouterState.ARMED, canary_percent=50.0)
        path.write_text(json.dumps([other]))
        until(follower, RouterState.NO_FLAG)


def test_a_file_that_is_missing_or_removed_means_control(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    with following(FileReader(path)) as follower:
        until(follower, RouterState.NO_FLAG)
        path.write_text(text(armed()))
        until(follower, RouterState.ARMED)
        path.unlink()
        until(follower, RouterState.NO_FLAG)


def test_a_restarted_watch_reads_an_unchanged_file_again(tmp_path: Path) -> None:
    """Missing, there, missing: what a re-read saw in between must not be obeyed for ever."""
    path = tmp_path / "flags.json"
    reader = FileReader(path)
    watch = reader.watch(NAME, after=0)
    events = iter(watch)
    assert [next(events), next(events)] == [Connected(0), Change(NAME, None, 1)]
    path.write_text(text(armed()))
    between = reader.read([NAME]).revision
    path.unlink()
    watch.restart(between)
    assert next(events) == Change(NAME, None, between + 1)
    watch.close()


def test_a_file_edited_in_place_to_the_same_length_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text(armed(percent=50.0)))
    with following(FileReader(path)) as follower:
        until(follower, RouterState.ARMED, canary_percent=50.0)
        for percent in (10.0, 20.0, 30.0, 40.0):
            path.write_text(text(armed(percent=percent)))
            until(follower, RouterState.ARMED, canary_percent=percent)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"3",
        b"\xff",
        b"[" * 50_000,
        b'["x"]',
        json.dumps([json.loads(text(armed()))] * 2).encode(),
        text(armed()).replace(ROLLOUT, "another").encode(),
        text(armed()).replace('"format": 1', '"format": 2').encode(),
        text(armed()).replace("50.0", "NaN").encode(),
    ],
)
def test_a_corrupt_file_means_control_until_a_good_one_comes(tmp_path: Path, content: bytes) -> None:
    """With a corrupt file no request reaches the canary. With a good file requests reach it again."""
    path = tmp_path / "flags.json"
    path.write_text(text(armed()))
    with following(FileReader(path)) as follower:
        until(follower, RouterState.ARMED)
        path.write_bytes(content)
        wait_until(lambda: follower.current.canary_percent == 0.0, "control")
        # a list in which this rollout is not named is no error: it has no flag
        expected = RouterState.NO_FLAG if content == b'["x"]' else RouterState.CORRUPT
        # a file that is being written is empty for a moment
        wait_until(lambda: follower.current.standing is expected, "its standing")
        path.write_text(text(armed()))
        until(follower, RouterState.ARMED, canary_percent=50.0)


def test_a_huge_file_is_refused_without_being_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadDocument, match="over"):
        FileReader(path).read([NAME])


# --- the embedded store -------------------------------------------------------------------------


def commit(store: SqliteStore, *writes: Put | Delete) -> int:
    outcome = store.commit((), writes)
    assert isinstance(outcome, Committed)
    return outcome.revision


def test_the_embedded_store_is_followed_without_writing_to_it(tmp_path: Path) -> None:
    path = tmp_path / "flags.db"
    reader = open_reader(f"sqlite://{path}")
    with pytest.raises(Unavailable, match="no such file"):
        reader.read([NAME])
    assert not path.exists()
    store = SqliteStore(path)
    first = commit(store, Put(NAME, flag_document(armed())))
    with following(reader) as follower:
        until(follower, RouterState.ARMED, revision=first)
        second = commit(store, Put(NAME, flag_document(tripped())))
        until(follower, RouterState.TRIPPED, revision=second)
        commit(store, Delete(NAME))
        until(follower, RouterState.NO_FLAG)
    store.close()


def test_many_changes_in_a_row_end_in_the_last_one(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "flags.db")
    commit(store, Put(NAME, flag_document(armed())))
    with following(SqliteReader(tmp_path / "flags.db")) as follower:
        until(follower, RouterState.ARMED)
        for percent in range(1, 40):
            last = commit(store, Put(NAME, flag_document(armed(percent=float(percent)))))
        until(follower, RouterState.ARMED, canary_percent=39.0, revision=last)
    store.close()


def test_a_controllers_heartbeat_counts_while_its_lease_lives(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "flags.db")
    reader = SqliteReader(tmp_path / "flags.db")
    lease = store.grant(60.0)
    commit(store, Put(keys.controller("a"), b"{}", lease), Put(keys.controller("b"), b"{}", store.grant(0.2)))

    def alive() -> int:
        return reader.read([], counted=[keys.CONTROLLERS]).counts[keys.CONTROLLERS]

    wait_until(lambda: alive() == 1, "the end of the short lease")
    assert set(reader.read([], prefixes=[keys.CONTROLLERS]).items) == {keys.controller("a")}
    store.revoke(lease)
    assert alive() == 0
    store.close()


def test_a_file_that_is_no_flag_store_means_control(tmp_path: Path) -> None:
    path = tmp_path / "flags.db"
    store = SqliteStore(path)
    commit(store, Put(NAME, flag_document(armed())))
    store.close()
    with following(SqliteReader(path), reread_every=0.5) as follower:
        until(follower, RouterState.ARMED)
        foreign = tmp_path / "foreign.db"
        with contextlib.closing(sqlite3.connect(foreign)) as connection:
            connection.execute("CREATE TABLE t (x)")
        foreign.replace(path)
        until(follower, RouterState.CORRUPT)
        path.write_bytes(b"no database at all" * 100)
        wait_until(lambda: follower.health().counts[Happening.READ_FAILED] > 2, "further reads")
        assert follower.current.canary_percent == 0.0


# --- what answers garbage -----------------------------------------------------------------------


def test_garbage_from_the_store_means_control_and_one_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the store begins to answer garbage, all traffic goes to control and one line is logged."""
    view = {"header": {"revision": "7"}, "succeeded": True}
    kv = {"key": _b64(NAME), "mod_revision": "7", "value": _b64(text(armed()))}
    whole = {**view, "responses": [_range(kvs=[kv], count="1"), _range(count="1")]}
    answers = [json.dumps(whole).encode()]

    def respond(request: object) -> Answer:
        return Answer(body=answers[0])

    with HttpDouble(respond) as double:
        port = double.url.rpartition(":")[2].strip("/")
        with following(open_reader(f"etcd://127.0.0.1:{port}"), reread_every=0.2) as follower:
            until(follower, RouterState.ARMED, canary_percent=50.0)
            answers[0] = b"<html>It works!</html>"
            until(follower, RouterState.CORRUPT, canary_percent=0.0)
            for number in range(5):
                answers[0] = b"babble %d" % number
                heard = len(double.received)
                wait_until(lambda heard=heard: len(double.received) > heard + 1, "two more reads")  # type: ignore[misc]  # bound early
            said = [r.getMessage() for r in caplog.records if "cannot be understood" in r.getMessage()]
            assert len(said) == 1
            answers[0] = json.dumps(whole).encode()
            until(follower, RouterState.ARMED, canary_percent=50.0)


def _range(**fields: object) -> dict[str, object]:
    return {"response_range": fields}


def _b64(value: str) -> str:
    return base64.b64encode(value.encode()).decode()
