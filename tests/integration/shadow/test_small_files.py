"""Many small files of records are read as few, and say the same."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from bench.shadow_report import make_pairs
from killswitch.shadow import small_files
from killswitch.shadow.pairs import open_pairs
from killswitch.shadow.recorded_columns import columns_of
from killswitch.shadow.small_files import in_few_files
from tests.doubles.pair_records import ROLLOUT, pair, write_lines


def small(folder: Path, number: int) -> list[Path]:
    """Files of three rows each, and one that has a further column."""
    folder.mkdir()
    files = [folder / f"{place:03}.parquet" for place in range(number)]
    for place, file in enumerate(files):
        further = ", true AS further" if place == 2 else ""
        written(f"SELECT unnest([1, 2, 3]) + 3 * {place} AS n{further}", file)
    return files


def written(query: str, file: Path) -> None:
    duckdb.execute(f"COPY ({query}) TO '{file}' (FORMAT parquet)")


def rows(files: list[Path]) -> list[int]:
    found = duckdb.read_parquet([str(file) for file in files], union_by_name=True).order("n").fetchall()
    return [row[0] for row in found]


def test_many_small_files_become_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_files, "AT_ONCE", 5)
    files = small(tmp_path / "records", 23)
    copies = tmp_path / "copies"
    copies.mkdir()
    few = in_few_files(duckdb, files, copies)
    assert len(few) == 5
    assert {file.parent for file in few} == {copies}
    assert rows(few) == list(range(1, 70))
    assert all(file.exists() for file in files)


def test_few_files_are_read_where_they_are(tmp_path: Path) -> None:
    files = small(tmp_path / "records", 23)
    assert in_few_files(duckdb, files, tmp_path) == files


def test_large_files_are_read_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_files, "AT_ONCE", 5)
    files = small(tmp_path / "records", 8)
    written("SELECT range + 100 AS n, md5(range::VARCHAR) AS text FROM range(120_000)", files[3])
    few = in_few_files(duckdb, files, tmp_path)
    assert few[0] == files[3]
    assert len(few) == 3
    assert len(rows(few)) == 7 * 3 + 120_000


def test_copies_of_lines_go_once_they_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_files, "AT_ONCE", 5)
    files = small(tmp_path / "copies", 8)
    few = in_few_files(duckdb, files, tmp_path / "copies")
    assert sorted(few) == sorted((tmp_path / "copies").iterdir())


def test_records_of_many_files_are_those_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet and lines together, through the view that every report reads."""
    make_pairs(tmp_path / "one", 60)
    make_pairs(tmp_path / "many", 60, in_a_file=6)
    lines = [pair(1_000 + number) for number in range(4)]
    write_lines(tmp_path / "one", lines)
    for record in lines:
        write_lines(tmp_path / "many", [record], name=f"{record.pair}.jsonl")
    monkeypatch.setattr(small_files, "AT_ONCE", 3)
    read = []
    for folder in ("one", "many"):
        with open_pairs(tmp_path / folder, ROLLOUT) as connection:
            assert columns_of(connection).size == 64
            read.append(connection.execute('SELECT pair, "at", kind FROM pairs ORDER BY pair').fetchall())
    assert [row[0] for row in read[0]] == [row[0] for row in read[1]]
