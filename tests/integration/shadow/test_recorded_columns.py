"""Columns read through DuckDB are the columns of the records themselves."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.errors import BadSettings
from killswitch.shadow.evidence.columns import DIFFERENCES, UNKNOWN, PairColumns, SideColumns
from killswitch.shadow.evidence.openings import stem
from killswitch.shadow.flat_record import lines_of, row_of
from killswitch.shadow.pairs import files_of, open_pairs
from killswitch.shadow.record import PairRecord
from killswitch.shadow.recorded_columns import OPENING_PREFIX, columns_of
from tests.doubles.pair_records import BEGAN, ROLLOUT, flat, pair, write_lines

OPENINGS = (
    "I'd be happy to help",
    "Your parcel's on its way!",
    "",
    "…",
    "ご質問ありがとうございます。",
    "## Answer\n1. Yes",
)


def records() -> list[PairRecord]:
    """All kinds of values, unknown ones too, in no order of time."""
    made = []
    for number in range(200):
        control = {
            "outcome": ("ok", "refused", "error", "timeout", "cancelled", "budget")[number % 6],
            "refused": number % 6 == 1,
            "first_token_seconds": None if number % 3 else 0.25,
            "output_tokens": None if number % 4 == 0 else number,
            "cost_micros": None if number % 5 == 0 else number * 10,
            "opening": OPENINGS[number % len(OPENINGS)],
            "language": ("en", "de", "")[number % 3],
            "finish_reason": ("stop", "length", "", "MAX_TOKENS")[number % 4],
            "json": ("none", "parses", "broken", "valid", "invalid")[number % 5],
            "citations": ("none", "inline", "footnotes")[number % 3],
        }
        made.append(
            pair(
                number,
                kind="noise" if number % 7 == 0 else "candidate",
                control=control,
                at=BEGAN + number * 37 % 200,
                prompt_class=("billing", "", "orders")[number % 3],
                similarity=None if number % 9 == 0 else number / 200,
                equivalent=(None, True, False)[number % 3],
                differences=DIFFERENCES[: number % 4],
                comparable=number % 11 != 0,
                other_opening=OPENINGS[(number + 2) % len(OPENINGS)],
                other_seconds=number / 7,
            )
        )
    return made


def read(folder: Path) -> PairColumns:
    with open_pairs(folder, ROLLOUT) as connection:
        return columns_of(connection)


def assert_same(read: Any, wanted: Any, tables: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    """Each array is the same; codes of texts by the texts that they stand for."""
    for field in fields(wanted):
        one, two = getattr(read, field.name), getattr(wanted, field.name)
        if field.name in tables:
            mine, theirs = tables[field.name]
            assert [stem(mine[code]) for code in one] == [stem(theirs[code]) for code in two], field.name
        elif isinstance(two, np.ndarray):
            assert one.dtype == two.dtype, field.name
            np.testing.assert_array_equal(one, two, err_msg=field.name)


def test_what_is_read_is_what_was_recorded(tmp_path: Path) -> None:
    made = records()
    write_lines(tmp_path, made)
    found, wanted = read(tmp_path), PairColumns.of(sorted(made, key=lambda one: (one.at, one.pair)))
    assert_same(found, wanted, {"prompt_class": (found.classes, wanted.classes)})
    tables = {"opening": (found.openings, wanted.openings), "language": (found.languages, wanted.languages)}
    for side in ("control", "other"):
        mine, theirs = getattr(found, side), getattr(wanted, side)
        assert isinstance(mine, SideColumns)
        assert_same(mine, theirs, tables)


def test_records_of_an_older_format_are_not_known_to_be_whole(tmp_path: Path) -> None:
    """A file without finish reasons is read next to one that has them: what is cut there is unknown, never 0."""
    newer = write_lines(tmp_path, [pair(0, other_finish_reason="length"), pair(1)])
    row = {name: value for name, value in flat(pair(2)).items() if not name.endswith("finish_reason")}
    (newer.parent / "older.jsonl").write_text(json.dumps(row) + "\n")
    found = read(tmp_path)
    assert found.other.cut.tolist() == [1, 0, UNKNOWN]
    assert found.control.cut.tolist() == [0, 0, UNKNOWN]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.one_of(st.text(max_size=60), st.sampled_from(OPENINGS)), min_size=1, max_size=40))
def test_the_first_words_are_enough_for_the_group_of_an_opening(texts: list[str]) -> None:
    """Only the first words are read, and they fall into the same group as the whole opening."""
    kept = [text.encode(errors="replace").decode().replace("\0", "") for text in texts]
    sql = f"SELECT {OPENING_PREFIX.format(side='x')} FROM (SELECT unnest(?) AS x_opening)"
    found = [prefix for (prefix,) in duckdb.connect().execute(sql, [kept]).fetchall()]
    assert [stem(prefix) for prefix in found] == [stem(text) for text in kept]


def test_a_judges_views_are_put_to_their_pairs(tmp_path: Path) -> None:
    write_lines(tmp_path, [pair(2), pair(0), pair(1)])
    with open_pairs(tmp_path, ROLLOUT) as connection:
        win = columns_of(connection, wins={"p1": 1.0, "p2": 0.5}).win
    assert np.isnan(win[0])
    assert win[1:].tolist() == [1.0, 0.5]


def test_records_of_another_rollout_in_one_file_are_left_out(tmp_path: Path) -> None:
    target = write_lines(tmp_path, [pair(0), replace(pair(1), rollout="another")])
    with open_pairs(target, ROLLOUT) as connection:
        assert connection.execute("SELECT pair FROM pairs").fetchall() == [("p0",)]


def test_a_file_that_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    """Sinks write under a name with a dot and rename: what is there is whole."""
    target = write_lines(tmp_path, [pair(0)])
    (target.parent / ".b.jsonl").write_text('{"pair": "half')
    (target.parent / "dropped-c.jsonl").write_text("{}")
    assert files_of(tmp_path, ROLLOUT) == (target,)


@pytest.mark.parametrize("name", ["..", ".", "", "a/../../b"])
def test_a_rollouts_name_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    write_lines(tmp_path / "inside", [pair(0)])
    with pytest.raises(BadSettings, match="no recorded pairs"):
        files_of(tmp_path / "inside" / "x", name)


def test_values_of_records_never_become_sql(tmp_path: Path) -> None:
    hostile = "x'); DROP TABLE openings; --"
    write_lines(tmp_path, [pair(0, prompt_class=hostile, control={"opening": hostile}, pair=hostile)])
    found = read(tmp_path)
    assert found.classes == (hostile,)
    assert found.size == 1


@pytest.mark.parametrize("name", ["other_seconds", "control_seconds", "other_first_token_seconds", "similarity"])
def test_a_number_too_large_for_one_is_unknown(tmp_path: Path, name: str) -> None:
    """One record of 1e300 seconds must not end the report of a million others."""
    rows = [row_of(pair(number)) for number in range(3)]
    rows[1][name] = 1e300
    source = tmp_path / "pairs.jsonl"
    source.write_bytes(lines_of(rows))
    with open_pairs(source, ROLLOUT) as connection:
        read = columns_of(connection)
    side, _, feature = name.partition("_")
    found = read.similarity if name == "similarity" else getattr(getattr(read, side), feature)
    assert read.size == 3
    assert np.isnan(found[1])
