"""The folder of batch files: what it takes of the disk, and what looking at it costs a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from killswitch.router.batch_files import BatchFiles


def test_small_files_count_as_the_blocks_they_take(tmp_path: Path) -> None:
    """A service with little traffic writes a file of one row every five seconds: of 1 GB it took 27."""
    files = BatchFiles(tmp_path, ".jsonl")
    for _ in range(10):
        files.write([b"a row\n"])
    blocks = sum(512 * file.stat().st_blocks for file in tmp_path.iterdir())
    assert files.used() == blocks >= 10 * 512


def test_looks_at_a_full_folder_take_a_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that no one empties: each look takes half a second of the service's processor."""
    now = [0.0]
    looks = []

    def looked(files: BatchFiles) -> int:
        looks.append(now[0])
        now[0] += 0.5
        return 4096

    monkeypatch.setattr(BatchFiles, "_look", looked)
    files = BatchFiles(tmp_path, ".jsonl", monotonic=lambda: now[0], processor=lambda: now[0])
    for _ in range(1000):  # a batch every five seconds
        files.used()
        now[0] += 5.0
    assert len(looks) * 0.5 < 0.012 * now[0]
    known = files.used()
    files.write([b"a row\n"])
    assert files.used() > known  # between two looks, what is written here counts


def test_a_small_folder_is_looked_at_each_time(tmp_path: Path) -> None:
    files = BatchFiles(tmp_path, ".jsonl", processor=lambda: 0.0)
    files.write([b"a row\n"])
    assert files.used()
    next(tmp_path.iterdir()).unlink()
    assert files.used() == 0
