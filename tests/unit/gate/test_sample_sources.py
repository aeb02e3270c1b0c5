"""Golden rows are drawn from a log of any length and quality: what cannot be used is counted, and said where it is."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from killswitch.errors import BadSettings
from killswitch.gate.sample_sources import GoldenSample, as_input, sample_of_log, unusable_in_words
from killswitch.gate.stratified_draw import StratifiedDraw


def label_of(text: str) -> str | None:
    try:
        return json.dumps(json.loads(text)["label"])
    except (ValueError, KeyError, TypeError):
        return None


def sampled(folder: Path, lines: list[Any], rows: int = 100, system: str | None = None) -> GoldenSample:
    log = folder / "log.jsonl"
    texts = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines]
    log.write_bytes(b"".join(text + b"\n" for text in texts))
    return sample_of_log(log, StratifiedDraw(rows, seed=1), label_of=label_of, system=system, seen=lambda _bytes: None)


def inputs(sample: GoldenSample) -> list[Any]:
    return [as_input(one.messages) for one in sample.rows]


def test_a_line_is_a_text_or_a_list_of_messages(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "x"},
    ]
    found = inputs(sampled(tmp_path, [{"input": "hello"}, {"messages": turns}, {"messages": turns[:1]}]))
    assert sorted(found, key=str) == sorted(["hello", turns, "hi"], key=str)


def test_the_stratum_is_the_class_else_the_label_of_the_output(tmp_path: Path) -> None:
    found = sampled(
        tmp_path,
        [
            {"input": "a", "class": "billing", "output": '{"label": "bug"}'},
            {"input": "b", "output": '{"label": "bug"}'},
            {"input": "c", "output": "no JSON"},
            {"messages": [{"role": "user", "content": "d"}, {"role": "assistant", "content": '{"label": "praise"}'}]},
        ],
    )
    assert {as_input(one.messages): one.stratum for one in found.rows} == {
        "a": "billing", "b": "bug", "c": "", "d": "praise",
    }  # fmt: skip


def test_the_roles_own_prompt_is_not_asked_twice(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "You sort reviews.\n"}, {"role": "user", "content": "broken"}]
    assert inputs(sampled(tmp_path, [{"messages": turns}], system="You sort reviews.")) == ["broken"]
    assert inputs(sampled(tmp_path, [{"messages": turns}], system="Another.")) == [turns]


def test_broken_lines_are_counted_by_reason_with_each_first(tmp_path: Path) -> None:
    lines: list[Any] = [
        {"input": "good"}, b"{", [1], b"", {"output": "x"}, {"input": ""}, b"\xff\xfe", b"[" * 5000,
        b'{"input": "\\ud800"}', {"messages": [{"role": "user"}]}, b'{"input": "' + b"x" * 1_100_000 + b'"}',
    ]  # fmt: skip
    found = sampled(tmp_path, lines)
    assert inputs(found) == ["good"]
    assert found.read == 10
    said = unusable_in_words(found)
    assert "3 of 10 cannot be used: not JSON (first: line 2)" in said
    assert "1 of 10 cannot be used: not a JSON object (first: line 3)" in said
    assert "1 of 10 cannot be used: over 1,024 kB (first: line 11)" in said
    assert sum(found.unusable.values()) == 9


def test_reasons_of_a_hostile_log_are_bounded(tmp_path: Path) -> None:
    """A reason may repeat a part of the line, and so be another one on each."""
    lines = [{"messages": [{"role": f"role {number}", "content": "x"}]} for number in range(500)]
    found = sampled(tmp_path, lines)
    assert len(found.unusable) <= 21
    assert sum(found.unusable.values()) == 500


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """30 MB of lines are drawn from with less than a tenth of that."""
    log = tmp_path / "log.jsonl"
    with log.open("wb") as file:
        for number in range(30_000):
            file.write(json.dumps({"input": f"{number} {'x' * 1000}"}).encode() + b"\n")
    tracemalloc.start()
    found = sample_of_log(log, StratifiedDraw(50, seed=1), label_of=label_of, system=None, seen=lambda _bytes: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.read, len(found.rows)) == (30_000, 50)
    assert peak < 3e6 + (1 << 20)


def test_a_log_that_changes_as_it_is_read_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"input": "aaa"}\n' * 3)

    def rotate(_bytes: int) -> None:
        log.write_text('{"input": "bbb"}\n' * 3)

    with pytest.raises(BadSettings, match="changed as it was read"):
        sample_of_log(log, StratifiedDraw(5, seed=1), label_of=label_of, system=None, seen=rotate)


@pytest.mark.parametrize("name", ["folder", "none"])
def test_what_is_no_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadSettings, match=f"--log .*{name}"):
        sample_of_log(
            tmp_path / name, StratifiedDraw(5, seed=1), label_of=label_of, system=None, seen=lambda _bytes: None
        )
