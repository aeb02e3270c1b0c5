"""Folders with copies of records: gone with their process, also one that was killed, and never a live one's."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.shadow.pairs import open_pairs
from killswitch.shadow.private_folders import private_folder, remove_left_folders
from killswitch.shadow.sinks.record_files import RecordFiles
from tests.doubles.pair_records import ROLLOUT, pair, write_lines

HOLDING = """
import sys
from killswitch.shadow.private_folders import private_folder
with private_folder() as folder:
    (folder / "texts").write_text("of a user")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that holds a folder, and the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        yield one, Path(one.stdout.readline().strip())
        one.kill()


def test_a_folder_is_private_and_gone_at_the_end(temporary: Path) -> None:
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "inside").mkdir()
    assert not list(temporary.iterdir())


def test_a_folder_of_a_live_process_stays(holder: tuple[subprocess.Popen[str], Path]) -> None:
    assert remove_left_folders() == 0
    assert (holder[1] / "texts").exists()


@pytest.mark.parametrize("by", ["a report", "a worker"])
def test_a_killed_processs_folder_goes_with_the_next(
    holder: tuple[subprocess.Popen[str], Path], tmp_path: Path, by: str
) -> None:
    process, folder = holder
    process.kill()
    process.wait()
    assert folder.exists()
    if by == "a worker":
        RecordFiles(tmp_path / "records")
    else:
        write_lines(tmp_path / "records", [pair(0)])
        with open_pairs(tmp_path / "records", ROLLOUT):
            pass
    assert not folder.exists()


def test_a_link_and_a_strangers_folder_stay(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link with such a name may lead anywhere."""
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (temporary / "killswitch-records-link").symlink_to(elsewhere)
    assert remove_left_folders() == 0
    assert elsewhere.exists()
    (temporary / "killswitch-records-other").mkdir()
    with monkeypatch.context() as changed:
        changed.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert remove_left_folders() == 0
    assert remove_left_folders() == 1


@pytest.mark.parametrize("when", ["before it is opened", "before it is locked"])
def test_a_folder_taken_while_it_is_made_is_made_again(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may take a folder for a left one between its making and its locking."""
    make, lock = tempfile.mkdtemp, fcntl.flock
    taken: list[Path] = []

    def made(prefix: str) -> str:
        path = Path(make(prefix=prefix))
        if not taken and when == "before it is opened":
            path.rmdir()
            taken.append(path)
        return str(path)

    def locked(opened: int, how: int) -> None:
        if not taken:
            taken.append(Path(f"/proc/self/fd/{opened}").readlink())
            taken[0].rmdir()
        lock(opened, how)

    monkeypatch.setattr(tempfile, "mkdtemp", made)
    monkeypatch.setattr(fcntl, "flock", locked)
    with private_folder() as folder:
        assert folder.exists()
        assert folder not in taken
        assert len(taken) == 1
