"""The folder of exposures: files whole or absent after kill -9, private, and each forked worker writes its own rows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from killswitch.flags.keyed_hash import hash_user
from killswitch.router.exposures import ExposureLog
from killswitch.router.router import Router
from killswitch.timestamps import from_iso
from tests.doubles.held_split import HeldSplit, armed
from tests.doubles.warehouses import USER_KEY, USER_KEY_FILE
from tests.servers.etcd import wait_until

SERVICE = """
import sys
from killswitch.router.exposures import ExposureLog
from killswitch.router.router import Router
from tests.doubles.held_split import HeldSplit, armed
log = ExposureLog(sys.argv[1], key_file=sys.argv[2], every=0.001, registry=None)
router = Router("copilot", following=HeldSplit(armed(50.0)), exposures=log, registry=None)
number = 0
while True:
    router.route(f"user-{number}")
    number += 1
"""


KILLED_IN_THE_MIDDLE = """
import os, pathlib, signal, sys
from killswitch.router.batch_files import BatchFiles
def lines():
    yield b"half a line" * 100_000
    os.kill(os.getpid(), signal.SIGKILL)
files = BatchFiles(pathlib.Path(sys.argv[1]), ".jsonl")
files.used()
files.write(lines())
"""


def lines_of(folder: Path) -> list[dict[str, object]]:
    """Every row of every file; each must be whole."""
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def has_files(folder: Path, wanted: int) -> bool:
    return len(list(folder.glob("*.jsonl"))) > wanted


def test_files_are_whole_after_kill_9(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    for _ in range(3):
        wanted = len(list(folder.glob("*.jsonl"))) + 5
        service = subprocess.Popen([sys.executable, "-c", SERVICE, str(folder), str(USER_KEY_FILE)])
        try:
            wait_until(partial(has_files, folder, wanted), "files")
        finally:
            service.send_signal(signal.SIGKILL)
            service.wait()
    found = lines_of(folder)
    assert all(len(str(row["user"])) == 32 and from_iso(str(row["at"])) > 0 for row in found)
    assert {row["user"] for row in found} >= {hash_user(USER_KEY, "user-0")}


def test_a_file_that_is_half_written_is_absent(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".part"
    assert left.stat().st_size > 0


def test_files_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = ExposureLog(folder, key_file=USER_KEY_FILE, registry=None)
    Router("copilot", following=HeldSplit(armed(0.0)), exposures=log, registry=None).route("ann")
    log.close()
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    assert "ann" not in file.read_text()


def test_two_logs_of_one_process_share_a_folder(tmp_path: Path) -> None:
    """Their files have different names also within one millisecond."""
    for name in ("ann", "bob"):
        log = ExposureLog(tmp_path, key_file=USER_KEY_FILE, registry=None, calendar=lambda: 1.0)
        Router("copilot", following=HeldSplit(armed(0.0)), exposures=log, registry=None).route(name)
        log.close()
    assert len(lines_of(tmp_path)) == 2


def test_a_folder_at_its_limit_keeps_rows_until_there_is_room(tmp_path: Path) -> None:
    folder, registry = tmp_path / "log", CollectorRegistry()
    log = ExposureLog(folder, key_file=USER_KEY_FILE, registry=registry, every=3600.0, most_bytes=1000)
    router = Router("copilot", following=HeldSplit(armed(0.0)), exposures=log, registry=None)
    folder.mkdir()
    (folder / "old.jsonl").write_bytes(b"\n" * 1000)
    router.route("ann")
    assert not log.flush()
    (folder / "old.jsonl").unlink()
    assert log.flush()
    assert [row["user"] for row in lines_of(folder)] == [hash_user(USER_KEY, "ann")]
    log.close()


def test_a_folder_that_cannot_be_written_costs_no_request(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file in its place")
    log = ExposureLog(tmp_path / "log", key_file=USER_KEY_FILE, registry=None)
    router = Router("copilot", following=HeldSplit(armed(0.0)), exposures=log, registry=None)
    assert router.route("ann").model == "model-old"
    assert not log.flush()
    log.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_worker_writes_its_own_rows_once(tmp_path: Path) -> None:
    """What waits in the parent is the parent's to write; the child's thread is its own."""
    registry = CollectorRegistry()
    log = ExposureLog(tmp_path, key_file=USER_KEY_FILE, registry=registry, every=3600.0)
    router = Router("copilot", following=HeldSplit(armed(0.0)), exposures=log, registry=None)
    router.route("parent")
    child = os.fork()
    if child == 0:
        router.route("parent")  # has its row already
        router.route("child")
        os._exit(0 if log.flush(10.0) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert log.flush(10.0)
    users = [row["user"] for row in lines_of(tmp_path)]
    assert sorted(map(str, users)) == sorted(hash_user(USER_KEY, name) for name in ("parent", "child"))
    log.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_worker_forked_while_a_metric_hangs_writes_its_rows(tmp_path: Path) -> None:
    """The metric's lock is held for good in the child, so the child counts nothing."""
    log = ExposureLog(tmp_path, key_file=USER_KEY_FILE, registry=CollectorRegistry(), every=3600.0)
    router = Router("copilot", following=HeldSplit(armed(0.0)), exposures=log, registry=None)
    with log.counting, log._counter._lock:
        child = os.fork()
        if child == 0:
            router.route("child")
            os._exit(0 if log.flush(5.0) else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert [row["user"] for row in lines_of(tmp_path)] == [hash_user(USER_KEY, "child")]
    log.close()
