"""Records as lines of JSON: one object a line, readable by anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from killswitch.errors import BadDocument
from killswitch.shadow.flat_record import TEXTS, lines_of


class JsonLines:
    """The file format ``jsonl``."""

    suffix = "jsonl"

    def write(self, rows: Iterable[dict[str, Any]], path: Path) -> None:
        path.touch(mode=0o600)
        path.write_bytes(lines_of(rows))

    def without_user(self, source: Path, target: Path, user: str) -> tuple[int, int]:
        """Copy what is not of this user. How many rows went, and how many are left."""
        return _rewritten(source, target, lambda row: None if row.get("user") == user else row)

    def without_texts(self, source: Path, target: Path, before: float) -> int:
        """Copy the rows, those of before this time without their texts. How many had some."""

        def without(row: dict[str, Any]) -> dict[str, Any]:
            old = isinstance(row.get("at"), int | float) and row["at"] < before
            if not old or all(row.get(name) is None for name in TEXTS):
                return row
            return {name: None if name in TEXTS else value for name, value in row.items()}

        return _rewritten(source, target, without)[0]


def _rewritten(source: Path, target: Path, change: Any) -> tuple[int, int]:
    """How many rows are changed or gone, and how many there are in the end."""
    changed = left = 0

    def lines() -> Iterator[bytes]:
        nonlocal changed, left
        with source.open("rb") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise BadDocument(f"{source.name}: a line is not JSON; move the file away") from error
                made = change(row)
                changed += made is not row
                if made is not None:
                    left += 1
                    yield line if made is row else lines_of([made])

    target.touch(mode=0o600)
    with target.open("wb") as out:
        out.writelines(lines())
    return changed, left
