"""Records in Parquet and JSON lines, of two versions of the format, are written, changed and read side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import duckdb
import pytest

from killswitch.errors import BadSettings
from killswitch.router.shadow.raw_pair import Dropped
from killswitch.shadow.dropped_requests import dropped_requests
from killswitch.shadow.forgetting import forget
from killswitch.shadow.pairs import COLUMNS, open_pairs
from killswitch.shadow.sinks import Batch
from killswitch.shadow.sinks.record_files import RecordFiles
from tests.doubles.pair_records import BEGAN, flat, pair

KEPT: dict[str, Any] = {"prompt_text": "Where?", "control_text": "Here.", "other_text": "Not here."}


def batch(name: str, *numbers: int, **changes: Any) -> Batch:
    records = tuple(replace(pair(number), **changes) for number in numbers)
    return Batch(name, "support", "2026-04-19", records, (Dropped("support", BEGAN, {"queue_full": 2}),))


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with open_pairs(folder, "support") as connection:
        found: list[tuple[Any, ...]] = connection.execute(query).fetchall()
    return found


def name_of(number: int) -> str:
    return f"{int(BEGAN * 1000) + number:013d}-7-000001"


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_record_is_read_as_it_was_written(tmp_path: Path, kind: Literal["parquet", "jsonl"]) -> None:
    written = replace(pair(1), differences=("negation", "number"), similarity=0.5, equivalent=False, **KEPT)
    RecordFiles(tmp_path, kind).write(Batch(name_of(1), "support", "2026-04-19", (written,)))
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    (row,) = rows(tmp_path, f"SELECT {names} FROM pairs")
    assert dict(zip(COLUMNS, row, strict=True)) == flat(written)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_files_are_private_whole_and_replaced_by_a_repeat(tmp_path: Path, kind: Literal["parquet", "jsonl"]) -> None:
    sink = RecordFiles(tmp_path / "records", kind)
    for _ in range(3):
        sink.write(batch(name_of(1), 1, 2))
    files = sorted(path for path in (tmp_path / "records").rglob("*") if path.is_file())
    assert [path.name for path in files] == [f"{name_of(1)}.{kind}", f"dropped-{name_of(1)}.jsonl"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert rows(tmp_path / "records", "SELECT count(*) FROM pairs") == [(2,)]
    assert dropped_requests(tmp_path / "records", "support") == {"queue_full": 2}


def test_both_kinds_and_a_later_version_are_one_view(tmp_path: Path) -> None:
    """What a later version adds is left out, and what it no longer has is NULL."""
    RecordFiles(tmp_path, "parquet").write(batch(name_of(1), 1))
    RecordFiles(tmp_path, "jsonl").write(batch(name_of(2), 2))
    later = {name: value for name, value in flat(pair(3)).items() if name != "other_language"}
    later |= {"format": 2, "mood": "sunny"}
    folder = tmp_path / "support" / "2026-04-19"
    (folder / f"{name_of(3)}.jsonl").write_text(json.dumps(later) + "\n")
    (tmp_path / "later.jsonl").write_text(json.dumps(later | {"pair": "p4"}) + "\n")
    duckdb.sql(
        f"COPY (SELECT * FROM read_json('{tmp_path}/later.jsonl')) TO '{folder}/{name_of(4)}.parquet' (FORMAT parquet)"
    )
    found = rows(tmp_path, "SELECT pair, format, other_language FROM pairs ORDER BY pair")
    assert found == [("p1", 1, "en"), ("p2", 1, "en"), ("p3", 2, None), ("p4", 2, None)]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_old_texts_go_and_their_records_stay(tmp_path: Path, kind: Literal["parquet", "jsonl"]) -> None:
    sink = RecordFiles(tmp_path, kind)
    sink.write(batch(name_of(1), 1, 2, user="u1", **KEPT))
    sink.write(batch(name_of(60_000), 3, **KEPT))
    assert sink.remove_texts(lambda rollout: BEGAN) == 0
    assert sink.remove_texts(lambda rollout: BEGAN + 30) == 2
    assert rows(tmp_path, "SELECT pair, other_text FROM pairs ORDER BY pair") == [
        ("p1", None), ("p2", None), ("p3", "Not here."),
    ]  # fmt: skip
    assert sink.remove_texts(lambda rollout: BEGAN + 90) == 1
    assert rows(tmp_path, "SELECT count(*), count(other_text), count(prompt_text) FROM pairs") == [(3, 0, 0)]
    assert b"Not here" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_removing_texts_keeps_columns_of_a_later_version(tmp_path: Path) -> None:
    folder = tmp_path / "support" / "2026-04-19"
    folder.mkdir(parents=True)
    later = flat(replace(pair(1), **KEPT)) | {"mood": "sunny"}
    (tmp_path / "later.jsonl").write_text(json.dumps(later) + "\n")
    target = f"{folder}/{name_of(1)}.parquet"
    duckdb.sql(f"COPY (SELECT * FROM read_json('{tmp_path}/later.jsonl')) TO '{target}' (FORMAT parquet)")
    assert RecordFiles(tmp_path).remove_texts(lambda rollout: BEGAN + 90) == 1
    assert duckdb.execute(f"SELECT mood, other_text FROM '{target}'").fetchall() == [("sunny", None)]


@pytest.mark.parametrize("place", ["memory://pairs-of-a-test/records", "local://{tmp_path}/records"])
def test_records_at_a_url_are_whole_files_there(tmp_path: Path, place: str) -> None:
    """Through fsspec, as in object storage: put under another name first where an upload is not whole by itself."""
    import fsspec  # noqa: PLC0415

    url = place.format(tmp_path=tmp_path)
    sink = RecordFiles(url)
    sink.write(batch(name_of(1), 1, 2, user="u1", **KEPT))
    sink.write(batch(name_of(1), 1, 2, user="u1", **KEPT))
    names = list(sink.folder.names())
    assert names == [f"support/2026-04-19/{name_of(1)}.parquet", f"support/2026-04-19/dropped-{name_of(1)}.jsonl"]
    assert sink.remove_texts(lambda rollout: BEGAN + 90) == 2
    assert sink.forget("u1") == 2
    assert list(sink.folder.names()) == names[1:]
    files, root = fsspec.core.url_to_fs(url)
    assert len(files.find(root)) == 1


def test_a_url_of_an_unknown_scheme_is_refused() -> None:
    from killswitch.errors import BadSettings  # noqa: PLC0415

    with pytest.raises(BadSettings, match="nosuch"):
        RecordFiles("nosuch://bucket/records")


@pytest.mark.parametrize(("records", "characters"), [(20_000, 1), (60, 1_000_000), (3, 10_000_000)])
def test_a_long_file_of_lines_is_read_in_little_memory(tmp_path: Path, records: int, characters: int) -> None:
    """DuckDB holds many times the JSON that it reads at once, and has 100 MB."""
    file = tmp_path / "pairs.jsonl"
    line = json.dumps(flat(replace(pair(1), pair="an id", other_text="x" * characters)))
    with file.open("w") as out:
        out.writelines(line.replace("an id", str(number)) + "\n" for number in range(records))
    with open_pairs(file, "support") as connection:
        found = connection.execute("SELECT count(*), max(length(other_text)) FROM pairs").fetchall()
    assert found == [(records, characters)]


def test_a_line_that_is_too_long_is_named(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    lines = [json.dumps(flat(replace(pair(1), other_text="x" * length))) for length in (1, 17 << 20)]
    file.write_text("\n".join(lines))
    with pytest.raises(BadSettings, match=r"pairs.jsonl, line 2: a record of more than 16777216 bytes; remove it"):
        open_pairs(file, "support").__enter__()


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").touch()
    with open_pairs(tmp_path / "pairs.jsonl", "support") as connection:
        assert connection.execute("SELECT count(*) FROM pairs").fetchall() == [(0,)]


@pytest.mark.parametrize("place", ["{tmp_path}/records", "local://{tmp_path}/records"])
@pytest.mark.parametrize(("before", "after"), [("parquet", "jsonl"), ("jsonl", "parquet")])
def test_a_batch_repeated_in_another_format_is_there_once(
    tmp_path: Path, place: str, before: Literal["parquet", "jsonl"], after: Literal["parquet", "jsonl"]
) -> None:
    """Killed before the batch was marked, and started again with another ``--format``."""
    url = place.format(tmp_path=tmp_path)
    RecordFiles(url, before).write(batch(name_of(1), 1, 2))
    again = RecordFiles(url, after)
    again.write(batch(name_of(1), 1, 2))
    again.write(batch(name_of(2), 3))
    assert rows(tmp_path / "records", "SELECT count(*) FROM pairs") == [(3,)]


@pytest.mark.parametrize("place", ["{tmp_path}", "local://{tmp_path}"])
def test_forget_removes_what_a_killed_writer_left(tmp_path: Path, place: str) -> None:
    """Half-written files hold texts, and no reader finds them."""
    sink = RecordFiles(place.format(tmp_path=tmp_path))
    sink.write(batch(name_of(1), 1))
    left = tmp_path / "support" / "2026-04-19" / f".tmp-{name_of(2)}.parquet"
    left.write_text("a text of somebody")
    spool = tmp_path / "spool"
    (spool / "broken").mkdir(parents=True)
    halves = [
        spool / f".tmp-{name_of(3)}.raw.part",
        spool / f".{name_of(3)}.raw.tmp",
        spool / "broken" / f".{name_of(3)}.lines.tmp",
    ]
    for half in halves:
        half.write_text("a text of somebody")
    forget("nobody", spool=spool, records=None, sink=sink)
    assert [path for path in (left, *halves) if path.exists()] == []
    assert rows(tmp_path, "SELECT count(*) FROM pairs") == [(1,)]
