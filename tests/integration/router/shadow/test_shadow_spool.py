"""The folder of raw pairs on a real disk: whole files, private, bounded, and no caller that waits for it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from killswitch.router.shadow.drops import Drop
from killswitch.router.shadow.raw_pair import Dropped, RawAnswer, RawPair
from killswitch.router.shadow.spool import Spool
from killswitch.shadow.raw_files import RawFiles
from tests.doubles.finished_requests import drops, pairs
from tests.servers.etcd import wait_until

ANSWER = RawAnswer(model="m", outcome="ok", seconds=1.0, text="an answer")


def pair(name: str = "r", text: str = "") -> RawPair:
    return RawPair(name, "support", 1, 1.0, "candidate", {"messages": [text]}, ANSWER, ANSWER)


def test_files_are_whole_private_and_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "spool"
    spool = Spool(folder)
    for number in range(3):
        spool.put(pair(f"r{number}"))
        spool.put(Dropped("support", 1.0, {"budget": 1}))
        assert spool.write() == 0
    names = sorted(path.name for path in folder.iterdir())
    assert [name.split("-")[1] for name in names] == [str(os.getpid())] * 3
    assert all(len(name.split("-")[0]) == 13 and name.endswith(".raw") for name in names)
    assert [one.id for one in pairs(folder)] == ["r0", "r1", "r2"]
    assert drops(folder) == {"budget": 3}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in names} == {0o600}


def test_two_pods_give_no_file_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each container's process has the same id, and their records meet in one folder, under these names."""
    names = set()
    for pod in ("assistant-7f9c-x2x1p", "assistant-7f9c-k88rd"):
        monkeypatch.setattr(socket, "gethostname", lambda pod=pod: pod)
        spool = Spool(tmp_path / pod, calendar=lambda: 1_776_600_000.0)
        spool.put(pair())
        spool.write()
        names |= {path.name for path in (tmp_path / pod).iterdir()}
    assert len(names) == 2


def test_a_batch_is_one_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(500):
        spool.put(pair(f"r{number}"))
    spool.write()
    assert len(list(tmp_path.iterdir())) == 1
    assert len(pairs(tmp_path)) == 500


@pytest.mark.parametrize("trouble", ["a file in its place", "read-only", "full"])
def test_a_disk_that_takes_nothing_recovers_by_itself(
    tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Pairs wait in memory up to a bound, the rest is counted, and all that waits is written later."""
    folder, counted = tmp_path / "spool", Counter[Drop]()
    spool = Spool(folder, dropped=lambda reason: counted.update([reason]))
    folder.write_text("in the way")
    if trouble == "full":
        folder.unlink()
        monkeypatch.setattr(os, "fsync", fail)
    elif trouble == "read-only":  # root may write anywhere, so the folder's making fails
        folder.unlink()
        monkeypatch.setattr(Path, "mkdir", fail)
    for number in range(2500):
        spool.put(pair(f"r{number}"))
    assert spool.write() == 2000
    assert spool.write() == 2000
    assert counted == {Drop.DISK: 500}
    assert caplog.text.count("cannot write") == 1
    monkeypatch.undo()
    if folder.is_file():
        folder.unlink()
    assert spool.write() == 0
    assert [one.id for one in pairs(folder)] == [f"r{number}" for number in range(2000)]


def fail(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_file_that_could_not_be_finished_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    monkeypatch.setattr(os, "fsync", fail)
    spool.put(pair())
    spool.write()
    assert list(tmp_path.iterdir()) == []


def test_over_its_limit_new_pairs_are_dropped_and_old_ones_stay(tmp_path: Path) -> None:
    counted = Counter[Drop]()
    spool = Spool(tmp_path, most_bytes=20_000, dropped=lambda reason: counted.update([reason]))
    for number in range(30):
        spool.put(pair(f"r{number}", "x" * 2000))
        spool.write()
    kept = [one.id for one in pairs(tmp_path)]
    assert kept == [f"r{number}" for number in range(len(kept))]
    assert 0 < len(kept) < 10
    assert counted == {Drop.DISK: 30 - len(kept)}
    spool.put(Dropped("support", 1.0, {"disk": 5}))  # the count of what is missing is always written
    spool.write()
    assert drops(tmp_path) == {"disk": 5}
    for path in tmp_path.iterdir():
        path.unlink()
    spool.put(pair("after"))
    spool.write()
    assert [one.id for one in pairs(tmp_path)] == ["after"]


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    old, young = tmp_path / ".tmp-1.raw.part", tmp_path / ".tmp-2.raw.part"
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (1.0, 1.0))
    spool = Spool(tmp_path)
    spool.put(pair())
    spool.write()
    assert not old.exists()
    assert young.exists()


def test_pairs_whose_file_is_taken_away_are_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``killswitch shadow forget`` removes half-written files, of the living, too."""
    spool = Spool(tmp_path)
    spool.put(pair())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: RawFiles(tmp_path).remove_unfinished())
        assert spool.write() == 1
    assert spool.write() == 0
    assert [one.id for one in pairs(tmp_path)] == ["r"]


def test_put_waits_for_no_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with spool._writing:  # a write that hangs
        for number in range(3000):
            spool.put(pair(f"r{number}"))
    assert spool.write() == 0
    assert len(pairs(tmp_path)) == 2000


WRITER = """
import os, signal, sys
from tests.integration.router.shadow.test_shadow_spool import pair
from killswitch.router.shadow.spool import Spool
from killswitch.shadow.raw_files import RawFiles
spool, step = Spool(sys.argv[1]), sys.argv[2]
spool.put(pair("written"))
spool.write()

def and_die(*arguments, **named):
    if step == "write":
        os.ftruncate(arguments[0], 100)  # as if it was killed before the rest was written
    os.kill(os.getpid(), signal.SIGKILL)

setattr(os, "fsync" if step == "write" else step, and_die)
for number in range(500):
    spool.put(pair(f"lost-{number}"))
spool.write()
"""


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_killed_at_any_step_a_file_is_whole_or_absent(tmp_path: Path, step: str) -> None:
    """A crash loses what was in memory. It leaves no half file, and the next writer goes on."""
    folder = tmp_path / "spool"
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(folder), step],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    assert [one.id for one in pairs(folder)] == ["written"]
    spool = Spool(folder)
    spool.put(pair("after"))
    spool.write()
    assert [one.id for one in pairs(folder)] == ["written", "after"]


def test_the_thread_writes_within_its_second_and_ends(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.start()
    spool.put(pair("first"))
    wait_until(lambda: [one.id for one in pairs(tmp_path)] == ["first"], "the first file")
    spool.put(pair("last"))
    spool.close(10.0)
    assert [one.id for one in pairs(tmp_path)] == ["first", "last"]
    wait_until(lambda: spool._thread is None or not spool._thread.is_alive(), "the end of its thread")
