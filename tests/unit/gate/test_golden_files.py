"""Golden sets as they are read: rows, versions, and every problem at once with file, line and fix."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadSettings
from killswitch.gate import golden_files
from killswitch.gate.golden import GoldenSet, version_of
from killswitch.gate.golden_files import MAX_LINE, MAX_PROBLEMS, load_golden

ROW = '{"id": "a", "input": "It crashes.", "expect_label": "bug"}'


def golden(folder: Path, content: str | bytes) -> GoldenSet:
    path = folder / "g.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_golden(path)


def problems(folder: Path, content: str | bytes) -> list[str]:
    with pytest.raises(BadSettings) as refused:
        golden(folder, content)
    return [problem.removeprefix(f"{folder}/") for problem in refused.value.problems]


def test_a_text_is_one_message_of_the_user(tmp_path: Path) -> None:
    """A list of messages is taken as it is."""
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "t"}]}]
    more = json.dumps({"id": 7, "input": messages, "expect_label": 2.0, "class": "rare", "source": "ignored"})
    found = golden(tmp_path, f"{ROW}\n\n{more}\n")
    assert found.rows[0].messages == ({"role": "user", "content": "It crashes."},)
    assert (found.rows[0].id, found.rows[0].expect_label, found.rows[0].line) == ("a", '"bug"', 1)
    assert (found.rows[1].id, found.rows[1].expect_label, found.rows[1].line) == ("7", "2", 3)
    assert (found.rows[1].messages, found.rows[1].stratum) == (tuple(messages), "rare")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + ROW.encode() + b"\n",
        ROW.encode() + b"\r\n",
        ROW.encode(),
        b"\n \n" + ROW.encode() + b"\n\n",
    ],
)
def test_the_same_row_is_read_from_any_editor(tmp_path: Path, content: bytes) -> None:
    """A byte order mark, carriage returns, empty lines and a missing last line feed change nothing."""
    assert golden(tmp_path, content).version == golden(tmp_path, ROW).version


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\u0085", "\x0b", "\x1c"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, odd: str) -> None:
    """Characters that Python takes for the end of a line may be inside a text."""
    row = json.dumps({"id": "a", "input": f"one{odd}two", "expect_label": "x"}, ensure_ascii=ord(odd) < 0x20)
    assert golden(tmp_path, row).rows[0].messages[0]["content"] == f"one{odd}two"


TABLE: list[tuple[str | bytes, str]] = [
    ("", "g.jsonl:1: no rows; fix: write one JSON object a line"),
    ("\n\n", "g.jsonl:1: no rows; fix:"),
    (f"{ROW}\nfoo\n", "g.jsonl:2: not JSON: expecting value, at character 1; fix: write one JSON object"),
    (f"{ROW}\n" + '{"id": "b", "inp', "g.jsonl:2: not JSON: unterminated string"),
    ('{"id": "b", "input": NaN, "expect_label": 1}', "g.jsonl:1: not JSON: NaN is not allowed in JSON"),
    (f"{ROW}\n[]\n", "g.jsonl:2: not a JSON object"),
    (f"{ROW}\n{ROW}\n", "g.jsonl:2: id 'a' is also in line 1; fix: give each row an id of its own"),
    (ROW.replace('"a"', "7") + "\n" + ROW.replace('"a"', '"7"'), "g.jsonl:2: id '7' is also in line 1"),
    ('{"input": "i", "expect_label": "x"}', 'g.jsonl:1: no id; fix: add "id": a text of 1 to 200'),
    ('{"id": 1.5, "input": "i", "expect_label": "x"}', "g.jsonl:1: id 1.5 is no id"),
    ('{"id": true, "input": "i", "expect_label": "x"}', "g.jsonl:1: id True is no id"),
    ('{"id": "a", "input": "i"}', 'g.jsonl:1: no expect_label; fix: add "expect_label"'),
    ('{"id": "a", "input": "i", "expect_label": null}', "g.jsonl:1: expect_label is empty"),
    ('{"id": "a", "expect_label": "x"}', 'g.jsonl:1: no input; fix: add "input": a text, or a list of messages'),
    ('{"id": "a", "input": [], "expect_label": "x"}', "g.jsonl:1: input is empty"),
    ('{"id": "a", "input": 3, "expect_label": "x"}', "g.jsonl:1: input is neither text nor list"),
    ('{"id": "a", "input": [{"role": "bot"}], "expect_label": "x"}', "g.jsonl:1: input[0]: role 'bot'; fix: use one"),
    ('{"id": "a", "input": [{"role": "user"}], "expect_label": "x"}', "g.jsonl:1: input[0] has no content"),
    (
        '{"id": "a", "input": [{"role": "system", "content": "s"}], "expect_label": "x"}',
        "g.jsonl:1: input has no message of a user",
    ),
    ('{"id": "a", "id": "b", "input": "i", "expect_label": "x"}', "g.jsonl:1: not JSON: the key 'id' is there twice"),
    ('{"id": "a", "input": "\\ud800", "expect_label": "x"}', "g.jsonl:1: half a character (a lone surrogate)"),
    (ROW.encode() + b"\n\xff\n", "g.jsonl:2: byte 0xff is not UTF-8; fix: save the file as UTF-8"),
    (ROW.encode("utf-16"), "g.jsonl:1: the file is UTF-16; fix: save it as UTF-8"),
    (f"[{ROW}]", "g.jsonl:1: a JSON list, not JSON lines; fix: write each row on a line of its own"),
    ('[\n{"id": "a"}\n]', "g.jsonl:1: the first row does not end on its line; fix: write each row on one line"),
    (f"{ROW}\n" + "x" * (3 * MAX_LINE), "g.jsonl:2: a row of over 1,024 kB; fix: shorten its input, or remove"),
    ('{"id": "a", "class": 1, "input": "i", "expect_label": "x"}', "g.jsonl:1: class 1 is no text"),
]


@pytest.mark.parametrize(("content", "said"), TABLE)
def test_a_broken_row_is_said_with_its_line_and_fix(tmp_path: Path, content: str | bytes, said: str) -> None:
    """One problem of a row, and none that follows from it."""
    found = problems(tmp_path, content)
    assert len(found) == 1
    assert found[0].startswith(said)
    assert "; fix: " in found[0]


def test_all_problems_come_at_once_and_are_counted(tmp_path: Path) -> None:
    """A file of nothing but mistakes fills no screen and no memory."""
    found = problems(tmp_path, "{}\n" * 1000)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == "g.jsonl: … and 900 more"


def test_a_row_after_a_huge_one_has_its_own_line(tmp_path: Path) -> None:
    """The rest of a line that is too long is skipped, not read as rows."""
    found = problems(tmp_path, ROW + "\n" + '{"x": "' + "y" * (2 * MAX_LINE) + '"}\nfoo\n')
    assert [one.split(":")[1] for one in found] == ["2", "3"]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe would block for ever; the message names the key and the option."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "gone", Path("/dev/zero")):
        with pytest.raises(BadSettings, match=r"cannot be read .*--golden"):
            load_golden(path)


@pytest.mark.parametrize(
    "copy",
    [
        '{"id": "b", "input": "It crashes.", "expect_label": "bug"}',
        '{"id": "b", "input": "It crashes.", "expect_label": "praise"}',
        '{"id": "b", "input": [{"content": "It crashes.", "role": "user"}], "expect_label": "bug"}',
    ],
)
def test_copies_of_a_row_are_refused(tmp_path: Path, copy: str) -> None:
    """Under another id or label they would count as further evidence, and they are the same question."""
    (problem,) = problems(tmp_path, f"{ROW}\n{copy}")
    assert problem.startswith("g.jsonl:2: the input of line 1 again; fix: keep one of them")


def test_one_row_is_a_set(tmp_path: Path) -> None:
    """Whether one row is enough is for the statistics to say."""
    assert len(golden(tmp_path, ROW).rows) == 1


def write_rows(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.writelines(f'{{"id": {n}, "input": "review {n}", "expect_label": "bug"}}\n' for n in range(rows))


def test_a_hundred_thousand_rows_are_read(tmp_path: Path) -> None:
    """Any size is allowed; it takes seconds."""
    write_rows(tmp_path / "g.jsonl", 100_000)
    assert len(load_golden(tmp_path / "g.jsonl").rows) == 100_000


def test_memory_grows_with_the_rows_alone(tmp_path: Path) -> None:
    """There is no copy of the file next to its rows."""
    write_rows(tmp_path / "g.jsonl", 2000)
    tracemalloc.start()
    try:
        rows = load_golden(tmp_path / "g.jsonl").rows
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(rows) * 1500  # bytes


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to draw a sample."""
    monkeypatch.setattr(golden_files, "MAX_ROWS", 3)
    write_rows(tmp_path / "rows.jsonl", 10)
    found = problems(tmp_path, (tmp_path / "rows.jsonl").read_bytes())
    assert found == ["g.jsonl:4: over 3 rows; fix: split the file, or draw a sample with `gate sample`"]


