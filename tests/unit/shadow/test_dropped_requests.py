"""Sampled requests without a pair are read by reason and minute, and a file that cannot be read is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from killswitch.errors import BadSettings
from killswitch.shadow.dropped_requests import dropped_requests


def write(folder: Path, *rows: object, name: str = "dropped-1.jsonl") -> None:
    day = folder / "support" / "2026-04-19"
    day.mkdir(parents=True, exist_ok=True)
    (day / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def row(at: float, **reasons: int) -> dict[str, object]:
    return {"format": 1, "rollout": "support", "at": at, "reasons": reasons}


def test_reasons_are_added_up_over_files(tmp_path: Path) -> None:
    write(tmp_path, row(60, queue_full=2, budget=1), row(120, queue_full=3))
    write(tmp_path, row(180, failed=1), name="dropped-2.jsonl")
    assert dropped_requests(tmp_path, "support") == {"budget": 1, "failed": 1, "queue_full": 5}


def test_only_minutes_of_the_period_count(tmp_path: Path) -> None:
    write(tmp_path, row(60, failed=1), row(120, failed=2), row(180, failed=4))
    assert dropped_requests(tmp_path, "support", since=120, until=180) == {"failed": 2}


def test_a_folder_without_drops_has_none_and_one_file_says_nothing_of_them(tmp_path: Path) -> None:
    write(tmp_path, name="pairs.jsonl")
    assert dropped_requests(tmp_path, "support") == {}
    assert dropped_requests(tmp_path / "support" / "2026-04-19" / "pairs.jsonl", "support") is None


@pytest.mark.parametrize("line", ["{", "[]", '{"rollout": "support", "at": 1, "reasons": {"failed": "many"}}'])
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    write(tmp_path, row(60, failed=1))
    path = tmp_path / "support" / "2026-04-19" / "dropped-1.jsonl"
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(BadSettings, match="line 2"):
        dropped_requests(tmp_path, "support")