@given(st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_order_keys_and_space_do_not_change_the_version(
    tmp_path_factory: pytest.TempPathFactory, random: Any, spaced: bool, reverse: bool
) -> None:
    """The version is of what is asked and expected."""
    rows: list[dict[str, Any]] = [
        {"id": str(n), "input": [{"role": "user", "content": f"c{n}"}], "expect_label": {"a": n, "b": 1.0}}
        for n in range(5)
    ]
    folder = tmp_path_factory.mktemp("g")
    before = golden(folder, "\n".join(map(json.dumps, rows))).version
    random.shuffle(rows)
    changed = [dict(sorted(row.items(), reverse=reverse)) for row in rows]
    text = "\n".join(json.dumps(row, separators=(" , ", " : ") if spaced else (",", ":")) for row in changed)
    assert golden(folder, text).version == before


@pytest.mark.parametrize(
    ("old", "new"), [('"a"', '"b"'), ("It crashes", "It crashed"), ('"bug"', '"praise"'), ('"bug"', '["bug"]')]
)
def test_what_is_asked_or_expected_changes_the_version(tmp_path: Path, old: str, new: str) -> None:
    """An id, an input or a label."""
    assert golden(tmp_path, ROW).version != golden(tmp_path, ROW.replace(old, new)).version


def test_a_text_and_its_message_are_one_row(tmp_path: Path) -> None:
    """Who writes the message out has not changed the set; its class and its line do not count either."""
    out = {"id": "a", "input": [{"content": "It crashes.", "role": "user"}], "expect_label": "bug", "class": "x"}
    found = golden(tmp_path, "\n\n" + json.dumps(out))
    assert found.version == golden(tmp_path, ROW).version
    assert version_of(found.rows) == found.version
